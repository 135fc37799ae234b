"""One HTTP request on its way through the gate, when it needs a closer look than most.

The rule, then the key, then what the rule wants: nothing, an entitlement, or a hold. Whatever refuses it is
answered here, and the app is not called.
"""

from collections.abc import Awaitable, Iterable
from typing import Protocol

from metergate.asgi import idempotent, reading
from metergate.asgi.answer_headers import key_expires
from metergate.asgi.current import running
from metergate.asgi.http import Keeper
from metergate.asgi.refuse import Withheld, answer_inside, send_refusal, told_inside, withheld
from metergate.asgi.request_headers import Seen
from metergate.asgi.types import ASGIApp, Message, Receive, Scope, Send
from metergate.core.policy import Route
from metergate.core.refusal import Refusal
from metergate.gate.call import Call, Visit
from metergate.gate.gate import Admitted, Replay, RequestGate
from metergate.gate.members import NOBODY, REMEMBERED, Member
from metergate.gate.outside import outside
from metergate.gate.routes import NOWHERE, Found
from metergate.meters import Counter

SPELLING_MAX = 256
"""A header that spells its key with more bytes, such as blanks, is not remembered."""


class Run(Protocol):
    """Lets the app serve an admitted call."""

    def __call__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        call: Call,
        keeper: Keeper | None = None,
        counter: Counter | None = None,
    ) -> Awaitable[None]: ...


class Exchange:
    __slots__ = ("app", "found", "gate", "receive", "request_id", "run", "scope", "seen", "send")

    def __init__(
        self,
        app: ASGIApp,
        gate: RequestGate,
        run: Run,
        found: Found,
        seen: Seen,
        scope: Scope,
        receive: Receive,
        send: Send,
    ) -> None:
        self.app = app
        self.gate = gate
        self.run = run
        self.found = found
        self.seen = seen
        self.scope = scope
        self.receive = receive
        self.send = send
        self.request_id = gate.request_id()

    async def serve(self) -> None:
        route = self.found.route
        refusal = await outside(self.gate, self.found, self.seen.keys, self.request_id, self._source)
        if refusal is not None:
            await self.refuse(refusal)
        elif route is None or route.public:
            await self.pass_on()
        else:
            await self._for_member(route)

    async def pass_on(self) -> None:
        """Let the app answer somebody who need not be known."""
        route = self.found.route or NOWHERE
        await self.visit(Visit(self.gate, NOBODY, route, self.found.path, self.request_id))

    async def refuse(self, refusal: Refusal) -> None:
        request_id = refusal.request_id or self.request_id
        await send_refusal(self.send, refusal, self.gate.policy, request_id, anthropic=self.seen.anthropic)

    async def conclude(self, admitted: Admitted) -> None:
        """Run the app for an admitted call, or answer with what came instead."""
        if isinstance(admitted, Call):
            await self.run(self.scope, self.receive, self.send, admitted)
        elif isinstance(admitted, Replay):
            await idempotent.replay(self, admitted.answer)
        elif self.found.route is not None and self.gate.shadows(self.found.route):
            await self.pass_on()  # not even counting was possible
        else:
            await self.refuse(admitted)

    async def _for_member(self, route: Route) -> None:
        member = await self._member(route)
        if member is None:
            return
        if route.free or not route.meter:
            await self._free(member, route)
        elif self.gate.routes.reads(route) or (self.seen.idempotency and not self.gate.shadows(route)):
            await reading.serve(self, member, route)
        else:
            asked = self.gate.admit(member, route, self.found.path, self.request_id)
            await self.conclude(await asked if isinstance(asked, Awaitable) else asked)

    async def _member(self, route: Route) -> Member | None:
        """Who calls; None when that was answered already."""
        now_us = self.gate.clock()
        known = self._remembered()
        if known is not None and known.fresh_until_us > now_us:
            return known
        looked = self.gate.members.find_key(self.seen.keys, now_us, self._source())
        member = await looked if isinstance(looked, Awaitable) else looked
        if isinstance(member, Member):
            self._remember(member)
            return member
        shadow = self.gate.shadows(route)
        self.gate.watch.turned_away(
            None, route, self.found.path, self.request_id, member.reason, shadow=shadow
        )
        if shadow:
            await self.pass_on()
        else:
            await self.refuse(member)
        return None

    def _source(self) -> str:
        return self.gate.members.sources.of(self.scope.get("client"), self.scope["headers"])

    def _remembered(self) -> Member | None:
        """Who showed the same header a moment ago."""
        header = self.seen.key_header
        lane = self.gate.members.lanes.get(header[0]) if header else None
        return lane.get(header[1]) if lane and header else None

    def _remember(self, member: Member) -> None:
        """The next request with the same header needs no closer look, wherever it comes from."""
        if member.caller.key is not None and member.caller.key.networks:
            return
        header = self.seen.key_header
        lane = self.gate.members.lanes.get(header[0]) if header else None
        if lane is not None and header and len(header[1]) <= SPELLING_MAX:
            if len(lane) >= REMEMBERED:  # one key can be spelled in many ways
                lane.clear()
            lane[header[1]] = member

    async def _free(self, member: Member, route: Route) -> None:
        """A request that costs nothing, unless the app charges inside it."""
        refusal = self.gate.entitled(member, route, self.found.path, self.request_id)
        if refusal is not None:
            await self.refuse(refusal)
            return
        await self.visit(Visit(self.gate, member, route, self.found.path, self.request_id))

    async def visit(self, visit: Visit) -> None:
        key = visit.member.caller.key
        ends = (key_expires(key.expires_at_us),) if key is not None and key.expires_at_us else ()
        answer = _VisitAnswer(visit, naming(self.send, self.request_id, ends))
        token = running.set(visit)
        try:
            await self.app(self.scope, self.receive, answer)
            if answer.status >= 500 and visit.route.on_upstream_error == "release":
                visit.release()
            await answer.let_go()
        except Exception as error:
            visit.release()
            refusal = told_inside(error)
            if refusal is None or answer.begun:
                await answer.let_go()
                raise
            await answer_inside(self.send, self.scope, refusal, visit)
        finally:
            running.reset(token)
            visit.settle()


class _VisitAnswer:
    """The `send` of a request without a hold."""

    def __init__(self, visit: Visit, send: Send) -> None:
        self._visit = visit
        self._send = send
        self.status = 0
        self.begun = False
        """Whether the caller has seen a part of it."""

    def __call__(self, message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            self._send = withheld(self._visit, message["status"], self._send)
        self.begun = not isinstance(self._send, Withheld)
        return self._send(message)

    async def let_go(self) -> None:
        if isinstance(self._send, Withheld):
            await self._send.let_go()


def naming(send: Send, request_id: str, more: Iterable[tuple[bytes, bytes]] = ()) -> Send:
    """A `send` that adds the request's id to the answer."""
    own = ((b"metergate-request-id", request_id.encode()), *more)

    def named(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), *own]}
        return send(message)

    return named
