"""The middleware: pure ASGI, nothing buffered, one engine behind it.

    guard the scope -> the rule for method and path -> the key -> the hold -> the app -> the end of the call

Per-call state lives in `Answer`, never on the middleware. A refusal is sent here; the app is not called.
"""

import asyncio
from collections.abc import Awaitable
from typing import Protocol
from urllib.parse import quote

from metergate import meters
from metergate.asgi import idempotent, websocket
from metergate.asgi.current import Running, running
from metergate.asgi.headers import HeaderReader, Seen, is_preflight, without_own
from metergate.asgi.http import Answer, Keeper, counting
from metergate.asgi.lifespan import with_lifespan
from metergate.asgi.refuse import send_refusal
from metergate.asgi.types import ASGIApp, Message, Receive, Scope, Send
from metergate.core.policy import Policy, Route
from metergate.core.refusal import Refusal
from metergate.errors import MetergateError
from metergate.gate.call import Call, Visit
from metergate.gate.gate import Admitted, Found, RequestGate
from metergate.gate.members import Member
from metergate.gate.routes import Found

PATHSEND = "http.response.pathsend"


class Engine(Protocol):
    """What stands behind the middleware; `bootstrap` puts it together."""

    @property
    def gate(self) -> RequestGate: ...

    @property
    def policy(self) -> Policy: ...

    @property
    def running(self) -> bool: ...

    @property
    def billing(self) -> ASGIApp: ...

    async def start(self) -> None: ...

    async def stop(self) -> None: ...


class Metered:
    """An ASGI app, metered."""

    def __init__(self, app: ASGIApp, engine: Engine) -> None:
        self.app = app
        self._engine = engine
        self._gate: RequestGate | None = None
        self._reader = HeaderReader(())
        self._billing_path = b""
        self._loop: asyncio.AbstractEventLoop | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        kind = scope["type"]
        if kind == "http":
            if not self._engine.running or self._gate is not self._engine.gate:
                problem = await self._begin()
                if problem is not None:
                    await self._unavailable(send, problem)
                    return
            await self._http(scope, receive, send)
        elif kind == "websocket":
            if await self._begin() is not None:
                await websocket.unavailable(receive, send)
                return
            await websocket.serve(self.app, self.serving(), self._reader, scope, receive, send)
        elif kind == "lifespan":
            await with_lifespan(self.app, self._engine, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    async def _begin(self) -> MetergateError | None:
        """Start what lifespan did not start, and take over a policy that was loaded anew."""
        if not self._engine.running:
            try:
                await self._engine.start()
            except MetergateError as error:
                return error
        gate = self._engine.gate
        self._gate = gate
        self._reader = HeaderReader(gate.policy.key_headers)
        self._billing_path = f"{gate.policy.billing}/v1/".encode() if gate.policy.billing else b"\0"
        self._loop = asyncio.get_running_loop()
        return None

    def serving(self) -> RequestGate:
        """The gate that this middleware serves with, once it has begun."""
        assert self._gate is not None
        return self._gate

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        gate = self.serving()
        method = scope["method"]
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
        if raw_path.startswith(self._billing_path):
            await self._engine.billing(scope, receive, send)
            return
        found = gate.routes.find(method, raw_path)
        headers = scope["headers"]
        if method == "OPTIONS" and is_preflight(method, headers):
            await self.app(scope, receive, send)
            return
        seen = self._reader.read(headers)
        if seen.forged:
            scope = {**scope, "headers": without_own(headers)}
        if found.refusal is None and (found.route is None or found.route.public):
            await self.app(scope, receive, send)
            return
        await self._for_member(scope, receive, send, found, seen)

    async def _for_member(self, scope: Scope, receive: Receive, send: Send, found: Found, seen: Seen) -> None:
        gate = self.serving()
        request_id = gate.request_id()
        if found.refusal is not None or found.route is None:
            refusal = found.refusal or Refusal("route_not_in_policy")
            await send_refusal(send, refusal, gate.policy, request_id, anthropic=seen.anthropic)
            return
        route = found.route
        shown_keys = seen.keys
        member: Member | Refusal | None = None
        if len(shown_keys) == 1:
            member = gate.members.of_key(shown_keys[0], gate.clock())
        if member is None:
            looked = gate.members.find_key(shown_keys, gate.clock())
            member = await looked if isinstance(looked, Awaitable) else looked
        if isinstance(member, Refusal):
            shadow = gate.shadows(route)
            gate.watch.turned_away(None, route, found.path, request_id, member.reason, shadow=shadow)
            if shadow:
                await self.app(scope, receive, send)
                return
            await send_refusal(send, member, gate.policy, request_id, anthropic=seen.anthropic)
            return
        if route.free or not route.meter:
            await self._free(scope, receive, send, member, route, found.path, request_id, seen)
        elif seen.idempotency:
            await idempotent.serve(self, scope, receive, send, member, route, found.path, request_id, seen)
        else:
            admitted = gate.admit(member, route, found.path, request_id)
            if type(admitted) is not Call:
                admitted = await admitted if isinstance(admitted, Awaitable) else admitted
            await self.forward(scope, receive, send, admitted, seen, request_id)

    async def forward(
        self, scope: Scope, receive: Receive, send: Send, admitted: Admitted, seen: Seen, request_id: str
    ) -> None:
        """Call the app for an admitted call; send the refusal otherwise."""
        gate = self.serving()
        if type(admitted) is Refusal:
            await send_refusal(send, admitted, gate.policy, request_id, anthropic=seen.anthropic)
            return
        assert type(admitted) is Call
        await self.run(scope, receive, send, admitted)

    async def run(
        self, scope: Scope, receive: Receive, send: Send, call: Call, keeper: Keeper | None = None
    ) -> None:
        """The app serves an admitted call."""
        gate = call.gate
        meter = gate.policy.meters[call.prepared.route.meter]
        counter = meters.new(meter, gate.clock)
        if counter is not None:
            if counter.wants_request:
                receive = counting(receive, counter)
            scope = _without_pathsend(scope)
        answer = Answer(call, send, counter, keeper)
        call.dispatched()
        assert self._loop is not None
        token = running.set(Running(call, self._loop))
        try:
            await self.app(scope, receive, answer)
        except Exception:
            answer.failed()
            raise
        finally:
            running.reset(token)
            if not answer.ended:
                answer.cut()

    async def _free(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        member: Member,
        route: Route,
        path: str,
        request_id: str,
        seen: Seen,
    ) -> None:
        gate = self.serving()
        refusal = gate.entitled(member, route, path, request_id)
        if refusal is not None:
            await send_refusal(send, refusal, gate.policy, request_id, anthropic=seen.anthropic)
            return
        visit = Visit(gate, member, route, path, request_id)
        assert self._loop is not None
        token = running.set(Running(visit, self._loop))
        try:
            await self.app(scope, receive, _naming(send, request_id))
        except BaseException:
            visit.release()
            raise
        finally:
            running.reset(token)
            visit.settle()

    async def _unavailable(self, send: Send, problem: MetergateError) -> None:
        await send_refusal(
            send,
            Refusal("store_unavailable", str(problem), retry_after_us=5 * 10**6),
            self._engine.policy,
            "",
            anthropic=False,
        )


def _without_pathsend(scope: Scope) -> Scope:
    """A counted answer passes through the app's own bytes, not through a file handed to the server."""
    extensions = scope.get("extensions")
    if not extensions or PATHSEND not in extensions:
        return scope
    return {**scope, "extensions": {name: each for name, each in extensions.items() if name != PATHSEND}}


def _naming(send: Send, request_id: str) -> Send:
    """A `send` that adds the request's id to the answer."""
    header = (b"metergate-request-id", request_id.encode())

    def named(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), header]}
        return send(message)

    return named
