"""The connections to one origin: kept alive, bounded in number, with a bounded queue before them.

A request is written to one connection, once. What was written is never written again, whatever becomes of
the connection, so one call of a client is at most one call of the upstream.
"""

import asyncio
import logging
import select
from collections import deque

from metergate.core.policy import Upstream
from metergate.upstream import connection, origin
from metergate.upstream.connection import Connection
from metergate.upstream.errors import UpstreamError, busy, too_slow, unreachable
from metergate.upstream.pulse import Pulse
from metergate.upstream.socket import Socket

log = logging.getLogger("metergate")

US = 10**6
IDLE_S = 30.0
"""How long a connection is kept that nobody uses, unless the upstream promises less."""
REPORTED_EVERY_S = 10.0


class Pool:
    def __init__(self, upstream: Upstream, pulse: Pulse) -> None:
        self.origin = origin.parse(upstream.url)
        self.pulse = pulse
        self.connections: set[Connection | Socket] = set()
        self.silence_s = upstream.silence_us / US
        self.first_byte_s = upstream.first_byte_us / US
        self.total_s = upstream.total_us / US
        self._connect_s = upstream.connect_us / US
        self._trust = origin.trust(self.origin, upstream.ca)
        self._loop = asyncio.get_running_loop()
        self._http = connection.http()
        self._room = upstream.connections
        """How many more connections may be opened."""
        self._waiting_max = upstream.waiting
        self.draining = 0
        """How many answers are read that no client waits for."""
        self.draining_max = max(1, upstream.connections // 4)
        self._idle: list[Connection] = []
        """The one used last stands last and is used next."""
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._closed = False
        self._reported = 0.0

    # -- for whoever has a request -------------------------------------------------------------------------

    def take(self) -> Connection | None:
        """A connection that is open and idle."""
        while self._idle:
            found = self._idle.pop()
            if self._usable(found):
                return found
            found.close()
        return None

    async def connect(self) -> Connection:
        """A connection where none is idle: a new one, or the first that is given back."""
        while not self._room:
            found = await self._wait()
            if found is None:
                break
            if not found.is_lost and not found.transport.is_closing():
                return found
        else:
            self._room -= 1
        try:
            return await self._open()
        except BaseException:
            self._make_room()
            raise

    def talk(self, connection: Connection, rest: bytes) -> Socket:
        """A connection that has become a WebSocket; it keeps its place among the others."""
        if connection.is_lost:
            raise unreachable("The upstream closed the connection as soon as it was open.")
        socket = Socket(self, self._loop, connection.transport, self.pulse.now)
        connection.response = None
        self.connections.remove(connection)
        self.connections.add(socket)
        connection.transport.set_protocol(socket)
        connection.go_on()
        if self.total_s:
            socket.until = self.pulse.now + self.total_s
        if rest:
            socket.data_received(rest)
        return socket

    def close(self) -> None:
        """Take no more, and let go of what is idle; exchanges that are going on end by themselves."""
        self._closed = True
        while self._idle:
            self._idle.pop().close()

    def report(self, error: Exception) -> None:
        """Tell the operator what the client is not told; one line stands for many."""
        now = self._loop.time()
        if now - self._reported >= REPORTED_EVERY_S:
            self._reported = now
            log.warning("%s: %s", self.origin, error)

    def _usable(self, found: Connection) -> bool:
        """Whether the other side has not hung up. One that was used just now is believed."""
        if found.is_lost or found.transport.is_closing():
            return False
        return found.since == self.pulse.now or not _readable(found)

    async def _open(self) -> Connection:
        where = self.origin
        name = where.host if self._trust else None
        try:
            async with asyncio.timeout(self._connect_s):
                _, made = await self._loop.create_connection(
                    lambda: Connection(self, self._loop, self._http),
                    where.host,
                    where.port,
                    ssl=self._trust,
                    server_hostname=name,
                )
        except TimeoutError:
            raise too_slow("The upstream did not take the connection in time.") from None
        except OSError as error:  # also what TLS and the resolver have to say
            raise unreachable(f"The upstream takes no connection: {error}.") from None
        if not self.connections:
            self.pulse.call(self._look)
        self.connections.add(made)
        return made

    async def _wait(self) -> Connection | None:
        """The first connection that is given back; None is the room for a new one."""
        if len(self._waiting) >= self._waiting_max:
            raise busy()
        turn: asyncio.Future[Connection | None] = self._loop.create_future()
        self._waiting.append(turn)
        timer = self._loop.call_later(self._connect_s, _give_up, turn)
        try:
            return await turn
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.exception() is None:
                self._give_back(turn.result())
            raise
        finally:
            timer.cancel()

    def _give_back(self, found: Connection | None) -> None:
        if found is None:
            self._make_room()
        elif not found.is_lost:
            self.released(found)

    # -- for the connections -------------------------------------------------------------------------------

    def released(self, connection: Connection) -> None:
        """An exchange is over, and the connection good for another."""
        connection.since = self.pulse.now
        if self._closed:
            connection.close()
        elif not self._hand(connection):
            self._idle.append(connection)

    def lost(self, kept: Connection | Socket) -> None:
        if kept in self.connections:
            self.connections.discard(kept)
            self._make_room()
        if isinstance(kept, Connection) and kept in self._idle:
            self._idle.remove(kept)

    def _make_room(self) -> None:
        if not self._hand(None):
            self._room += 1

    def _hand(self, what: Connection | None) -> bool:
        """Give a connection, or the room for one, to who has waited longest."""
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(what)
                return True
        return False

    # -- time ----------------------------------------------------------------------------------------------

    def _look(self, now: float) -> bool:
        for each in tuple(self.connections):
            each.look(now)
        while self._idle and _stale(self._idle[0], now):
            self._idle.pop(0).close()
        return bool(self.connections)


def _stale(found: Connection, now: float) -> bool:
    # A second less than promised: the other side counts from when it sent its last byte.
    keep = min(IDLE_S, found.idle_for_s - 1.0) if found.idle_for_s else IDLE_S
    return now - found.since >= keep


def _readable(found: Connection) -> bool:
    """Whether something waits in the socket that the loop has not seen yet: most likely its end."""
    asked = select.poll()
    asked.register(found.transport.get_extra_info("socket").fileno(), select.POLLIN)
    return bool(asked.poll(0))


def _give_up(turn: "asyncio.Future[Connection | None]") -> None:
    if not turn.done():
        turn.set_exception(busy())


__all__ = ["Pool", "UpstreamError"]
