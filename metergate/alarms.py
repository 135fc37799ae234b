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
PROVIDER_AWAY: Final = Alarm("a-payment-provider-does-not-answer", "metergate_provider_calls_total")
NEWS_WAITS: Final = Alarm("news-of-providers-is-not-handled", "metergate_webhook_lag_seconds")
NEWS_DEAD: Final = Alarm("news-of-providers-is-not-handled", "metergate_webhooks_dead")
NEWS_FORGED: Final = Alarm("news-is-not-signed", "metergate_webhooks_forged_total")
MISMATCH: Final = Alarm("a-payment-does-not-match", "metergate_payments_mismatched")
PUSH_WAITS: Final = Alarm("usage-for-providers-waits", "metergate_push_oldest_seconds")
PUSH_PARKED: Final = Alarm("usage-for-providers-is-parked", "metergate_push_parked")
DRIFT: Final = Alarm("usage-differs-at-the-provider", "metergate_push_drift")
ENDPOINT_OFF: Final = Alarm("an-endpoint-was-switched-off", "metergate_endpoints_failing")
ALARMS: Final = (
    *(BACKLOG, STORE_LOST, STORE_AWAY, LEDGER_AWAY, DISK_FULL, SET_ASIDE, CHAIN_BEHIND, CLOCK),
    *(DIFFERENCE, PROVIDER_AWAY, NEWS_WAITS, NEWS_DEAD, NEWS_FORGED, MISMATCH),
    *(PUSH_WAITS, PUSH_PARKED, DRIFT, ENDPOINT_OFF),
)

NEWS_LATE_S: Final = 300
"""How long news of a provider may wait."""
PUSH_LATE_S: Final = 3600
"""How long usage for a provider may wait."""


class Told:
    """Tells each alarm once, until it is over."""

    def __init__(self, log: logging.Logger) -> None:
        self._log = log
        self._told: set[tuple[Alarm, str]] = set()

    def mind(self, alarm: Alarm, begins: bool, lasts: bool, sentence: str, about: str = "") -> None:
        if begins and (alarm, about) not in self._told:
            self._told.add((alarm, about))
            tell(self._log, alarm, sentence)
        if not lasts:
            self._told.discard((alarm, about))


def tell(log: logging.Logger, alarm: Alarm, sentence: str) -> None:
    log.warning("%s See docs/runbook.md#%s.", sentence, alarm.page)
