"""What processes and machines that died have left, brought to its end by hand; and a store filled anew."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from metergate.cli import frame, show

if TYPE_CHECKING:
    from metergate.worker.repair import Repair

ITSELF = (
    "The embedded store takes over what its last process has left as it starts; only processes that share a "
    "store leave something to do by hand."
)


def recover(folder: str, rebuild: bool, policy: str, as_json: bool) -> None:
    found = asyncio.run(_recover(frame.policy_of(policy), Path(folder) if folder else None, rebuild, as_json))
    if as_json:
        show.as_json({"ok": all(each["ok"] for each in found), "findings": found})
    if not all(each["ok"] for each in found):
        click.get_current_context().exit(1)


async def _recover(policy: str, folder: Path | None, rebuild: bool, as_json: bool) -> list[dict[str, Any]]:
    found = []
    async with _repair(policy) as repair:
        async for finding in _findings(repair, folder, rebuild):
            found.append(finding)
            if not as_json:
                click.echo(finding["sentence"])
    return found


async def _findings(repair: "Repair", folder: Path | None, rebuild: bool) -> AsyncIterator[dict[str, Any]]:
    _look(f"Reading {folder or 'the journals of this machine'} …")
    async for finding in repair.machine() if folder is None else repair.folder(folder):
        yield finding
    if rebuild:
        _look("Filling the store …")
        yield await repair.store()


def _look(told: str) -> None:
    """A word on what takes its time, when a person looks."""
    if sys.stderr.isatty():
        click.echo(told, err=True)


@asynccontextmanager
async def _repair(policy: str) -> AsyncIterator["Repair"]:
    from metergate.config import settings
    from metergate.engine import Engine
    from metergate.errors import StoreUnavailable

    engine = Engine(policy, replace(settings.read(os.environ), worker=True))
    engine.loaded()  # whatever is wrong with it is said before anything else
    if not engine.shares:
        raise click.ClickException(ITSELF)
    await engine.start()
    try:
        worker, shared = engine.foundation.worker, engine.foundation.shared
        if worker.repair is None:
            raise click.ClickException("No journals are kept here: METERGATE_JOURNAL is off.")
        if shared is not None and not shared.epoch:
            raise StoreUnavailable("The store cannot be used yet; look at metergate health, and try again.")
        yield worker.repair
    finally:
        await engine.stop()


COMMANDS = {
    "recover": frame.command(
        "recover",
        recover,
        "End the calls that dead processes have left; FOLDER has the journals of another machine.",
        [
            click.Argument(["folder"], metavar="[FOLDER]", default=""),
            click.Option(["--rebuild"], is_flag=True, help="Then fill the shared store from the ledger."),
            frame.policy_option(),
        ],
    ),
}
