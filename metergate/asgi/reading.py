"""Calls whose body is read before they are decided about: for what it asks, or for its fingerprint.

The app gets the same bytes. Only the stream of a client that does not ask for its usage has it asked for.
"""

import asyncio
from collections.abc import Awaitable
from typing import TYPE_CHECKING

from metergate import meters
from metergate.asgi import idempotent
from metergate.asgi.hiding import Hidden
from metergate.asgi.request_headers import FRAMING, LENGTH
from metergate.asgi.token_holds import Growing
from metergate.asgi.types import Headers, Message, Receive, Scope, Send
from metergate.core.asked import NOTHING
from metergate.core.idempotency import BODY_MAX
from metergate.core.policy import Route
from metergate.core.refusal import Refusal
from metergate.gate.bodies import Bodies
from metergate.gate.call import Call
from metergate.gate.members import Member
from metergate.meters import READ_MAX, Reading, Unreadable
from metergate.meters.llm import Llm

if TYPE_CHECKING:
    from metergate.asgi.exchange import Exchange

LONG = 512 * 1024
ENCODING = b"content-encoding"
ACCEPTED = b"accept-encoding"
IDENTITY = b"identity"


async def serve(exchange: "Exchange", member: Member, route: Route) -> None:
    """Admit a call by what its body says, and let the app serve it."""
    gate, path = exchange.gate, exchange.found.path
    twins = bool(exchange.seen.idempotency) and not gate.shadows(route)
    key = idempotent.one_key(exchange.seen) if twins else ""
    if isinstance(key, Refusal):
        return await _turn_away(exchange, member, route, key)
    most = min(route.body_bytes or READ_MAX, BODY_MAX if twins else READ_MAX)
    kept = Kept(gate.bodies, member.caller.account.id)
    try:
        body = await _body(exchange, most, kept)
        if body is None:
            return None
        if isinstance(body, Refusal):
            return await _turn_away(exchange, member, route, body)
        if len(body) > LONG:  # what takes a while to read holds up nobody else
            found = await asyncio.to_thread(_read, exchange, route, body)
        else:
            found = _read(exchange, route, body)
        if isinstance(found, Refusal):
            return await _turn_away(exchange, member, route, found)
        twin = idempotent.twin_of(exchange, member, route, key, body) if twins else None
        asked = gate.admit(member, route, path, exchange.request_id, twin, found.asked)
        admitted = await asked if isinstance(asked, Awaitable) else asked
        if isinstance(admitted, Call):
            run = _run(exchange, admitted, found, idempotent.Keeper() if twins else None)
        else:
            run = exchange.conclude(admitted)
        del body, found  # a stream may last for long, and only the app still needs them
        await run
    finally:
        kept.let_go()
    return None


class Kept:
    """How much of one request's body is in memory, until the app has it."""

    __slots__ = ("_account", "_bodies", "_size")

    def __init__(self, bodies: Bodies, account: str) -> None:
        self._bodies = bodies
        self._account = account
        self._size = 0

    def take(self, size: int) -> Refusal | None:
        refusal = self._bodies.take(self._account, size)
        if refusal is None:
            self._size += size
        return refusal

    def let_go(self) -> None:
        self._bodies.give(self._account, self._size)
        self._size = 0


async def _body(exchange: "Exchange", most: int, kept: Kept) -> bytes | Refusal | None:
    """The body, which the app can read again; None when the client left before its end."""
    if _announced(exchange.scope) > most:
        return _too_large(most)
    parts: list[bytes] = []
    size, more = 0, True
    refusal: Refusal | None = None
    while more and refusal is None:
        message = await exchange.receive()
        if message["type"] != "http.request":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        more = message.get("more_body", False)
        refusal = _too_large(most) if size > most else kept.take(len(parts[-1]))
    body = b"".join(parts)
    exchange.receive = Rereading(exchange.receive, body, kept, more=more)
    return refusal or body


def _too_large(most: int) -> Refusal:
    if most == BODY_MAX:
        return Refusal("body_too_large")
    return Refusal("body_too_large", f"Send a body of at most {most} bytes.")


def _announced(scope: Scope) -> int:
    """How long the body is said to be; 0 where nothing is said that can be believed."""
    said = next((value for name, value in scope["headers"] if name == LENGTH), b"")
    return int(said) if said.isdigit() and len(said) < 20 else 0


def _read(exchange: "Exchange", route: Route, body: bytes) -> Reading | Refusal:
    """What the body asks for; nothing where the route's meter does not want to know."""
    gate = exchange.gate
    if not gate.routes.reads(route):
        return Reading(NOTHING, body)
    if any(name == ENCODING for name, _ in exchange.scope["headers"]):
        return Refusal("bad_request", "Send the body as it is, without Content-Encoding.")
    try:
        return meters.read(gate.policy.meters[route.meter], route, exchange.found.path, body)
    except Unreadable as error:
        return Refusal("bad_request", str(error))


async def _turn_away(exchange: "Exchange", member: Member, route: Route, refusal: Refusal) -> None:
    gate = exchange.gate
    shadow = gate.shadows(route)
    gate.watch.turned_away(
        member, route, exchange.found.path, exchange.request_id, refusal.reason, shadow=shadow
    )
    if shadow:
        await exchange.pass_on()
    else:
        await exchange.refuse(refusal)


def _run(
    exchange: "Exchange", call: Call, reading: Reading, keeper: idempotent.Keeper | None
) -> Awaitable[None]:
    """The app serves the call, with the body as it was made ready."""
    scope, receive, send, counter = exchange.scope, exchange.receive, exchange.send, reading.counter
    if counter is not None:
        scope = {**scope, "headers": _headers(scope["headers"], len(reading.body))}
        receive = Instead(receive, reading.body)
    if reading.hides_usage:
        send = Hidden(send)
    if not (call.route.hold_tokens.grow and isinstance(counter, Llm)):
        return exchange.run(scope, receive, send, call, keeper, counter)
    return _run_growing(exchange, call, scope, receive, send, keeper, counter)


async def _run_growing(
    exchange: "Exchange",
    call: Call,
    scope: Scope,
    receive: Receive,
    send: Send,
    keeper: idempotent.Keeper | None,
    counter: Llm,
) -> None:
    growing = Growing(call, counter, send, anthropic=exchange.seen.anthropic)
    try:
        await exchange.run(scope, receive, growing, call, keeper, counter)
    except Exception:
        if not growing.stopped:  # an app may say in its own way that it cannot send any more
            raise


def _headers(headers: Headers, length: int) -> Headers:
    """Those of a whole body of that length, whose answer is to come unpacked, so that it can be counted."""
    kept = [(name, value) for name, value in headers if name not in (LENGTH, FRAMING, ACCEPTED)]
    return [*kept, (ACCEPTED, IDENTITY), (LENGTH, b"%d" % length)]


class Rereading:
    """A `receive` that gives a body that was read already, then whatever comes after it."""

    def __init__(self, receive: Receive, body: bytes, kept: Kept, *, more: bool) -> None:
        self._receive = receive
        self._body: bytes | None = body
        self._kept = kept
        self._more = more

    async def __call__(self) -> Message:
        if self._body is None:
            return await self._receive()
        body, self._body = self._body, None
        self._kept.let_go()
        return {"type": "http.request", "body": body, "more_body": self._more}


class Instead:
    """A `receive` that gives another body in the place of the whole one that comes next."""

    def __init__(self, receive: Receive, body: bytes) -> None:
        self._receive = receive
        self._body: bytes | None = body

    async def __call__(self) -> Message:
        message = await self._receive()
        if self._body is None:
            return message
        body, self._body = self._body, None
        return {**message, "body": body}
