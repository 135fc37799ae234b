"""`metergate verify`: the proof, in steps where a person looks on."""

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
}
