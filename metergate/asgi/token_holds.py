"""A stream whose hold grows with it: more is set aside as soon as what is held is used up.

What has passed is counted from its text. A chunk goes out before anything is held for the next, and every
stretch is twice as long as the one before, so that a stream of any length takes few of them. When nothing
more can be held, the policy says whether the stream is finished and owed, or ends with an error for its SDK.
"""

from collections.abc import Awaitable

from metergate.asgi.refuse import answer
from metergate.asgi.socket_holds import dispatched
from metergate.asgi.types import Message, Send
from metergate.core.asked import Asked
from metergate.core.kinds import output
from metergate.core.refusal import Refusal
from metergate.gate.call import Call
from metergate.meters.events import SEAM, last_end
from metergate.meters.llm import Llm

FIRST = 256
"""The fewest tokens of a further stretch."""
LONGEST = 65_536


class Stopped(OSError):
    """The app goes on sending to a client that was told that its credits are used up."""


class Growing:
    """The `send` of such a stream."""

    def __init__(self, call: Call, counter: Llm, send: Send, *, anthropic: bool) -> None:
        self.stopped = False
        self._call = call
        self._counter = counter
        self._send = send
        self._anthropic = anthropic
        self._held = output(call.prepared.counts)
        self._stretch = max(FIRST, self._held)
        self._dry = False
        """Whether no more could be held, and the stream is finished all the same."""
        self._seam = b""
        """The last bytes of what was sent, where the end of an event may begin."""

    def __call__(self, message: Message) -> Awaitable[None]:
        if self.stopped:
            raise Stopped("The stream was ended because the account cannot pay for more of it.")
        if self._counter.streams and not self._dry and message.get("more_body", False):
            chunk = message.get("body", b"")
            seam, self._seam = self._seam, (self._seam + chunk[-SEAM:])[-SEAM:]
            if self._counter.output > self._held and (end := last_end(seam, chunk)):
                return self._outgrow(message, end)
        return self._send(message)

    async def _outgrow(self, message: Message, end: int) -> None:
        """Send the events that end in this chunk, and what is begun of the next when more is held."""
        chunk = message["body"]
        await self._send({**message, "body": chunk[:end]} if end < len(chunk) else message)
        if await self._grow() and end < len(chunk):
            await self._send({**message, "body": chunk[end:]})

    async def _grow(self) -> bool:
        """Hold more; whether the stream goes on."""
        needed = max(FIRST, self._counter.output - self._held)
        tokens = max(needed, self._stretch)
        refusal = await self._hold(tokens)
        while refusal is not None and tokens > needed:
            tokens = max(needed, tokens // 2)
            refusal = await self._hold(tokens)
        if refusal is None:
            return True
        self._dry = True
        if self._call.route.on_dry != "stop" or refusal.status == 503:
            return True
        await self._stop(refusal)
        return False

    async def _hold(self, tokens: int) -> Refusal | None:
        """Set aside so many tokens more, or say why that cannot be."""
        call = self._call
        asked = Asked(call.prepared.asked.dimensions, tokens, (("output", tokens),))
        held = call.gate.reserve(call, asked)
        reserve = await held if isinstance(held, Awaitable) else held
        refusal = reserve if isinstance(reserve, Refusal) else dispatched(reserve)
        if refusal is None:
            self._held += tokens
            self._stretch = min(2 * tokens, LONGEST)
        return refusal

    async def _stop(self, refusal: Refusal) -> None:
        """End the stream, at the end of an event, with the refusal as one of its own."""
        call, counter = self._call, self._counter
        units = counter.estimate()
        call.settle(units, measured="estimated", counts=counter.counts)
        policy, request_id = call.gate.policy, call.request_id
        _, _, body = answer(refusal, policy, request_id, anthropic=self._anthropic)
        event = b"event: error\n" if self._anthropic else b""
        self.stopped = True
        await self._send({"type": "http.response.body", "body": b"%bdata: %b\n\n" % (event, body)})
