"""The command `metergate`, put together from its tables."""

import click

from metergate.cli import files, live, office, proving, recover, serve
from metergate.cli.frame import Listing, Root

SUBJECTS = {
    "accounts": "Who pays.",
    "keys": "What callers present.",
    "credits": "What accounts can spend.",
    "payments": "What accounts paid.",
    "customers": "Accounts as payment providers know them.",
    "pushes": "Usage that payment providers count.",
    "providers": "Who collects the money.",
    "webhooks": "What payment providers told us.",
    "topups": "Who pays by itself.",
    "alerts": "When somebody is told.",
    "endpoints": "Who is told what happens.",
    "deliveries": "What was told to whom.",
    "notices": "What was told.",
    "plans": "What the policy offers.",
    "subscriptions": "Who is on which plan.",
    "usage": "What was counted.",
    "ledger": "What stands in the books.",
    "policy": "The policy that is at work.",
}


def _version(ctx: click.Context, _option: click.Parameter, wanted: bool) -> None:
    if wanted:
        files.version(False)
        ctx.exit()


def _assembled() -> Root:
    root = Root(
        "metergate",
        help="Makes every call to an API paid for. Begin with: metergate demo",
        params=[
            click.Option(["--version"], is_flag=True, is_eager=True, expose_value=False, callback=_version)
        ],
    )
    groups = {
        name: click.Group(name, help=help) if name == "policy" else Listing(name, help=help)
        for name, help in SUBJECTS.items()
    }
    for group in groups.values():
        root.add_command(group)
    for words, command in {
        **office.commands(),
        **files.COMMANDS,
        **live.COMMANDS,
        **proving.COMMANDS,
        **recover.COMMANDS,
        **serve.COMMANDS,
    }.items():
        subject, _, rest = words.partition(" ")
        (groups[subject] if rest else root).add_command(command)
    return root


main = _assembled()
