"""One request on its way to an upstream, and the answer on its way back, by whatever front it came.

A request that came in whole is written at once and costs no task. A longer body gets one, so that the
upstream can answer before it has all of it; and an answer that lets itself be waited for gets one that hears
when the client leaves.
"""

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from typing import Protocol

import msgspec

from metergate.core.refusal import Refusal
from metergate.errors import MetergateError, as_exception
from metergate.upstream.connection import Connection
from metergate.upstream.errors import UpstreamError
from metergate.upstream.request_head import CHUNKED, EXPECT, LAST_CHUNK, NO_BODY, Head, chunk, framing
from metergate.upstream.response import Headers, Line, Response
from metergate.upstream.ways import Way

CLOSE = (b"connection", b"close")
PATIENCE = 4
"""The beats for which an upstream may keep silent about a body that the client keeps back."""


class Caller(Protocol):
    """Who asks, as a front knows it. An OSError of its methods may say that it has left."""

    @property
    def wants_head(self) -> bool:
        """Whether it wants no body."""

    @property
    def frames(self) -> bool:
        """Whether its headers frame what it sends, as in HTTP/1: without framing there is no body."""

    @property
    def takes_trailers(self) -> bool: ...

    def hear(self) -> Awaitable[tuple[bytes, bool] | None]:
        """The next part of the body, and whether more follows; None when the caller has left."""

    def begin(self, status: int, headers: Headers, *, trailers: bool) -> Awaitable[None]: ...

    def say(self, body: bytes, *, more: bool) -> Awaitable[None]: ...

    def trail(self, headers: Headers) -> Awaitable[None]: ...

    def stopped(self, error: OSError) -> bool:
        """Whether the error says that the call is to end at once, for nobody would pay the rest."""


class _Gone(Exception):
    """The client has left, and nobody wants the rest of the answer."""


def _too_large(longest: int) -> MetergateError:
    return as_exception(Refusal("body_too_large", f"Send a body of at most {longest} bytes."))


class Forwarding(msgspec.Struct, eq=False):
    """A struct, because one is made for every call."""

    way: Way
    caller: Caller
    longest: int
    room: int
    """How many bytes of the body may still come."""
    drain_s: float
    response: Response | None = None
    listener: asyncio.Task[None] | None = None
    due: int | None = None
    """How many bytes must come, where the client has told it."""
    gone: bool = False
    draining: bool = False
    beats: int = 0
    delivered: bool = False
    """Whether the upstream was sent all of the request."""

    async def run(self, head: Head) -> None:
        try:
            data, more = self._data(head) or await self._with_body(head.data)
            pool = self.way.pool
            response = self._ask(pool.take() or await pool.connect(), data, head, more=more)
            while not response.status:
                await response.more()
            await self._answer(response)
        except _Gone:
            pass
        except UpstreamError as error:
            if not self.gone:
                self.way.pool.report(error)
                raise
        finally:
            self._end()

    def _end(self) -> None:
        """Let go of everything, whatever happened."""
        if self.listener is not None:
            self.listener.cancel()
        if self.draining:
            self.way.pool.draining -= 1
        response, self.response = self.response, None  # it leads back to us, and would wait for the collector
        if response is not None:
            response.abandon()

    # -- the request ---------------------------------------------------------------------------------------

    def _data(self, head: Head) -> tuple[bytes, bool] | None:
        """Head and framing, and whether a body follows; None where a part of it is to go with the head."""
        length = self.due = head.length
        if length is not None and length > self.longest:
            raise _too_large(self.longest)
        if head.expects and (length or head.chunked):
            return head.data + EXPECT + (CHUNKED if length is None else framing(length)), True
        if length is None and not head.chunked and self.caller.frames:
            return head.data + NO_BODY, False
        return None

    def _ask(self, connection: Connection, data: bytes, head: Head, *, more: bool) -> Response:
        """Send the request, or as much of it as there is."""
        bodyless, now = self.caller.wants_head, self.way.pool.pulse.now
        self.response = response = connection.send(data, now, bodyless=bodyless, more=more)
        if not more:
            self.delivered = True
            response.slow = self._listen
        elif head.expects:
            response.continued = self._upload
            response.slow = self._grow_impatient
        else:
            self._upload()
        return response

    async def _with_body(self, head: bytes) -> tuple[bytes, bool]:
        """Head and the first part of the body, and whether more of it follows."""
        body, more = await self._hear()
        if not more:
            return b"%b%b%b" % (head, framing(len(body)), body), False
        framed = CHUNKED if self.due is None else framing(self.due)
        return b"%b%b%b" % (head, framed, self._framed(body)), True

    async def _hear(self) -> tuple[bytes, bool]:
        """The next part of the body, and whether more follows."""
        found = await self.caller.hear()
        if found is None:
            raise _Gone
        self.room -= len(found[0])
        if self.room < 0:
            raise _too_large(self.longest)
        return found

    def _framed(self, body: bytes) -> bytes:
        if self.due is None:
            return chunk(body) if body else b""
        self.due -= len(body)
        if self.due < 0:  # what is too much would be taken for the next request
            raise _Gone
        return body

    # -- beside the answer ---------------------------------------------------------------------------------

    def _grow_impatient(self) -> None:
        """Send the body although the upstream has not asked for it: it may not know how to."""
        self.beats += 1
        response = self.response
        assert response is not None
        if self.beats < PATIENCE:
            response.slow = self._grow_impatient
        else:
            response.continued = None
            self._upload()

    def _upload(self) -> None:
        self._start(self._send_the_rest())

    def _listen(self) -> None:
        self._start(self._hear_the_end())

    def _start(self, listening: Coroutine[None, None, None]) -> None:
        if self.listener is None:
            self.listener = asyncio.get_running_loop().create_task(listening)
            self.listener.add_done_callback(self._heard)

    def _heard(self, listener: "asyncio.Task[None]") -> None:
        error = None if listener.cancelled() else listener.exception()
        if isinstance(error, Exception) and self.response is not None:
            self.response.abandon(error)

    async def _send_the_rest(self) -> None:
        response, more = self.response, True
        assert response is not None
        while more:
            body, more = await self._hear()
            line = response.line
            if line is None:
                return  # it is answered already, or never will be
            line.write(self._framed(body))
            if not more:
                self._complete(line)
            await line.room()
        await self._hear_the_end()

    def _complete(self, line: Line) -> None:
        if self.due is None:
            line.write(LAST_CHUNK)
        elif self.due:
            raise _Gone
        line.sent()
        self.delivered = True

    async def _hear_the_end(self) -> None:
        while await self.caller.hear() is not None:
            pass
        self._leave()

    def _leave(self) -> None:
        """The client has left. Read on for a while where the policy says so, for what the rest will tell."""
        response, pool = self.response, self.way.pool
        if self.gone or response is None:
            return
        self.gone = True
        line = response.line
        if line is not None and self.drain_s and self.delivered and pool.draining < pool.draining_max:
            self.draining = True
            pool.draining += 1
            line.until = pool.pulse.now + self.drain_s
        elif not response.complete:
            response.abandon(_Gone())

    # -- the answer ----------------------------------------------------------------------------------------

    async def _answer(self, response: Response) -> None:
        headers = self.way.answers.read(response.headers)
        if not self.delivered and self.caller.frames:
            headers.append(CLOSE)  # the client goes on sending what nobody reads
        caller = self.caller
        trailers = response.announced and caller.takes_trailers
        try:
            await caller.begin(response.status, headers, trailers=trailers)
            ended = False
            while not ended:
                while not (response.chunks or response.complete):
                    await response.more()
                body, ended = response.take(), response.complete
                await caller.say(body, more=not ended)
            if trailers:
                await caller.trail(self.way.answers.read(response.trailers))
        except OSError as error:
            if caller.stopped(error):
                raise _Gone from None
            self._leave()
            await self._drain(response)

    async def _drain(self, response: Response) -> None:
        """Read on for those who count, although nobody can be told any more."""
        ended = response.ended
        while not ended:
            body, ended = await response.read(), response.complete
            with suppress(OSError):
                await self.caller.say(body, more=not ended)
