"""What an operator is woken for: each alarm is one line of the log, and names its page and its metric."""

import logging
from typing import Final, NamedTuple


class Alarm(NamedTuple):
    page: str
    """Its section of docs/runbook.md."""
    metric: str
    """The number of /metrics that shows it, too."""


BACKLOG: Final = Alarm("the-backlog-grows", "metergate_backlog_events")
STORE_LOST: Final = Alarm("the-store-lost-something", "metergate_store_filling")
STORE_AWAY: Final = Alarm("the-store-is-away", "metergate_worker_stuck")
LEDGER_AWAY: Final = Alarm("the-ledger-is-away", "metergate_ledger_errors_total")
DISK_FULL: Final = Alarm("the-journal-cannot-be-written", "metergate_worker_stuck")
SET_ASIDE: Final = Alarm("usage-was-set-aside", "metergate_events_set_aside_total")
CHAIN_BEHIND: Final = Alarm("the-chain-is-behind", "metergate_chain_lag_seconds")
CLOCK: Final = Alarm("the-clock-jumped", "metergate_clock_jumps_total")
DIFFERENCE: Final = Alarm("verify-found-a-difference", "metergate_verify_differences")
ALARMS: Final = (
    *(BACKLOG, STORE_LOST, STORE_AWAY, LEDGER_AWAY, DISK_FULL, SET_ASIDE, CHAIN_BEHIND, CLOCK),
    DIFFERENCE,
)


def tell(log: logging.Logger, alarm: Alarm, sentence: str) -> None:
    log.warning("%s See docs/runbook.md#%s.", sentence, alarm.page)
