"""WebSockets: held when they open, and held again whenever the counted units outgrow what is held."""

import asyncio
from collections.abc import Awaitable
from urllib.parse import quote

from starlette.websockets import WebSocketDisconnect

from metergate.asgi.current import running
from metergate.asgi.refuse import IN_A_SOCKET, answers_whole, send_refusal
from metergate.asgi.request_headers import ANTHROPIC, HeaderReader, without_own
from metergate.asgi.socket_holds import SocketHolds, dispatched
from metergate.asgi.types import ASGIApp, Message, Receive, Scope, Send
from metergate.core.draws import FIXED_COUNTS
from metergate.core.policy import Route
from metergate.core.refusal import Refusal
from metergate.errors import MetergateError
from metergate.gate.call import Call, Visit
from metergate.gate.deciding import by_rule
from metergate.gate.gate import Replay, RequestGate
from metergate.gate.members import Member

PAYMENT_REQUIRED = 4402
POLICY_VIOLATION = 1008
TRY_AGAIN_LATER = 1013

COUNTED_IN_SOCKETS = FIXED_COUNTS | {"bytes", "messages", "seconds"}
"""The counts that mean something without an answer to read."""


async def serve(
    app: ASGIApp, gate: RequestGate, reader: HeaderReader, scope: Scope, receive: Receive, send: Send
) -> None:
    seen = reader.read(scope["headers"])
    if seen.forged:
        scope = {**scope, "headers": without_own(scope["headers"])}
    raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
    found = gate.routes.find("GET", raw_path)
    request_id = gate.request_id()

    async def hold(member: Member, route: Route) -> Call | Refusal:
        return await _hold(gate, member, route, found.path, request_id)

    source = gate.members.sources.of(scope.get("client"), scope["headers"])
    decided = await by_rule(gate, found, seen.keys, request_id, hold, source)
    if isinstance(decided, Refusal):
        await receive()
        await _turn_away(scope, send, gate, decided, request_id)
    elif isinstance(decided, Visit):
        await _Talk(decided, scope, receive, send).run(app)
    else:
        await _Socket(decided, scope, receive, send).run(app)


async def _hold(
    gate: RequestGate, member: Member, route: Route, path: str, request_id: str
) -> Call | Refusal:
    meter = gate.policy.meters[route.meter]
    if meter.count not in COUNTED_IN_SOCKETS:
        detail = f"This path offers no WebSocket: the meter {route.meter} cannot count one."
        refusal = Refusal("route_not_in_policy", detail, meter=route.meter)
        shadow = gate.shadows(route)
        gate.watch.turned_away(member, route, path, request_id, refusal.reason, shadow=shadow)
        return refusal
    asked = gate.admit(member, route, path, request_id)
    admitted = await asked if isinstance(asked, Awaitable) else asked
    assert not isinstance(admitted, Replay)
    return admitted if isinstance(admitted, Refusal) else dispatched(admitted) or admitted


async def _turn_away(scope: Scope, send: Send, gate: RequestGate, refusal: Refusal, request_id: str) -> None:
    """Refuse the handshake: with the whole answer where the server can send one, else by closing."""
    if answers_whole(scope):
        asked = any(name == ANTHROPIC for name, _ in scope["headers"])
        await send_refusal(send, refusal, gate.policy, request_id, anthropic=asked, prefix=IN_A_SOCKET)
    else:
        await send(_closing(refusal))


def _closing(refusal: Refusal) -> Message:
    return {"type": "websocket.close", "code": _close_code(refusal), "reason": refusal.reason}


def _close_code(refusal: Refusal) -> int:
    return {402: PAYMENT_REQUIRED, 503: TRY_AGAIN_LATER}.get(refusal.status, POLICY_VIOLATION)


class _Gone(OSError):
    """The app goes on sending to a socket that the gate has closed."""


class _Talk:
    """One socket of a known caller, until either side or the gate closes it."""

    def __init__(self, call: Call | Visit, scope: Scope, receive: Receive, send: Send) -> None:
        self._running = call
        self._scope = scope
        self._receive = receive
        self._send = send
        self._accepted = False
        self._closed = False
        self._refused: Refusal | None = None

    async def run(self, app: ASGIApp) -> None:
        token = running.set(self._running)
        try:
            await app(self._scope, self._received, self._sent)
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
        if self._closed:
            return
        self._closed = True
        if self._accepted:
            await self._send(_closing(self._refused))
        else:
            running = self._running
            await _turn_away(self._scope, self._send, running.gate, self._refused, running.request_id)

    def _end(self) -> None:
        self._running.settle()


class _Socket(_Talk):
    """One metered socket. Its first hold covers a stretch of units; each further stretch is a charge."""

    def __init__(self, call: Call, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(call, scope, receive, send)
        self._call = call
        self._loop = asyncio.get_running_loop()
        self._meter = call.gate.policy.meters[call.route.meter]
        self._holds = SocketHolds(call)
        self._began_us = call.gate.clock()
        self._timer: asyncio.TimerHandle | None = None

    async def _received(self) -> Message:
        message = await super()._received()
        if message["type"] == "websocket.receive":
            await self._take(self._units(message, "request"))
            if self._refused is not None:
                await self._close()
                return {"type": "websocket.disconnect", "code": _close_code(self._refused)}
        return message

    async def _sent(self, message: Message) -> None:
        if message["type"] == "websocket.send" and not self._closed:
            await self._take(self._units(message, "response"))
            if self._refused is not None:
                await self._close()
        await super()._sent(message)
        if message["type"] == "websocket.accept" and self._meter.count == "seconds":
            self._tick()

    def _units(self, message: Message, side: str) -> int:
        """What a message counts: one where messages from the client are counted, or its bytes."""
        if self._meter.count == "messages":
            return int(side == "request")
        if self._meter.count != "bytes" or self._meter.of not in (side, "both"):
            return 0
        return len(message.get("bytes") or (message.get("text") or "").encode())

    async def _take(self, units: int) -> None:
        """Count a message before it goes on; what cannot be held does not go on."""
        if units and self._refused is None:
            await self._holds.take(units)
            self._refused = self._holds.refused

    def _tick(self) -> None:
        """Look again when the held seconds are over."""
        passed = (self._call.gate.clock() - self._began_us) / 10**6
        self._timer = self._loop.call_later(self._holds.held - passed, self._on_tick)

    def _on_tick(self) -> None:
        self._loop.create_task(self._second_passed())

    async def _second_passed(self) -> None:
        if self._closed:
            return
        await self._holds.extend()
        self._refused = self._refused or self._holds.refused
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
        elif self._meter.count in FIXED_COUNTS:
            self._call.settle()
        else:
            used = max(1, self._seconds()) if self._meter.count == "seconds" else self._holds.used
            # What was refused did not reach the app and is not paid for.
            self._holds.settle(used if self._refused is None else min(used, self._holds.held))


async def unavailable(receive: Receive, send: Send) -> None:
    """The gate cannot decide: ask the client to try again later."""
    await receive()
    await send({"type": "websocket.close", "code": TRY_AGAIN_LATER, "reason": "store_unavailable"})
