"""The middleware: pure ASGI, nothing buffered, one engine behind it.

Most requests come from a caller and meet a rule that were seen a moment ago: they are admitted at once and
the app is called. Everything else takes the longer way through `Exchange`. Per-call state lives in `Answer`
and `Exchange`, never on the middleware.
"""

import logging
import secrets
from collections.abc import Awaitable
from threading import get_ident
from typing import Protocol
from urllib.parse import quote

from metergate import meters
from metergate.asgi import heap, websocket
from metergate.asgi.answer_headers import dressing
from metergate.asgi.current import running
from metergate.asgi.exchange import Exchange
from metergate.asgi.http import Answer, Keeper, PlainAnswer, counting
from metergate.asgi.lifespan import with_lifespan
from metergate.asgi.refuse import answer_inside, send_refusal
from metergate.asgi.request_headers import LOOKED_AT, HeaderReader, Lanes, preflight_for, without_own
from metergate.asgi.types import ASGIApp, Receive, Scope, Send
from metergate.core.older_paths import of_billing
from metergate.core.policy import Policy
from metergate.core.refusal import Refusal
from metergate.errors import MetergateError, StoreUnavailable
from metergate.gate.call import Call
from metergate.gate.gate import Admitted, RequestGate
from metergate.meters import Counter

log = logging.getLogger("metergate")

PATHSEND = "http.response.pathsend"


class Engine(Protocol):
    """What stands behind the middleware; `bootstrap` puts it together."""

    serving: RequestGate | None

    @property
    def policy(self) -> Policy: ...

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
        self._billing_paths: tuple[bytes, ...] = ()
        self._logged = ""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._serve_other(scope, receive, send)
            return
        gate = self._gate
        if gate is None or not self._serves(gate):
            problem = await self._begin()
            if problem is not None:
                await self._unavailable(send, problem)
                return
            gate = self._serving()
        found = gate.routes.metered_calls.get((scope["method"], scope.get("raw_path", b"")))
        admitted = None if found is None else await gate.arrivals.admit(found, scope["headers"])
        if type(admitted) is not Call:
            await self._look_closer(scope, receive, send, admitted)
        elif admitted.prepared.measured:
            await self._run(scope, receive, send, admitted)
        else:
            await self._answer(scope, send, PlainAnswer(admitted, receive, send))

    async def _serve_other(self, scope: Scope, receive: Receive, send: Send) -> None:
        """What is no HTTP request."""
        if scope["type"] == "websocket":
            if await self._begin() is not None:
                await websocket.unavailable(receive, send)
            else:
                await websocket.serve(self.app, self._serving(), self._reader, scope, receive, send)
        elif scope["type"] == "lifespan":
            await with_lifespan(self.app, self._engine, scope, receive, send)
        else:
            await self.app(scope, receive, send)

    def _serves(self, gate: RequestGate) -> bool:
        """Whether a gate has the running policy, in the event loop that it began in."""
        # A loop that runs in this thread is the running one; asking asyncio for that costs a system call.
        return gate is self._engine.serving and get_ident() == gate.thread and gate.loop.is_running()

    async def _begin(self) -> MetergateError | None:
        """Start what lifespan did not start, and take over a policy that was loaded anew."""
        if self._gate is not None and self._serves(self._gate):
            return None
        try:
            await self._engine.start()
        except MetergateError as error:
            return error
        gate = self._engine.serving
        assert gate is not None
        heap.set_aside()
        self._gate = gate
        self._reader = HeaderReader(gate.policy.key_headers)
        lanes = Lanes({name: {} for name in (*self._reader.key_names, *LOOKED_AT)})
        gate.members.lanes, gate.who = lanes, lanes.who
        gate.dress = dressing(gate.policy.show)
        self._billing_paths = of_billing(gate.policy.billing, compat=gate.policy.compat)
        return None

    def _serving(self) -> RequestGate:
        assert self._gate is not None
        return self._gate

    async def _look_closer(
        self, scope: Scope, receive: Receive, send: Send, admitted: Admitted | Awaitable[Admitted] | None
    ) -> None:
        method, headers = scope["method"], scope["headers"]
        raw_path = scope.get("raw_path") or quote(scope["path"]).encode()
        if raw_path.startswith(self._billing_paths):
            await self._engine.billing(scope, receive, send)
            return
        gate = self._serving()
        seen = self._reader.read(headers)
        if seen.forged:
            scope = {**scope, "headers": without_own(headers)}
        asked = preflight_for(method, headers)
        found = gate.routes.find(asked or method, raw_path)
        exchange = Exchange(self.app, gate, self._run, found, seen, scope, receive, send)
        if asked:
            await exchange.pass_on()
        elif admitted is None:
            await exchange.serve()
        else:
            await exchange.conclude(await admitted if isinstance(admitted, Awaitable) else admitted)

    async def _run(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        call: Call,
        keeper: Keeper | None = None,
        counter: Counter | None = None,
    ) -> None:
        """The app serves an admitted call."""
        gate = call.gate
        if counter is None and call.prepared.measured:
            counter = meters.new(gate.policy.meters[call.route.meter], gate.clock, gate.counters)
        if counter is not None:
            receive = counting(receive, counter) if counter.wants_request else receive
            scope = _without_pathsend(scope)
        try:
            if not call.told:
                call.dispatched()
        except StoreUnavailable as error:
            call.release()
            await self._unavailable(send, error, call.request_id)
            return
        await self._answer(scope, send, Answer(call, receive, send, counter, keeper))

    async def _answer(self, scope: Scope, send: Send, answer: Answer) -> None:
        """The app answers a call that it was told of."""
        token = running.set(answer.call)
        try:
            # What a class is called with costs more than a method of it, so the app gets the methods.
            await self.app(scope, answer.heard, answer.said)
            if answer.status >= 500 or not answer.ended:
                await answer.returned()
        except Exception as error:
            refusal = answer.refused(error)
            if refusal is None:
                await answer.let_go()
                answer.failed()
                raise
            await answer_inside(send, scope, refusal, answer.call)
        finally:
            running.reset(token)
            if not answer.ended:
                answer.cut()

    async def _unavailable(self, send: Send, problem: MetergateError, request_id: str = "") -> None:
        """Customers hear that it is not them; what it is stands in the log, once."""
        if str(problem) != self._logged:
            self._logged = str(problem)
            log.error("Metered requests are answered with 503: %s", problem)
        refusal = Refusal("store_unavailable", retry_after_us=5 * 10**6)
        id = request_id or f"req_{secrets.token_hex(12)}"
        await send_refusal(send, refusal, self._engine.policy, id, anthropic=False)


def _without_pathsend(scope: Scope) -> Scope:
    """A counted answer passes through the app's own bytes, not through a file handed to the server."""
    extensions = scope.get("extensions")
    if not extensions or PATHSEND not in extensions:
        return scope
    return {**scope, "extensions": {name: each for name, each in extensions.items() if name != PATHSEND}}
