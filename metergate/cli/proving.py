"""The proof, and backups: `metergate verify`, in steps where a person looks on, `backup` and `restore`."""

import asyncio
import sys
from typing import Any

import click

from metergate.cli import asking, frame, show


def verify(policy: str, head: str | None, as_json: bool) -> None:
    told = asyncio.run(_verified(policy, {} if head is None else {"head": head}))
    if as_json:
        show.as_json(told)
    else:
        show.verified(told)
    if not told["ok"]:
        click.get_current_context().exit(1)


async def _verified(policy: str, params: dict[str, object]) -> dict[str, Any]:
    async with asking.office(policy) as office:
        if not sys.stderr.isatty():
            return await office.do("verify", params)
        from rich.console import Console
        from rich.progress import track

        steps = (await office.do("verify.steps", {}))["steps"]
        told: dict[str, Any] = {"differences": []}
        for step in track(steps, "Verifying", console=Console(stderr=True), transient=True):
            part = await office.do("verify", {**params, "step": step})
            told = {**part, "differences": [*told["differences"], *part["differences"]]}
        return {**told, "ok": not told["differences"]}


def backup(target: str, policy: str, with_pepper: bool, as_json: bool) -> None:
    from metergate.cli import backups

    backups.backup(target, policy, with_pepper=with_pepper, as_json=as_json)


def restore(source: str, policy: str, replace: bool, keys: str | None, as_json: bool) -> None:
    from metergate.cli import backups

    backups.restore(source, policy, replace=replace, keys=keys, as_json=as_json)


COMMANDS = {
    "verify": frame.command(
        "verify",
        verify,
        "Derive every balance from the entries again, compare the counters; exits with 1 on a difference.",
        [
            click.Option(["--head"], metavar="LINK", help="A link of the chain that was kept elsewhere."),
            frame.policy_option(),
        ],
    ),
    "backup": frame.command(
        "backup",
        backup,
        "Write the whole ledger into the file TARGET while it is used; a folder gets a file of its own.",
        [
            click.Argument(["target"], metavar="TARGET"),
            click.Option(["--with-pepper"], is_flag=True, help="Put the pepper of stored keys into it too."),
            frame.policy_option(),
        ],
    ),
    "restore": frame.command(
        "restore",
        restore,
        "Bring a backup back into the data folder or into an empty database, while nothing runs.",
        [
            click.Argument(["source"], metavar="FILE"),
            click.Option(["--replace"], is_flag=True, help="Put the ledger aside that is there."),
            click.Option(
                ["--keys"],
                type=click.Choice(["keep", "revoke"]),
                help="Where later revocations are not known: keep the keys active, or end them all.",
            ),
            frame.policy_option(),
        ],
    ),
}
