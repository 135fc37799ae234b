"""One request on its way to an upstream, and the answer on its way back.

A request that came in whole is written at once and costs no task. A longer body gets one, so that the
upstream can answer before it has all of it; and an answer that lets itself be waited for gets one that hears
when the client leaves.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

from metergate.asgi.types import Message, Receive, Scope, Send
from metergate.asgi.ways import Way
from metergate.core.refusal import Refusal
from metergate.errors import MetergateError
from metergate.upstream import Head, Response, UpstreamError
from metergate.upstream.request_head import CHUNKED, EXPECT, LAST_CHUNK, NO_BODY, chunk, framing
from metergate.upstream.response import Line

TRAILERS = "http.response.trailers"
CLOSE = (b"connection", b"close")
PATIENCE = 4
"""The beats for which an upstream may keep silent about a body that the client keeps back."""


class _Gone(Exception):
    """The client has left, and nobody wants the rest of the answer."""


class _TooLarge(MetergateError):
    def __init__(self, longest: int) -> None:
        sentence = f"Send a body of at most {longest} bytes."
        super().__init__(sentence, reason="body_too_large", refusal=Refusal("body_too_large", sentence))


class Forwarding:
    __slots__ = (
        "_beats", "_drain_s", "_draining", "_due", "_gone", "_listener", "_longest", "_receive", "_response",
        "_room", "_scope", "_send", "_way", "delivered",
    )  # fmt: skip

    def __init__(
        self, way: Way, scope: Scope, receive: Receive, send: Send, longest: int, drain_s: float
    ) -> None:
        self._way = way
        self._scope = scope
        self._receive = receive
        self._send = send
        self._longest = longest
        self._drain_s = drain_s
        self._response: Response | None = None
        self._listener: asyncio.Task[None] | None = None
        self._room = longest
        """How many bytes of the body may still come."""
        self._due: int | None = None
        """How many must, where the client has told it."""
        self._gone = self._draining = False
        self._beats = 0
        self.delivered = False
        """Whether the upstream was sent all of the request."""

    async def run(self, head: Head) -> None:
        try:
            response = await self._ask(head)
            while not response.status:
                await response.more()
            await self._answer(response)
        except _Gone:
            pass
        except UpstreamError as error:
            if not self._gone:
                self._way.pool.report(error)
                raise
        finally:
            self._end()

    def _end(self) -> None:
        """Let go of everything, whatever happened."""
        if self._listener is not None:
            self._listener.cancel()
        if self._draining:
            self._way.pool.draining -= 1
        if self._response is not None:
            self._response.abandon()

    # -- the request ---------------------------------------------------------------------------------------

    async def _ask(self, head: Head) -> Response:
        """Send the request, or as much of it as there is."""
        length = self._due = head.length
        if length is not None and length > self._longest:
            raise _TooLarge(self._longest)
        if head.expects and (length or head.chunked):
            data, more = head.data + EXPECT + (CHUNKED if length is None else framing(length)), True
        elif length is None and not head.chunked and self._scope["http_version"][:1] == "1":
            data, more = head.data + NO_BODY, False
        else:
            data, more = await self._with_body(head.data)
        pool = self._way.pool
        connection = pool.take() or await pool.connect()
        bodyless = self._scope["method"] == "HEAD"
        self._response = response = connection.send(data, pool.pulse.now, bodyless=bodyless, more=more)
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
        framed = CHUNKED if self._due is None else framing(self._due)
        return b"%b%b%b" % (head, framed, self._framed(body)), True

    async def _hear(self) -> tuple[bytes, bool]:
        """The next part of the body, and whether more follows."""
        message = await self._receive()
        if message["type"] != "http.request":
            raise _Gone
        body = message.get("body", b"")
        self._room -= len(body)
        if self._room < 0:
            raise _TooLarge(self._longest)
        return body, message.get("more_body", False)

    def _framed(self, body: bytes) -> bytes:
        if self._due is None:
            return chunk(body) if body else b""
        self._due -= len(body)
        if self._due < 0:  # what is too much would be taken for the next request
            raise _Gone
        return body

    # -- beside the answer ---------------------------------------------------------------------------------

    def _grow_impatient(self) -> None:
        """Send the body although the upstream has not asked for it: it may not know how to."""
        self._beats += 1
        response = self._response
        assert response is not None
        if self._beats < PATIENCE:
            response.slow = self._grow_impatient
        else:
            response.continued = None
            self._upload()

    def _upload(self) -> None:
        self._start(self._send_the_rest())

    def _listen(self) -> None:
        self._start(self._hear_the_end())

    def _start(self, listening: Coroutine[None, None, None]) -> None:
        if self._listener is None:
            self._listener = asyncio.get_running_loop().create_task(listening)
            self._listener.add_done_callback(self._heard)

    def _heard(self, listener: "asyncio.Task[None]") -> None:
        error = None if listener.cancelled() else listener.exception()
        if isinstance(error, Exception) and self._response is not None:
            self._response.abandon(error)

    async def _send_the_rest(self) -> None:
        response, more = self._response, True
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
        if self._due is None:
            line.write(LAST_CHUNK)
        elif self._due:
            raise _Gone
        line.sent()
        self.delivered = True

    async def _hear_the_end(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._leave()

    def _leave(self) -> None:
        """The client has left. Read on for a while where the policy says so, for what the rest will tell."""
        response, pool = self._response, self._way.pool
        if self._gone or response is None:
            return
        self._gone = True
        line = response.line
        if line is not None and self._drain_s and self.delivered and pool.draining < pool.draining_max:
            self._draining = True
            pool.draining += 1
            line.until = pool.pulse.now + self._drain_s
        elif not response.complete:
            response.abandon(_Gone())

    # -- the answer ----------------------------------------------------------------------------------------

    async def _answer(self, response: Response) -> None:
        headers = self._way.answers.read(response.headers)
        if not self.delivered and self._scope["http_version"][:1] == "1":
            headers.append(CLOSE)  # the client goes on sending what nobody reads
        start: Message = {"type": "http.response.start", "status": response.status, "headers": headers}
        trailers = response.announced and TRAILERS in (self._scope.get("extensions") or ())
        if trailers:
            start["trailers"] = True
        send = self._send
        try:
            await send(start)
            ended = False
            while not ended:
                while not (response.chunks or response.complete):
                    await response.more()
                body, ended = response.take(), response.complete
                await send({"type": "http.response.body", "body": body, "more_body": not ended})
            if trailers:
                found = self._way.answers.read(response.trailers)
                await send({"type": TRAILERS, "headers": found, "more_trailers": False})
        except OSError:  # some servers say so that the client has left
            self._leave()
            await self._drain(response)

    async def _drain(self, response: Response) -> None:
        """Read on for those who count, although nobody can be told any more."""
        ended = response.ended
        while not ended:
            body, ended = await response.read(), response.complete
            with suppress(OSError):
                await self._send({"type": "http.response.body", "body": body, "more_body": not ended})
