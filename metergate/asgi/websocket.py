"""WebSockets: held when they open, and held again whenever the counted units outgrow what is held."""

import asyncio
from collections.abc import Awaitable
from urllib.parse import quote

from starlette.websockets import WebSocketDisconnect

from metergate.asgi.current import running
from metergate.asgi.exchange import outside
from metergate.asgi.headers import HeaderReader, without_own
from metergate.asgi.refuse import answer
from metergate.asgi.types import ASGIApp, Message, Receive, Scope, Send
from metergate.core.refusal import Refusal
from metergate.errors import MetergateError, StoreUnavailable
from metergate.gate.call import Call, Visit
from metergate.gate.gate import Replay, RequestGate

PAYMENT_REQUIRED = 4402
POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013


async def serve(
    app: ASGIApp, gate: RequestGate, reader: HeaderReader, scope: Scope, receive: Receive, send: Send
) -> None:
    seen = reader.read(scope["headers"])
    if seen.forged:
        scope = {**scope, "headers": without_own(scope["headers"])}
    raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
    found = gate.routes.find("GET", raw_path)
    request_id = gate.request_id()
    refusal = await outside(gate, found, seen.keys, request_id)
    if refusal is not None:
        await _turn_away(scope, receive, send, gate, refusal, request_id, anthropic=seen.anthropic)
        return
    route = found.route
    if route is None or route.public:
        await app(scope, receive, send)
        return
    looked = gate.members.find_key(seen.keys, gate.clock())
    member = await looked if isinstance(looked, Awaitable) else looked
    if isinstance(member, Refusal):
        gate.watch.turned_away(None, route, found.path, request_id, member.reason, shadow=gate.shadows(route))
        if gate.shadows(route):
            await app(scope, receive, send)
            return
        await _turn_away(scope, receive, send, gate, member, request_id, anthropic=seen.anthropic)
        return
    if route.free or not route.meter:
        refusal = gate.entitled(member, route, found.path, request_id)
        if refusal is None:
            await _Talk(Visit(gate, member, route, found.path, request_id), receive, send).run(app, scope)
            return
    else:
        asked = gate.admit(member, route, found.path, request_id)
        admitted = await asked if isinstance(asked, Awaitable) else asked
        assert not isinstance(admitted, Replay)
        refusal = _dispatched(admitted) if isinstance(admitted, Call) else admitted
        if isinstance(admitted, Call) and refusal is None:
            await _Socket(admitted, receive, send).run(app, scope)
            return
    assert refusal is not None
    await _turn_away(scope, receive, send, gate, refusal, request_id, anthropic=seen.anthropic)


def _dispatched(call: Call) -> Refusal | None:
    """Remember that the call goes on; a call that cannot be remembered is not begun."""
    try:
        call.dispatched()
    except StoreUnavailable as error:
        call.release()
        return Refusal("store_unavailable", str(error))
    return None


async def _turn_away(
    scope: Scope,
    receive: Receive,
    send: Send,
    gate: RequestGate,
    refusal: Refusal,
    request_id: str,
    *,
    anthropic: bool,
) -> None:
    """Refuse the handshake: with the whole answer where the server can send one, else by closing."""
    await receive()
    if "websocket.http.response" in scope.get("extensions", {}):
        status, headers, body = answer(refusal, gate.policy, request_id, anthropic=anthropic)
        await send({"type": "websocket.http.response.start", "status": status, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": body})
    else:
        await send({"type": "websocket.close", "code": _close_code(refusal), "reason": refusal.reason})


def _close_code(refusal: Refusal) -> int:
    return {402: PAYMENT_REQUIRED, 503: TRY_AGAIN_LATER}.get(refusal.status, POLICY_VIOLATION)


class _Gone(OSError):
    """The app goes on sending to a socket that the gate has closed."""


class _Talk:
    """One socket of a known caller, until either side or the gate closes it."""

    def __init__(self, call: Call | Visit, receive: Receive, send: Send) -> None:
        self._running = call
        self._receive = receive
        self._send = send
        self._accepted = False
        self._closed = False
        self._refused: Refusal | None = None

    async def run(self, app: ASGIApp, scope: Scope) -> None:
        token = running.set(self._running)
        try:
            await app(scope, self._received, self._sent)
        except (OSError, WebSocketDisconnect):
            if self._refused is None:
                raise
        except MetergateError as error:
            if error.refusal is None:
                raise
            self._refused = error.refusal
            await self._close()
        finally:
            running.reset(token)
            self._end()

    async def _received(self) -> Message:
        message = await self._receive()
        self._closed = self._closed or message["type"] == "websocket.disconnect"
        return message

    async def _sent(self, message: Message) -> None:
        if self._refused is not None and self._closed:
            raise _Gone("The socket was closed because the account cannot pay for more of it.")
        if message["type"] == "websocket.accept":
            self._accepted = True
        elif message["type"] in ("websocket.close", "websocket.http.response.start"):
            self._closed = True
        await self._send(message)

    async def _close(self) -> None:
        assert self._refused is not None
        if not self._closed:
            self._closed = True
            code, reason = _close_code(self._refused), self._refused.reason
            await self._send({"type": "websocket.close", "code": code, "reason": reason})

    def _end(self) -> None:
        self._running.settle()


class _Socket(_Talk):
    """One metered socket. Its first hold covers a stretch of units; each further stretch is a charge."""

    def __init__(self, call: Call, receive: Receive, send: Send) -> None:
        super().__init__(call, receive, send)
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._count = call.gate.policy.meters[call.route.meter].count
        self._stretch = max(1, call.prepared.offer.units)
        self._held = self._stretch
        self._used = 0
        self._began_us = call.gate.clock()
        self._timer: asyncio.TimerHandle | None = None

    async def _received(self) -> Message:
        message = await super()._received()
        if message["type"] == "websocket.receive":
            if self._count == "messages":
                await self._use(self._used + 1)
            if self._refused is not None:
                await self._close()
                return {"type": "websocket.disconnect", "code": _close_code(self._refused)}
        return message

    async def _sent(self, message: Message) -> None:
        await super()._sent(message)
        if message["type"] == "websocket.accept" and self._count == "seconds":
            self._tick()

    async def _use(self, used: int) -> None:
        """Count up to `used` units; what the holds do not cover is held now, or the socket is refused."""
        self._used = used
        while used > self._held and self._refused is None:
            asked = self._call.gate.charge(self._call, self._call.route.meter, self._stretch)
            charged = await asked if isinstance(asked, Awaitable) else asked
            self._refused = charged if isinstance(charged, Refusal) else _dispatched(charged)
            if self._refused is None:
                self._held += self._stretch

    def _tick(self) -> None:
        """Look again when the held seconds are over."""
        passed = (self._call.gate.clock() - self._began_us) / 10**6
        self._timer = self._loop.call_later(self._held - passed, self._on_tick)

    def _on_tick(self) -> None:
        self._loop.create_task(self._second_passed())

    async def _second_passed(self) -> None:
        if self._closed:
            return
        await self._use(max(self._used, self._held + 1))
        if self._refused is None:
            self._tick()
        else:
            await self._close()

    def _seconds(self) -> int:
        return -(-(self._call.gate.clock() - self._began_us) // 10**6)

    def _end(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        if not self._accepted:
            self._call.release()
        elif self._count in ("messages", "seconds"):
            used = self._used if self._count == "messages" else max(1, self._seconds())
            # What was refused did not reach the app and is not paid for.
            self._settle_stretches(used if self._refused is None else min(used, self._held))
        else:
            self._call.settle()

    def _settle_stretches(self, used: int) -> None:
        """Fill the holds in their order; the last takes what is left, be it more than it holds."""
        meter = self._call.route.meter
        holds = [self._call, *[each for each in self._call.charges if each.route.meter == meter]]
        shares = [min(max(0, used - n * self._stretch), self._stretch) for n in range(len(holds))]
        shares[-1] = max(0, used - (len(holds) - 1) * self._stretch)
        for call, share in reversed(list(zip(holds, shares, strict=True))):
            call.settle(share)


async def unavailable(receive: Receive, send: Send) -> None:
    """The gate cannot decide: ask the client to try again later."""
    await receive()
    await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "store_unavailable"})
