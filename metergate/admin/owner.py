"""The owner of a data folder lets others ask: the office over a Unix socket in the folder.

The socket belongs to the owner alone (mode 0600). Whoever owns the folder has its lock, so a socket file that
is found there is what a dead process left, and is replaced. Processes that share a store own nothing: each of
them has a socket of its own.
"""

import asyncio
import contextlib
import os
import secrets
import socket
import struct
from collections.abc import Callable, Mapping
from pathlib import Path

from metergate.admin import lines, strict_json
from metergate.admin.desk import Json
from metergate.admin.office import Office
from metergate.errors import ConfigurationError, InvalidInput, MetergateError

Subscribe = Callable[[Callable[[Json], None]], Callable[[], None]]
"""Tell a listener every decision from now on; the answer ends it."""

TAIL, RELOAD = "tail", "reload"
WAITING_MAX = 1000
"""Decisions that wait for a slow reader of `tail`; what comes beyond is counted and left out."""


def _nothing_happens(_listener: Callable[[Json], None]) -> Callable[[], None]:
    return lambda: None


class OwnerSocket:
    def __init__(
        self,
        folder: Path,
        office: Office,
        decisions: Subscribe = _nothing_happens,
        *,
        member: bool = False,
    ) -> None:
        own = lines.MEMBERS.replace("*", f"{os.getpid()}-{secrets.token_hex(4)}")
        self.path = folder / (own if member else lines.NAME)
        self._folder = folder
        self._office = office
        self._decisions = decisions
        self._server: asyncio.Server | None = None
        self._listening: socket.socket | None = None
        self._talks: set[asyncio.Task[None]] = set()
        self._inode = 0

    async def start(self) -> None:
        bound = self._listening = self._bound()
        self._server = await asyncio.start_unix_server(self._accept, sock=bound, limit=lines.ASKED_MAX)

    def _bound(self) -> socket.socket:
        """A socket that is its owner's alone before anybody can reach it, under its name all at once."""
        draft = f".{secrets.token_hex(4)}"
        bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK)
        try:
            with lines.address(self._folder, draft) as address:
                bound.bind(address)
            (self._folder / draft).chmod(0o600)
            self._inode = (self._folder / draft).stat().st_ino
            (self._folder / draft).rename(self.path)
        except OSError as error:
            bound.close()
            raise ConfigurationError(
                f"The socket {self.path} cannot be made ({error.strerror}); "
                "choose another data folder with METERGATE_DATA."
            ) from error
        return bound

    async def stop(self) -> None:
        if self._server is None:
            return
        self._server.close()
        for talk in self._talks:
            talk.cancel()
        if self._talks:
            await asyncio.wait(self._talks)
        await self._server.wait_closed()
        self._server = None
        with contextlib.suppress(OSError):
            if self.path.stat().st_ino == self._inode:
                self.path.unlink()

    def abandon(self) -> None:
        """Stop listening where the event loop is closed already."""
        if self._listening is not None:
            self._listening.close()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        talk = asyncio.get_running_loop().create_task(self._talk(reader, writer))
        self._talks.add(talk)
        talk.add_done_callback(self._talks.discard)
        # Also when the owner stops before the talk has begun.
        talk.add_done_callback(lambda _: writer.close())

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        office = self._office.acting_as(_who(writer))
        with contextlib.suppress(ConnectionError):  # the client may leave at any time
            while await self._hear(reader, writer, office):
                await writer.drain()

    async def _hear(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, office: Office) -> bool:
        """Answer one line; whether another may follow."""
        try:
            asked = await reader.readline()
        except ValueError:
            error = InvalidInput(f"Ask in a line of at most {lines.ASKED_MAX} bytes.")
            writer.write(lines.problem(error))
            return False
        if not asked.endswith(b"\n"):
            return False
        try:
            verb, params = _asked(asked)
            if verb == TAIL:
                await self._tail(reader, writer)
                return False
            if verb == RELOAD:
                await office.desk.hooks.reload()
                writer.write(lines.line(answer={"reload": True}))
                return True
            writer.write(lines.line(answer=await office.do(verb, params)))
        except MetergateError as error:
            writer.write(lines.problem(error))
        return True

    async def _tail(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Decisions as they are made, until the client leaves."""
        waiting: asyncio.Queue[Json] = asyncio.Queue(WAITING_MAX)
        left_out = 0

        def listen(decision: Json) -> None:
            nonlocal left_out
            if waiting.full():
                left_out += 1
            else:
                waiting.put_nowait(decision)

        async def tell() -> None:
            nonlocal left_out
            while True:
                decision = await waiting.get()
                missed, left_out = left_out, 0
                writer.write(lines.line(event={**decision, "left_out": missed}))
                await writer.drain()

        telling = asyncio.ensure_future(tell())
        gone = asyncio.ensure_future(reader.read(1))
        end = self._decisions(listen)
        try:
            writer.write(lines.line(answer={"tail": True}))
            await asyncio.wait({gone, telling}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            end()
            gone.cancel()
            telling.cancel()
            await asyncio.gather(gone, telling, return_exceptions=True)


def _asked(asked: bytes) -> tuple[str, Mapping[str, object]]:
    told = strict_json.decode(asked)
    if not isinstance(told, dict) or not set(told) <= {"verb", "params"}:
        raise InvalidInput('Ask with an object such as {"verb": "accounts.list", "params": {}}.')
    verb, params = told.get("verb"), told.get("params", {})
    if not isinstance(verb, str) or not isinstance(params, dict):
        raise InvalidInput("Ask with a verb as text and params as an object.")
    return verb, params


def _who(writer: asyncio.StreamWriter) -> str:
    """The user of the system who asks, as the kernel knows it."""
    credentials = getattr(socket, "SO_PEERCRED", None)
    if credentials is None:
        return f"uid:{os.getuid()}"
    told = writer.get_extra_info("socket").getsockopt(socket.SOL_SOCKET, credentials, struct.calcsize("3i"))
    return f"uid:{struct.unpack('3i', told)[1]}"
