"""A connection that is kept: made, greeted, watched, and made again after a pause that grows and varies."""

import asyncio
import random
from collections.abc import Awaitable, Callable

import hiredis

from metergate.errors import StoreUnavailable
from metergate_redis.address import Address
from metergate_redis.connection import Connection, Parts
from metergate_redis.scripts import SCRIPTS

FIRST_PAUSE_S = 0.05
LONGEST_PAUSE_S = 1.0


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
        raise StoreUnavailable(f"The counter store refuses: {reply}.")
    return reply


class Link:
    def __init__(
        self, address: Address, host: tuple[str, int], greet: Callable[[Connection], Awaitable[None]]
    ) -> None:
        self.connection: Connection | None = None
        self.why = "it has not been reached yet"
        self._address = address
        self._host = host
        self._greet = greet
        self._loop = asyncio.get_running_loop()
        self._gone = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect once, so that a mistake is heard at once, and keep the connection from then on."""
        try:
            await self._connect()
        finally:
            self._task = self._loop.create_task(self._keep(), name="metergate-redis")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        if self.connection is not None:
            self.connection.close("it was closed here")

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
            except StoreUnavailable as error:
                self.why = str(error)

    async def _connect(self) -> None:
        self._gone.clear()
        connection = await self._dial()
        try:
            await self._greetings(connection)
            await self._greet(connection)
        except BaseException:
            connection.close("it could not be greeted")
            raise
        if not connection.open:
            raise StoreUnavailable("The counter store closed the connection.")
        self.connection, self.why = connection, ""

    async def _dial(self) -> Connection:
        address, (host, port) = self._address, self._host

        def make() -> Connection:
            return Connection(self._loop, address.deadline_s, self._lost)

        try:
            async with asyncio.timeout(address.deadline_s):
                if address.path:
                    _, connection = await self._loop.create_unix_connection(make, address.path)
                else:
                    _, connection = await self._loop.create_connection(make, host, port, ssl=address.tls)
        except TimeoutError:
            raise StoreUnavailable(f"The counter store at {address.shown} does not answer.") from None
        except OSError as error:
            raise StoreUnavailable(
                f"The counter store at {address.shown} cannot be reached: {error}."
            ) from None
        return connection

    async def _greetings(self, connection: Connection) -> None:
        address = self._address
        requests: list[Parts] = []
        if address.password:
            requests.append(("AUTH", *((address.username,) if address.username else ()), address.password))
        if address.database:
            requests.append(("SELECT", address.database))
        requests.append(("CLIENT", "SETNAME", "metergate"))
        requests += [("SCRIPT", "LOAD", script.source) for script in SCRIPTS.values()]
        for reply in await asyncio.gather(*[ask(connection, *request) for request in requests]):
            value(reply)

    def _lost(self, connection: Connection, why: str) -> None:
        if connection is self.connection:
            self.connection, self.why = None, why
            self._gone.set()
