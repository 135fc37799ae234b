"""One HTTP request on its way through the gate, when it needs a closer look than most.

The rule, then the key, then what the rule wants: nothing, an entitlement, or a hold. Whatever refuses it is
answered here, and the app is not called.
"""

from collections.abc import Awaitable
from typing import Protocol

from metergate.asgi import idempotent
from metergate.asgi.current import running
from metergate.asgi.headers import Seen
from metergate.asgi.http import Keeper
from metergate.asgi.refuse import send_refusal
from metergate.asgi.types import ASGIApp, Message, Receive, Scope, Send
from metergate.core.policy import Route
from metergate.core.refusal import Refusal
from metergate.gate.call import Call, Visit
from metergate.gate.gate import Admitted, Replay, RequestGate
from metergate.gate.members import Member
from metergate.gate.routes import Found


class Run(Protocol):
    """Lets the app serve an admitted call."""

    def __call__(
        self, scope: Scope, receive: Receive, send: Send, call: Call, keeper: Keeper | None = None
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
        refusal, route = self.found.refusal, self.found.route
        if refusal is not None:
            await self.refuse(refusal)
        elif route is None or route.public:
            await self.app(self.scope, self.receive, self.send)
        else:
            await self._for_member(route)

    async def refuse(self, refusal: Refusal) -> None:
        await send_refusal(
            self.send, refusal, self.gate.policy, self.request_id, anthropic=self.seen.anthropic
        )

    async def conclude(self, admitted: Admitted) -> None:
        """Run the app for an admitted call, or answer with what came instead."""
        if isinstance(admitted, Call):
            await self.run(self.scope, self.receive, self.send, admitted)
        elif isinstance(admitted, Replay):
            await idempotent.replay(self, admitted.answer)
        else:
            await self.refuse(admitted)

    async def _for_member(self, route: Route) -> None:
        member = await self._member(route)
        if member is None:
            return
        if route.free or not route.meter:
            await self._free(member, route)
        elif self.seen.idempotency:
            await idempotent.serve(self, member, route)
        else:
            asked = self.gate.admit(member, route, self.found.path, self.request_id)
            await self.conclude(await asked if isinstance(asked, Awaitable) else asked)

    async def _member(self, route: Route) -> Member | None:
        """Who calls; None when that was answered already."""
        looked = self.gate.members.find_key(self.seen.keys, self.gate.clock())
        member = await looked if isinstance(looked, Awaitable) else looked
        if isinstance(member, Member):
            self._remember(member)
            return member
        shadow = self.gate.shadows(route)
        self.gate.watch.turned_away(
            None, route, self.found.path, self.request_id, member.reason, shadow=shadow
        )
        if shadow:
            await self.app(self.scope, self.receive, self.send)
        else:
            await self.refuse(member)
        return None

    def _remember(self, member: Member) -> None:
        """The next request with the same header needs no closer look."""
        header = self.seen.key_header
        lane = self.gate.members.lanes.get(header[0]) if header else None
        if lane is not None and header:
            lane[header[1]] = member

    async def _free(self, member: Member, route: Route) -> None:
        """A request that costs nothing, unless the app charges inside it."""
        refusal = self.gate.entitled(member, route, self.found.path, self.request_id)
        if refusal is not None:
            await self.refuse(refusal)
            return
        visit = Visit(self.gate, member, route, self.found.path, self.request_id)
        token = running.set(visit)
        try:
            await self.app(self.scope, self.receive, _naming(self.send, self.request_id))
        except BaseException:
            visit.release()
            raise
        finally:
            running.reset(token)
            visit.settle()


def _naming(send: Send, request_id: str) -> Send:
    """A `send` that adds the request's id to the answer."""
    header = (b"metergate-request-id", request_id.encode())

    def named(message: Message) -> Awaitable[None]:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", ()), header]}
        return send(message)

    return named
