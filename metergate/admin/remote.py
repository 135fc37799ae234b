"""The office of another process, asked over its socket in the data folder.

It is the process that owns the folder, or any of those that share a store and this folder.
"""

import asyncio
import json
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from metergate.admin import lines
from metergate.admin.desk import Json
from metergate.admin.errors import OwnerUnavailable
from metergate.errors import InvalidInput, MetergateError

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RemoteOffice:
    def __init__(self, folder: Path, name: str = lines.NAME) -> None:
        self._folder = folder.absolute()
        self.name = name

    async def do(self, verb: str, params: Mapping[str, object]) -> Json:
        """Do what a verb says, in the owner's process. Its errors are raised here as they were there."""
        async with self._asking(verb, params) as (reader, _):
            return cast(Json, _member(await self._heard(reader), "answer"))

    async def tail(self, params: Mapping[str, object] | None = None) -> AsyncGenerator[Json, None]:
        """Decisions of the owner's gates as they are made."""
        async with self._asking("tail", params or {}) as (reader, _):
            _member(await self._heard(reader), "answer")
            while told := await reader.readline():
                yield cast(Json, _member(json.loads(told), "event"))

    async def is_there(self) -> bool:
        """Whether somebody answers."""
        try:
            async with self._connected():
                return True
        except OwnerUnavailable:
            return False

    @asynccontextmanager
    async def _asking(self, verb: str, params: Mapping[str, object]) -> AsyncIterator[Stream]:
        try:
            asked = lines.line(verb=verb, params=dict(params))
        except (TypeError, ValueError, RecursionError):
            raise InvalidInput("Ask with values that JSON can carry.") from None
        if len(asked) > lines.ASKED_MAX:
            raise InvalidInput(f"Ask with at most {lines.ASKED_MAX} bytes at once.")
        async with self._connected() as (reader, writer):
            writer.write(asked)
            yield reader, writer

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Stream]:
        try:
            with lines.address(self._folder, self.name) as address:
                reader, writer = await asyncio.open_unix_connection(address, limit=lines.ANSWER_MAX)
        except OSError as error:
            raise OwnerUnavailable(
                f"No process answers for the data folder {self._folder} ({error.strerror}); start the "
                "service that uses it, or ask again in a moment."
            ) from error
        try:
            yield reader, writer
        finally:
            writer.close()

    async def _heard(self, reader: asyncio.StreamReader) -> Mapping[str, Any]:
        try:
            told = await reader.readline()
        except (ConnectionError, ValueError) as error:
            raise self._broken_off() from error
        if not told.endswith(b"\n"):
            raise self._broken_off()
        return cast(Mapping[str, Any], json.loads(told))

    def _broken_off(self) -> OwnerUnavailable:
        return OwnerUnavailable(
            f"The process that owns {self._folder} broke off; look whether the change was made, then "
            "ask again."
        )


async def answering(folder: Path) -> list[RemoteOffice]:
    """Everybody who answers in the folder, its owner first. What the dead left is swept out."""
    found = []
    for office in [RemoteOffice(folder, name) for name in (lines.NAME, *_members(folder))]:
        if await office.is_there():
            found.append(office)
        elif office.name != lines.NAME and not _alive(office.name):
            (folder / office.name).unlink(missing_ok=True)
    return found


async def tail(folder: Path) -> AsyncGenerator[Json, None]:
    """Decisions of all gates of the folder as they are made, until the last of them ends."""
    offices = await answering(folder) or [RemoteOffice(folder)]
    heard: asyncio.Queue[Json | MetergateError | None] = asyncio.Queue()

    async def hear(office: RemoteOffice) -> None:
        try:
            async for decision in office.tail():
                heard.put_nowait(decision)
            heard.put_nowait(None)
        except MetergateError as error:
            heard.put_nowait(error)

    hearing = [asyncio.ensure_future(hear(office)) for office in offices]
    try:
        silent = 0
        while silent < len(offices):
            told = await heard.get()
            if isinstance(told, MetergateError) and len(offices) == 1:
                raise told
            if isinstance(told, dict):
                yield told
            else:
                silent += 1
    finally:
        for each in hearing:
            each.cancel()
        await asyncio.gather(*hearing, return_exceptions=True)


def _members(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob(lines.MEMBERS))


def _alive(name: str) -> bool:
    """Whether the process that made a socket still runs; one that belongs to somebody else does."""
    try:
        os.kill(int(name.split("-")[1]), 0)
    except ProcessLookupError:
        return False
    except (OSError, ValueError, IndexError):
        return True
    return True


def _member(told: Mapping[str, Any], name: str) -> object:
    if "error" in told:
        raise lines.raised(told["error"])
    return told[name]
