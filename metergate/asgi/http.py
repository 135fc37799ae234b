"""One metered HTTP call: what the app answers is watched as it goes by, never held back."""

from collections.abc import Awaitable
from pathlib import Path
from typing import Protocol

import msgspec

from metergate.asgi import answer_headers
from metergate.asgi.refuse import Withheld, told_inside, withheld
from metergate.asgi.types import Message, Receive, Send
from metergate.core.refusal import Refusal
from metergate.gate.call import Call
from metergate.meters import Counter


class Keeper(Protocol):
    """Who keeps the answer for the twins of an idempotent call."""

    def see(self, message: Message) -> None: ...

    def answer(self) -> bytes | None: ...


class Answer(msgspec.Struct, eq=False):
    """The `send` of a metered call: adds headers to the start, counts, ends the call at the last byte."""

    call: Call
    receive: Receive
    send: Send
    counter: Counter | None = None
    keeper: Keeper | None = None
    status: int = 0
    started: bool = False
    ended: bool = False
    left: bool = False
    """Whether the app was told that the client has left."""

    async def heard(self) -> Message:
        """What the app is given as its `receive`."""
        message = await self.receive()
        if message["type"] == "http.disconnect":
            self.left = True
        return message

    def said(self, message: Message) -> Awaitable[None]:
        """What the app is given as its `send`."""
        kind = message["type"]
        if kind == "http.response.start":
            started = self._start(message)
            return self.send(started)
        if self.keeper is not None:
            self.keeper.see(message)
        if kind == "http.response.body":
            if self.counter is not None:
                self.counter.feed(message.get("body", b""))
            if not message.get("more_body", False):
                self._end()
        elif kind == "http.response.pathsend":
            if self.counter is not None:
                self.counter.feed(b"\0" * Path(message["path"]).stat().st_size)
            self._end()
        return self.send(message)

    def _start(self, message: Message) -> Message:
        self.started = True
        self.status = message["status"]
        if self.status >= 500:
            self.send = withheld(self.call, self.status, self.send)
        headers = message.get("headers", ())
        if self.counter is not None:
            headers = list(headers)  # some apps make them as they are asked for, and only once
            self.counter.start(self.status, headers)
        call = self.call
        own = call.headers
        if own is None or call.charges:
            own = answer_headers.headers(call, call.gate.policy.show)
        message = {**message, "headers": [*headers, *own]}
        if self.keeper is not None:
            self.keeper.see(message)
        return message

    def _end(self) -> None:
        """The app has said its last byte: what the call used is known."""
        if self.status >= 500 and isinstance(self.send, Withheld):
            return
        self.ended = True
        call = self.call
        if self.keeper is not None:
            call.answer = self.keeper.answer()
        route = call.prepared.route
        status = self.status
        on_error = route.on_upstream_error if status >= 500 else route.on_client_error
        if status >= 400 and on_error == "release":
            call.release()
        elif self.counter is None:
            call.settle()
        else:
            self._settle_counted(self.counter)

    def _settle_counted(self, counter: Counter) -> None:
        units = counter.finish()
        call = self.call
        if counter.failed and call.route.on_upstream_error == "release":
            call.release()
        elif units is None:
            self._settle_unknown(counter, call.route.on_missing_usage)
        else:
            call.settle(units, counts=counter.counts)

    def _settle_unknown(self, counter: Counter, how: str) -> None:
        """Nothing says what was used. Where that costs what was held, what was seen may be more."""
        units = counter.estimate() if how in ("estimate", "hold") else None
        if units is None or (how == "hold" and units <= self.call.prepared.offer.units):
            self.call.end_unmeasured(how, "missing")
        else:
            self.call.settle(units, measured="estimated", counts=counter.counts)

    async def let_go(self) -> None:
        """The app's own 500 is the answer after all."""
        if isinstance(self.send, Withheld):
            kept, self.send = self.send, self.send.send
            self._end()
            await kept.let_go()

    def refused(self, error: Exception) -> Refusal | None:
        """The refusal that the app let through before its first byte, to answer with; nothing is charged."""
        refusal = told_inside(error)
        if refusal is None or self.ended or (self.started and not isinstance(self.send, Withheld)):
            return None
        self.ended = True
        self.call.release()
        return refusal

    def failed(self) -> None:
        """The app raised. What it had not begun to answer is an upstream error, the rest is cut off."""
        if not self.ended and not self.started:
            self.status = 500
            self._end()
        else:
            self.cut()

    async def returned(self) -> None:
        """The app is done. A client that waits, and was told nothing, gets a 500 from the server."""
        await self.let_go()
        if not self.ended and not self.started and not self.left:
            self.failed()

    def cut(self) -> None:
        """The app stopped before its last byte: the client left, or the app gave up."""
        if self.ended:
            return
        self.ended = True
        how = self.call.prepared.route.on_disconnect
        if how == "release":
            self.call.release()
        elif how == "hold":
            self.call.settle(measured="held")
        elif self.counter is None:
            self.call.settle(measured="cut")
        else:
            units = self.counter.finish()
            if units is None:
                self._settle_cut(self.counter)
            else:
                self.call.settle(units, measured=self.counter.measured_when_cut, counts=self.counter.counts)

    def _settle_cut(self, counter: Counter) -> None:
        """An answer that had not yet said what it used; what was seen of it is used."""
        units = counter.estimate()
        if units is None:
            self.call.end_unmeasured(self.call.route.on_missing_usage, "cut")
        else:
            self.call.settle(units, measured="estimated", counts=counter.counts)


class PlainAnswer(Answer, eq=False):
    """The same where nobody counts or keeps what is said, as for most calls: in as few steps as can be."""

    def said(self, message: Message) -> Awaitable[None]:
        """What the app is given as its `send`."""
        kind = message["type"]
        if kind == "http.response.start":
            call = self.call
            status, own = message["status"], call.headers
            if status < 400 and own is not None and not call.charges:
                self.started = True
                self.status = status
                return self.send({**message, "headers": [*message.get("headers", ()), *own]})
        elif kind == "http.response.body" and self.status < 400:
            if not message.get("more_body", False):
                self.ended = True
                self.call.settle_expected()
            return self.send(message)
        return Answer.said(self, message)


def counting(receive: Receive, counter: Counter) -> Receive:
    """A `receive` that lets the counter see the request's body."""

    async def counted() -> Message:
        message = await receive()
        if message["type"] == "http.request":
            counter.request(message.get("body", b""))
        return message

    return counted
