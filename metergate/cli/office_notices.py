"""The commands of webhooks out, as a table."""

from collections.abc import Mapping
from types import MappingProxyType

from metergate.cli import show
from metergate.cli.lines import ACCOUNT, PAGE, Line, arg, opt

ENDPOINT = opt("endpoint", "Only of this endpoint.", metavar="ID")
TYPES = opt("type", "What it wants, such as payment.*; may be given again.", "types", "TYPE", multiple=True)
NAMED = opt("description", "What it is for.")

NOTICES: Mapping[str, Line] = MappingProxyType(
    {
        "endpoints create": Line(
            "endpoints.create",
            "Tell the address URL what happens. The secret is shown this once.",
            (arg("url"), TYPES, NAMED),
        ),
        "endpoints list": Line(
            "endpoints.list",
            "List where notices go, and how that goes.",
            (),
            show.rows("id", "url", "types", "state", "failing_since", "deliveries", "reason"),
        ),
        "endpoints show": Line("endpoints.show", "Show the endpoint ID.", (arg("id"),)),
        "endpoints update": Line(
            "endpoints.update",
            "Change where notices go, or which.",
            (arg("id"), opt("url", "Another address.", metavar="URL"), TYPES, NAMED),
        ),
        "endpoints enable": Line(
            "endpoints.enable",
            "Ask the endpoint ID again; what waited goes out, the oldest first.",
            (arg("id"),),
        ),
        "endpoints disable": Line(
            "endpoints.disable", "Tell the endpoint ID no more, and keep nothing for it.", (arg("id"),)
        ),
        "endpoints delete": Line("endpoints.delete", "Forget the endpoint ID.", (arg("id"),)),
        "endpoints rotate": Line(
            "endpoints.rotate",
            "Make another secret for the endpoint ID; until the grace is over both sign.",
            (arg("id"), opt("grace", "How long; 24h unless told, 0 ends the old one.", metavar="24h")),
        ),
        "endpoints test": Line(
            "endpoints.test", "Send the endpoint ID a notice that means nothing.", (arg("id"),)
        ),
        "endpoints types": Line(
            "endpoints.types", "List the types of notices.", (), show.rows("type", "told")
        ),
        "deliveries list": Line(
            "deliveries.list",
            "List deliveries, the newest first.",
            (
                ENDPOINT,
                opt("state", "waiting, delivered or dead.", metavar="STATE"),
                opt("notice", "Only of this notice.", metavar="ID"),
                *PAGE,
            ),
            show.rows("id", "at", "endpoint", "type", "account", "state", "tries", "status", "detail"),
        ),
        "deliveries show": Line(
            "deliveries.show", "Show the delivery ID, with what was sent and every attempt.", (arg("id"),)
        ),
        "deliveries replay": Line(
            "deliveries.replay",
            "Deliver ID once more, or all of a state or since a time.",
            (
                arg("id", required=False),
                ENDPOINT,
                opt("state", "All that are waiting, delivered or dead.", metavar="STATE"),
                opt("since", "All from this time on.", metavar="TIME"),
            ),
        ),
        "notices list": Line(
            "notices.list",
            "List what was told, the newest first.",
            (ACCOUNT, opt("type", "Only of this type.", metavar="TYPE"), *PAGE),
            show.rows("id", "at", "type", "account", "data"),
        ),
    }
)
