"""One verb, asked of a service that uses the data folder, or done here while none does."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metergate.cli import frame, show
from metergate.cli.show import Show

if TYPE_CHECKING:
    from metergate.admin import Doing


@asynccontextmanager
async def office(policy: str) -> "AsyncIterator[Doing]":
    """The office. A running service knows its policy; only an office of one's own has to be told."""
    from metergate.admin import answering
    from metergate.bootstrap import open_office

    running = await answering(folder())
    if running:
        yield running[0]
        return
    async with open_office(frame.policy_of(policy)) as own:
        yield own


def folder() -> Path:
    """The data folder of this environment, in which the service is to be asked."""
    import os

    from metergate.config import settings
    from metergate.foundation import folder_of

    return folder_of(settings.read(os.environ)).path


async def do(policy: str, verb: str, params: dict[str, object]) -> dict[str, Any]:
    async with office(policy) as found:
        return await found.do(verb, params)


def answer(verb: str, shown: Show, no: str, policy: str, as_json: bool, given: dict[str, object]) -> int:
    """Do what was typed and show it. `no` names the member that is false when the answer is no."""
    params = {name: value for name, value in given.items() if value is not None and value != ()}
    told = asyncio.run(do(policy, verb, params))
    if as_json:
        show.as_json(told)
    else:
        shown(told)
    return 1 if no and told[no] not in (True, "ok") else 0


def command(
    name: str,
    verb: str,
    params: tuple[click.Parameter, ...],
    shown: Show,
    help: str,
    no: str = "",
    signed: bool = False,
) -> click.Command:
    """The command that is a verb of the office and no more."""

    def callback(policy: str, as_json: bool, **given: object) -> None:
        code = answer(verb, shown, no, policy, as_json, given)
        if code:
            click.get_current_context().exit(code)

    made = frame.command(name, callback, help, [*params, frame.policy_option()])
    if signed:  # -5.00 is an amount and no option
        made.context_settings = {"ignore_unknown_options": True}
    return made
