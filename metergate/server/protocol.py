"""HTTP as `metergate serve` takes it: a protocol for uvicorn's server, with bounds and without ambiguities.

What a client may send is bounded in size and in time. What could be read in two ways is refused, and nothing
that comes behind it is read. Whoever is refused in the middle of sending hears why, because the connection
lingers for a moment before it closes.
"""

import asyncio
import logging
from collections import deque
from math import inf
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import unquote

from metergate.core.refusal import Refusal
from metergate.errors import MetergateError
from metergate.server.cycle import BUFFERED_MAX, Cycle
from metergate.server.door import Door
from metergate.server.head import HeadReader, Refused, answer
from metergate.server.upgrade import request_head, to_websocket

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

log = logging.getLogger("metergate")

LINGER_S = 2.0
LINGER_BYTES = 1 << 20
"""So much of what a client goes on sending after its answer is read, and thrown away."""
PIPELINED_MAX = 32
TURNED_AWAY_MAX = 64

TRAILERS = {"http.response.trailers": dict[object, object]()}


class Protocol(HeadReader):
    """One connection of a client: its requests one after the other, each answered by the app."""

    __slots__ = (
        "_app", "_app_state", "_arriving", "_asgi_version", "_client", "_config", "_cycle", "_deaf", "_fed",
        "_going", "_moved", "_parser", "_refusal", "_scheme", "_served", "_server", "_since", "_state",
        "_unsent", "_unsent_since", "_until", "_unwanted", "_upgraded", "_waiting", "_who",
    )  # fmt: skip

    def __init__(
        self,
        config: "Config",
        server_state: "ServerState",
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        door: Door,
    ) -> None:
        super().__init__(_loop or asyncio.get_running_loop(), door)
        self._config = config
        self._state = server_state
        self._app_state = app_state
        self._app = cast(Any, config.loaded_app)
        self._asgi_version = config.asgi_version
        self._who: str | None = None
        """What the door counts this connection as; None where it did not let it in."""
        self._parser = door.http.parser(self)
        # What follows the last request is not read, but it is no reason not to answer that request.
        self._parser.set_dangerous_leniencies(lenient_data_after_close=True)
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._cycle: Cycle | None = None
        """The request that is being answered."""
        self._arriving: Cycle | None = None
        """The request whose body is coming in."""
        self._waiting: deque[Cycle] = deque()
        """Requests that came before the ones before them were answered."""
        self._refusal: Refusal | None = None
        """What to answer after the answers that are still due."""
        self._deaf = False
        """Whether nothing more is read of what comes in."""
        self._going: asyncio.TimerHandle | None = None
        """When somebody who was turned away must be gone."""
        self._upgraded = False
        self._served = False
        self._moved = False
        self._since = self._until = 0.0
        self._unsent = 0
        self._unsent_since = 0.0
        self._fed = 0
        """How many bytes came in since something came of them."""
        self._unwanted = 0
        """How much came of a body that nobody reads."""

    # -- asyncio -------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._state.connections.add(cast(Any, self))
        here, there = transport.get_extra_info("sockname"), transport.get_extra_info("peername")
        self._server = here[:2] if isinstance(here, tuple) else None
        self._client = there[:2] if isinstance(there, tuple) else None
        self._scheme = "https" if transport.get_extra_info("sslcontext") else "http"
        self._who = self._door.enter(self, self._client[0] if self._client else "")
        self._since = self._door.now
        if self._who is None:
            self._turn_away()

    def _turn_away(self) -> None:
        """Say that there are too many; a few may stay until they have heard it."""
        self._deaf = True
        self.transport.write(answer(Refusal("too_many_connections", retry_after_us=10**6)))
        if self.transport.can_write_eof() and self._door.turned_away < TURNED_AWAY_MAX:
            self.transport.write_eof()
            self._door.turned_away += 1
            self._going = self._loop.call_later(LINGER_S, self.transport.abort)
        else:
            self.transport.close()

    def data_received(self, data: bytes) -> None:
        self._moved = True
        self._fed += len(data)
        if self._deaf:
            if self._fed > LINGER_BYTES:
                self.transport.abort()
            return
        self._feed(data)

    def _feed(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except self._door.http.upgrade as upgrade:
            rest = data[upgrade.args[0] :]
            if self._upgraded:
                self._open_socket(rest)
            elif rest:
                self._feed(rest)  # no change of protocol that we know of: an ordinary request
        except self._door.http.error as error:
            cause = error.__context__
            if isinstance(cause, Refused):
                self._refuse(cause.refusal)
            else:
                self._refuse(Refusal("bad_request", f"The request cannot be read: {error}."))
        else:
            if self._fed > self._door.head_bytes:
                self._refuse(Refusal("headers_too_large"))

    def _open_socket(self, rest: bytes) -> None:
        if rest:
            self._upgraded = False
            self._refuse(Refusal("bad_request", "Wait for the answer to the handshake before you send more."))
            return
        self._state.connections.discard(cast(Any, self))
        head = request_head(self._url, self._headers)
        to_websocket(self.transport, self._config, self._state, self._app_state, head, self._leave)

    def connection_lost(self, exc: Exception | None) -> None:
        self._state.connections.discard(cast(Any, self))
        self._leave()
        self._deaf = True
        self._parser = cast(Any, None)  # it leads back to us
        for cycle in (self._cycle, *self._waiting):
            if cycle is not None:
                cycle.disconnect()
        self.resume_writing()
        self.transport.close()

    def _leave(self) -> None:
        if self._who is not None:
            self._door.leave(self, self._who)
            self._who = None
        if self._going is not None:
            self._going.cancel()
            self._going = None
            self._door.turned_away -= 1

    def shutdown(self) -> None:
        """uvicorn asks for the end: the running request is answered, and no other."""
        if self._cycle is None or self._cycle.complete:
            self.transport.close()
        else:
            self._cycle.keep_alive = False

    # -- the parser ----------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._begin_head()
        self._since = self._door.now
        self._fed = 0

    def on_headers_complete(self) -> None:
        self._fed = 0
        parser = self._parser
        version = parser.get_http_version()
        upgrades = parser.should_upgrade()
        self._finish_head(version, upgrades=upgrades)
        method = parser.get_method()
        knows = self._upgrade == b"websocket" and self._config.ws_protocol_class is not None
        if upgrades and knows and method == b"GET" and version == "1.1" and self._cycle is None:
            self._upgraded = True
        else:
            self._arrive(version, method.decode("ascii"))

    def _arrive(self, version: str, method: str) -> None:
        raw_path, _, query = self._url.partition(b"?")
        path = raw_path.decode("ascii")
        modern = version == "1.1"
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": self._asgi_version, "spec_version": "2.3"},
            "http_version": version,
            "method": method,
            "server": self._server,
            "client": self._client,
            "scheme": self._scheme,
            "root_path": "",
            "path": unquote(path) if "%" in path else path,
            "raw_path": raw_path,
            "query_string": query,
            "headers": self._headers,
            "state": self._app_state.copy(),
            "extensions": TRAILERS if self._wants_trailers and modern else {},
        }
        keep_alive = modern and self._parser.should_keep_alive()
        cycle = Cycle(
            self, self._loop, scope, expects=self._expects and modern, modern=modern, keep_alive=keep_alive
        )
        self._arriving = cycle
        if self._cycle is None:
            self._start(cycle)
        elif len(self._waiting) < PIPELINED_MAX:
            self._waiting.append(cycle)
            self._pause()
        else:
            raise Refused(Refusal("too_many_connections", "Wait for answers before you ask for more."))

    def on_body(self, chunk: bytes) -> None:
        self._fed = 0
        cycle = self._arriving
        if cycle is None:
            return
        if cycle.complete or cycle.disconnected:
            self._unwanted += len(chunk)
            if self._unwanted > LINGER_BYTES:
                raise Refused(Refusal("body_too_large"))
            return
        cycle.put(chunk)
        if cycle.size > BUFFERED_MAX:
            self._pause()

    def on_chunk_header(self) -> None:
        self._fed = 0

    def on_message_complete(self) -> None:
        cycle, self._arriving = self._arriving, None
        if cycle is not None:
            cycle.more_body = False
            cycle.wake()
            if cycle.complete and cycle is self._cycle:
                self._next()

    # -- for the request that is answered ------------------------------------------------------------------

    def _start(self, cycle: Cycle) -> None:
        self._cycle = cycle
        # Made here, because a loop would first make up a name that is its own.
        cycle.task = task = asyncio.Task(cycle.run(self._app), loop=self._loop, name="metergate-request")
        self._state.tasks.add(task)

    def over(self, task: asyncio.Task[None]) -> None:
        """The app has returned."""
        self._state.tasks.discard(task)

    def date(self) -> bytes:
        """The last lines of a head."""
        return self._door.last_lines(self._state.default_headers)

    def flush_soon(self, cycle: Cycle) -> None:
        self._door.flush_soon(cycle, self._loop)

    def read_on(self) -> None:
        if not self._waiting:
            self._resume()

    def answered(self) -> None:
        self._state.total_requests += 1
        self._served = True
        cycle = self._cycle
        if cycle is None or self.transport.is_closing():
            return
        if not cycle.keep_alive:
            self._end(unread=cycle.more_body)
        elif cycle.more_body:
            self._unwanted = 0
            self.read_on()  # the next request comes after the rest of this one
        else:
            self._next()

    def _next(self) -> None:
        self._cycle = None
        if self._waiting:
            self._start(self._waiting.popleft())
        elif self._refusal is not None:
            self._say(self._refusal)
        else:
            self._since = self._door.now
            self.read_on()

    def broken(self, error: BaseException | None) -> None:
        """The app has not answered, or not to the end: the client must not take it for one."""
        if isinstance(error, Exception) and not isinstance(error, MetergateError):
            log.error("The app failed.", exc_info=error)
        cycle = self._cycle
        if cycle is not None and not cycle.disconnected and not cycle.complete:
            told = error.refusal if isinstance(error, MetergateError) else None
            self._break_off(cycle, told or Refusal("internal_error"))

    # -- refusals ------------------------------------------------------------------------------------------

    def _refuse(self, refusal: Refusal) -> None:
        """The request that is coming in goes no further; those before it are answered first."""
        self._deaf = True
        self._fed = 0
        arriving, self._arriving = self._arriving, None
        if arriving is not None and arriving in self._waiting:
            self._waiting.remove(arriving)
        if arriving is not None and arriving is self._cycle:
            self._break_off(arriving, refusal)
        elif self._cycle is None:
            self._say(refusal)
        else:
            self._refusal = refusal

    def _break_off(self, cycle: Cycle, refusal: Refusal) -> None:
        cycle.disconnect()
        if cycle.told:
            self.transport.close()
        else:
            self._say(refusal)

    def _say(self, refusal: Refusal) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer(refusal))
            self._end(unread=True)

    def _end(self, *, unread: bool) -> None:
        """Close; if the client is still sending, only our half, so that it can read what it was told."""
        if unread and self.transport.can_write_eof():
            self._deaf = True
            self._fed = 0
            self._until = self._door.now + LINGER_S + 1.0  # time is coarse
            self._waiting.clear()
            self.transport.write_eof()
            self.read_on()
        else:
            self.transport.close()

    # -- time ----------------------------------------------------------------------------------------------

    def look(self, now: float) -> None:
        """Whether the client keeps its times."""
        if self._upgraded:
            return
        if self._takes_nothing(now) or (self._until and now > self._until):
            self.transport.abort()
        elif self._deaf:
            return
        elif self._in_head:
            if now - self._since > self._door.head_within_s:
                self._refuse(Refusal("too_slow"))
        elif self._moved or not self._reading:
            self._moved = False
            self._since = now
        elif now - self._since > self._patience():
            if self._arriving is not None:
                self._refuse(Refusal("too_slow"))
            else:
                self.transport.close()

    def _patience(self) -> float:
        """For how long nothing need come in."""
        door, arriving = self._door, self._arriving
        if arriving is not None:
            return inf if arriving.expects else door.body_silence_s
        if self._cycle is not None:
            return inf
        return door.keep_alive_s if self._served else door.head_within_s

    def _takes_nothing(self, now: float) -> bool:
        """Whether the client has read nothing for too long of what waits for it."""
        before, self._unsent = self._unsent, self.transport.get_write_buffer_size()
        if not self._unsent or not before or self._unsent < before:
            self._unsent_since = now
        return now - self._unsent_since > self._door.read_silence_s
