"""The commands of top-ups by themselves and of alerts, as a table."""

from collections.abc import Mapping
from types import MappingProxyType

from metergate.cli import show
from metergate.cli.lines import PAGE, Line, arg, opt

A = arg("a", "account")

GUARDS: Mapping[str, Line] = MappingProxyType(
    {
        "topups set": Line(
            "topups.set",
            "Have account A pay by itself when its balance is low; also go on after a stop.",
            (
                A,
                opt("threshold", "Below this balance a top-up begins.", metavar="AMOUNT"),
                opt("amount", "Credits for as much money.", metavar="AMOUNT"),
                opt("pack", "Instead of an amount: a pack of the policy.", metavar="PACK"),
                opt("monthly-cap", "The most that is paid in a calendar month.", metavar="AMOUNT"),
                opt(
                    "method", "A payment method that the provider keeps; the first unless told.", metavar="ID"
                ),
            ),
        ),
        "topups show": Line("topups.show", "How account A tops up by itself, and how that goes.", (A,)),
        "topups off": Line("topups.off", "Begin no other top-up for account A.", (A,)),
        "topups list": Line(
            "topups.list",
            "Who tops up by itself.",
            (opt("state", "on, off or stopped.", metavar="STATE"), *PAGE),
            show.rows("account", "state", "threshold", "amount", "pack", "spent_this_month", "reason"),
        ),
        "alerts set": Line(
            "alerts.set",
            "Give account A thresholds of its own.",
            (
                A,
                opt(
                    "balance",
                    "Told when it falls below; may be given again.",
                    metavar="AMOUNT",
                    multiple=True,
                ),
                opt(
                    "spend",
                    "Such as 50.00/month; may be given again.",
                    metavar="AMOUNT/PERIOD",
                    multiple=True,
                ),
            ),
        ),
        "alerts show": Line("alerts.show", "When somebody is told of account A.", (A,)),
        "alerts reset": Line("alerts.reset", "Have account A use the policy's thresholds.", (A,)),
    }
)
