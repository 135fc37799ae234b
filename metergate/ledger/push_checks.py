"""What has to hold between usage and what providers are told of it, as queries for what does not."""

# The queries are put together from words of our own.
# ruff: noqa: S608

from typing import Final

from metergate.ledger.checks import Check, _sum

_USED: Final = f"""(SELECT {_sum("u.units")} FROM usage u
    WHERE u.org = w.org AND u.account = w.account AND u.meter = w.meter AND u.at_us >= w.start_us
    AND u.at_us < w.end_us AND u.measured <> 'shadow' AND u.seq <= p.seq)"""

PUSHES: Final = (
    Check(
        "Account {0} used {1} of {2} in a window from {4} on, and intents were made for {3}.",
        f"""SELECT w.account, {_USED}, w.meter, w.units, w.start_us
        FROM push_windows w JOIN push_progress p ON p.org = w.org
        WHERE w.org = :org AND NOT w.changed AND w.units <> {_USED}""",
        "pushed units",
        1,
        3,
    ),
    Check(
        "The window of {0} and {1} from {2} on is kept as {3}, and its intents come to {4}.",
        f"""SELECT w.account, w.meter, w.start_us, w.units, coalesce(i.units, 0) FROM push_windows w
        LEFT JOIN (SELECT account, meter, start_us, {_sum("units")} AS units FROM push_intents
            WHERE org = :org AND NOT repair AND state <> 'dropped' GROUP BY account, meter, start_us) i
            ON i.account = w.account AND i.meter = w.meter AND i.start_us = w.start_us
        WHERE w.org = :org AND coalesce(i.units, 0) <> w.units""",
        "intents",
        3,
        4,
    ),
    Check(
        "The intent {0} belongs to no window.",
        """SELECT i.identifier FROM push_intents i WHERE i.org = :org AND NOT EXISTS
        (SELECT 1 FROM push_windows w WHERE w.org = i.org AND w.account = i.account AND w.meter = i.meter
            AND w.start_us = i.start_us AND w.end_us = i.end_us AND w.provider = i.provider)""",
        "window",
    ),
    Check(
        "Two windows of {0} and {1} overlap at {2}.",
        """SELECT account, meter, start_us FROM (SELECT account, meter, start_us,
            max(end_us) OVER (PARTITION BY account, meter ORDER BY start_us
                ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
            FROM push_windows WHERE org = :org) each_one WHERE before > start_us""",
        "window",
    ),
)
