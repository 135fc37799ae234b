"""One request on its way to an upstream, and the answer on its way back.

A request that came in whole is written at once and costs no task. A longer body gets one, so that the
upstream can answer before it has all of it; and an answer that lets itself be waited for gets one that hears
when the client leaves.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

import msgspec

from metergate.asgi.token_holds import Stopped
from metergate.asgi.types import Message, Receive, Scope, Send
from metergate.asgi.ways import Way
from metergate.core.refusal import Refusal
from metergate.errors import MetergateError, as_exception
from metergate.upstream import Head, Response, UpstreamError
from metergate.upstream.connection import Connection
from metergate.upstream.request_head import CHUNKED, EXPECT, LAST_CHUNK, NO_BODY, chunk, framing
from metergate.upstream.response import Line

TRAILERS = "http.response.trailers"
CLOSE = (b"connection", b"close")
PATIENCE = 4
"""The beats for which an upstream may keep silent about a body that the client keeps back."""


class _Gone(Exception):
    """The client has left, and nobody wants the rest of the answer."""


def _too_large(longest: int) -> MetergateError:
    return as_exception(Refusal("body_too_large", f"Send a body of at most {longest} bytes."))


class Forwarding(msgspec.Struct, eq=False):
    """A struct, because one is made for every call."""

    way: Way
    scope: Scope
    receive: Receive
    send: Send
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
        except (_Gone, Stopped):
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
        if length is None and not head.chunked and self.scope["http_version"][:1] == "1":
            return head.data + NO_BODY, False
        return None

    def _ask(self, connection: Connection, data: bytes, head: Head, *, more: bool) -> Response:
        """Send the request, or as much of it as there is."""
        bodyless, now = self.scope["method"] == "HEAD", self.way.pool.pulse.now
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
        message = await self.receive()
        if message["type"] != "http.request":
            raise _Gone
        body = message.get("body", b"")
        self.room -= len(body)
        if self.room < 0:
            raise _too_large(self.longest)
        return body, message.get("more_body", False)

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
        while (await self.receive())["type"] != "http.disconnect":
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
        if not self.delivered and self.scope["http_version"][:1] == "1":
            headers.append(CLOSE)  # the client goes on sending what nobody reads
        start: Message = {"type": "http.response.start", "status": response.status, "headers": headers}
        trailers = response.announced and TRAILERS in (self.scope.get("extensions") or ())
        if trailers:
            start["trailers"] = True
        send = self.send
        try:
            await send(start)
            ended = False
            while not ended:
                while not (response.chunks or response.complete):
                    await response.more()
                body, ended = response.take(), response.complete
                await send({"type": "http.response.body", "body": body, "more_body": not ended})
            if trailers:
                found = self.way.answers.read(response.trailers)
                await send({"type": TRAILERS, "headers": found, "more_trailers": False})
        except Stopped:  # the client is there, and the account can pay for no more
            raise
        except OSError:  # some servers say so that the client has left
            self._leave()
            await self._drain(response)

    async def _drain(self, response: Response) -> None:
        """Read on for those who count, although nobody can be told any more."""
        ended = response.ended
        while not ended:
            body, ended = await response.read(), response.complete
            with suppress(OSError):
                await self.send({"type": "http.response.body", "body": body, "more_body": not ended})
