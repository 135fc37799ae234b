"""A connection that is kept: made, greeted, watched, and made again after a pause that grows and varies."""

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

import hiredis

from metergate.errors import ConfigurationError, MetergateError, StoreUnavailable
from metergate_redis.address import Address, Host
from metergate_redis.connection import Connection, Parts
from metergate_redis.scripts import SCRIPTS

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0
NO_ROOM = (
    "The server of the counters hangs up on another connection; look whether it has room for one more "
    "(maxclients)."
)
NO_MEMORY = "The server of the counters is full; give it more memory (maxmemory)."

Lost = Callable[[Connection, str], None]


class Asked:
    """A receiver that somebody awaits."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[object] = loop.create_future()

    def answered(self, reply: object) -> None:
        if not self.future.done():
            self.future.set_result(reply)

    def failed(self, why: str) -> None:
        if not self.future.done():
            self.future.set_exception(StoreUnavailable(f"The counter store cannot be used: {why}."))


def ask(connection: Connection, *request: bytes | str | int) -> asyncio.Future[object]:
    asked = Asked(asyncio.get_running_loop())
    connection.send(request, asked)
    return asked.future


def value(reply: object) -> object:
    """The reply, unless the server says that it will not."""
    if isinstance(reply, hiredis.ReplyError):
        text = str(reply)
        if "max number of clients" in text:
            raise StoreUnavailable(NO_ROOM)
        if text.startswith("OOM"):
            raise StoreUnavailable(NO_MEMORY)
        if text.startswith(("NOAUTH", "WRONGPASS", "NOPERM")):
            raise ConfigurationError(f"The server of the counters does not let metergate in: {text}.")
        raise StoreUnavailable(f"The counter store refuses: {text}.")
    return reply


async def dial(address: Address, host: Host, lost: Lost) -> Connection:
    loop = asyncio.get_running_loop()

    def make() -> Connection:
        return Connection(loop, address.deadline_s, lost)

    shown = address.path or f"{host[0]}:{host[1]}"
    try:
        async with asyncio.timeout(address.deadline_s):
            if address.path:
                _, connection = await loop.create_unix_connection(make, address.path)
            else:
                _, connection = await loop.create_connection(make, *host, ssl=address.tls)
    except TimeoutError:
        raise StoreUnavailable(f"The counter store at {shown} does not answer.") from None
    except OSError as error:
        raise StoreUnavailable(f"The counter store at {shown} cannot be reached: {error}.") from None
    return connection


async def greet(connection: Connection, address: Address, *more: Parts) -> None:
    """Sign in, choose the database, and send more."""
    name = ("CLIENT", "SETNAME", "metergate")
    sign_in = ("AUTH", *((address.username,) if address.username else ()), address.password)
    try:
        first = await ask(connection, *(sign_in if address.password else name))
    except StoreUnavailable as error:
        # A server without room says so and hangs up; who writes meanwhile does not get to read it.
        if connection.late:
            raise
        raise StoreUnavailable(NO_ROOM) from error
    value(without(address.password, first))
    requests: list[Parts] = [name, ("SELECT", address.database)] if address.database else [name]
    asked = [ask(connection, *request) for request in (*requests, *more)]
    replies = await asyncio.gather(*asked, return_exceptions=True)
    for reply in replies:
        # What a server refuses is an exception too, and one that is still reading its data refuses most.
        if isinstance(reply, BaseException) and not isinstance(reply, hiredis.ReplyError):
            raise reply
        value(reply)


def without(password: str, reply: object) -> object:
    """The reply; a server that does not know how to sign in repeats what it was sent."""
    if password and isinstance(reply, hiredis.ReplyError):
        return hiredis.ReplyError(str(reply).replace(password, "…"))
    return reply


class Link:
    """`find` says where to connect to, `welcome` looks at every new connection before it is used."""

    def __init__(
        self,
        address: Address,
        find: Callable[[], Awaitable[Host]],
        welcome: Callable[["Link", Connection], Awaitable[None]],
    ) -> None:
        self.connection: Connection | None = None
        self.why = "The counter store has not been reached yet."
        self.run = ""
        """The server's run id, as far as it is known."""
        self.warnings: tuple[str, ...] = ()
        self._address = address
        self._find = find
        self._welcome = welcome
        self._loop = asyncio.get_running_loop()
        self._gone = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect once, so that a mistake is heard at once, and keep the connection from then on."""
        try:
            await self._connect()
        except StoreUnavailable as error:
            self.why = str(error)
            raise
        finally:
            self._task = self._loop.create_task(self._keep(), name="metergate-redis")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self.connection is not None:
            self.connection.close("it was closed here")

    def leave(self, why: str) -> None:
        """Give the connection up, because another server has what is asked for."""
        if self.connection is not None:
            self.connection.close(why)

    async def _keep(self) -> None:
        pause = FIRST_PAUSE_S
        while True:
            if self.connection is not None:
                pause = FIRST_PAUSE_S
                await self._gone.wait()
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311  # spreads those who come back
            pause = min(2 * pause, LONGEST_PAUSE_S)
            try:
                await self._connect()
            except MetergateError as error:
                self.why = str(error)

    async def _connect(self) -> None:
        self._gone.clear()
        connection = await dial(self._address, await self._find(), self._lost)
        try:
            load: list[Parts] = [("SCRIPT", "LOAD", script.source) for script in SCRIPTS.values()]
            await greet(connection, self._address, *load)
            await self._welcome(self, connection)
        except BaseException:
            connection.close("it was not welcome")
            raise
        if not connection.open:
            raise StoreUnavailable("The counter store closed the connection.")
        self.connection, self.why = connection, ""

    def _lost(self, connection: Connection, why: str) -> None:
        if connection is self.connection:
            self.connection, self.why = None, f"The counter store cannot be used: {why}."
            self._gone.set()
