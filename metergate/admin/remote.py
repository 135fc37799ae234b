"""The office of the process that owns the data folder, asked over its socket."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, cast

from metergate.admin import lines
from metergate.admin.desk import Json
from metergate.admin.errors import OwnerUnavailable
from metergate.errors import InvalidInput

Stream = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class RemoteOffice:
    def __init__(self, folder: Path) -> None:
        self._folder = folder.absolute()

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
            with lines.address(self._folder) as address:
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


def _member(told: Mapping[str, Any], name: str) -> object:
    if "error" in told:
        raise lines.raised(told["error"])
    return told[name]
