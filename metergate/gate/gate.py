"""The request path: from a caller and a route to a call or a refusal. Never SQL, never a log line per call.

A store that answers at once keeps the whole path synchronous; one that needs I/O makes the same functions
return an awaitable. The only caller of `core.decide`'s offers.
"""

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from itertools import count
from threading import get_ident
from typing import NamedTuple

from metergate.core import decide
from metergate.core.asked import NOTHING, Asked
from metergate.core.draws import fixed
from metergate.core.facts import Caller
from metergate.core.hold import standing_op
from metergate.core.idempotency import Twin
from metergate.core.money import MoneyError
from metergate.core.policy import Policy, Route
from metergate.core.refusal import Refusal
from metergate.errors import StoreUnavailable
from metergate.gate.arrivals import Arrivals
from metergate.gate.bodies import Bodies
from metergate.gate.call import Call, Reserve, Visit
from metergate.gate.endings import Endings
from metergate.gate.members import NOBODY, RETRY_US, UNAVAILABLE, Member, Members
from metergate.gate.prepared import Prepared
from metergate.gate.routes import Routes
from metergate.gate.stretches import Stretches
from metergate.gate.watching import Watch
from metergate.gate.wish import Wish
from metergate.meters import NOBODY as NO_COUNTERS
from metergate.meters import Factory
from metergate.ports import (
    DENIED,
    FULL,
    GRANTED,
    STALE,
    TWIN_DONE,
    TWIN_OTHER,
    TWIN_RUNNING,
    Clock,
    CounterStore,
    Held,
    Hold,
)

TRIES = 8
"""How often a decision is made again when the facts under it moved."""
BACKLOG = Refusal("ledger_backlog", retry_after_us=5 * RETRY_US)


class Replay(NamedTuple):
    """The call was done before; this is what was kept of its answer."""

    answer: bytes | None


Admitted = Call | Refusal | Replay


class RequestGate:
    def __init__(
        self,
        policy: Policy,
        store: CounterStore,
        clock: Clock,
        peppers: Mapping[int, bytes],
        watch: Watch | None = None,
        counters: Mapping[str, Factory] = NO_COUNTERS,
    ) -> None:
        self.policy = policy
        self.store = store
        self.clock = clock
        self.peppers = peppers
        self.members = Members(policy, store, peppers)
        self.routes = Routes(policy)
        self.watch = watch or Watch(clock)
        self.counters = counters
        """Counters of third parties, by the name that `count:` gives them."""
        self.who: Callable[[Sequence[tuple[bytes, bytes]]], Member] = lambda _: NOBODY
        """Whom the headers of a request show, as a shell remembers it; here, to be asked for many at once."""
        self.dress: Callable[[Call], Sequence[tuple[bytes, bytes]] | None] = lambda _: None
        """How a shell tells of a call in the headers of its answer; the same."""
        self._prefix = f"req_{secrets.token_hex(8)}"
        self._numbers = count(1)
        self.loop = asyncio.get_running_loop()
        self.thread = get_ident()
        self.live: dict[str, Call] = {}
        """Calls of this process that have not ended; the worker renews the holds of the long ones."""
        self.arrivals = Arrivals(self)
        self.endings = Endings(store, clock, self.loop, self.live)
        self.stretches = Stretches(store, self.endings)
        self.bodies = Bodies()

    def request_id(self) -> str:
        return f"{self._prefix}{next(self._numbers):08x}"

    # -- calls ---------------------------------------------------------------------------------------------

    def admit(
        self,
        member: Member,
        route: Route,
        path: str,
        request_id: str,
        twin: Twin | None = None,
        asked: Asked = NOTHING,
    ) -> Admitted | Awaitable[Admitted]:
        """Hold what a call may cost, or say why not."""
        wish = self._plain(member, route, path, request_id, twin)
        return self._try(wish if asked is NOTHING else wish._replace(asked=asked), 1)

    def hold(
        self,
        member: Member,
        route: Route,
        path: str,
        request_id: str,
        until_us: int,
        units: int | None = None,
        twin: Twin | None = None,
    ) -> Admitted | Awaitable[Admitted]:
        """The same for a call that somebody else serves, and that goes on at once."""
        wish = self._plain(member, route, path, request_id, twin)
        return self._try(wish._replace(units=units, until_us=until_us), 1)

    def entered(self, call: Call) -> None:
        """Tell of a plain call that was granted, where somebody wants to know."""
        prepared = call.prepared
        if self.watch.watchers:
            self.watch.admitted(call.member, prepared.route, call.path, call.op, prepared.offer.cost)
        self.stretches.entered(prepared)

    def judge(self, call: Call, held: Held) -> Admitted | Awaitable[Admitted]:
        """What becomes of a plain call that was not simply granted."""
        return self._judge(self._again(call), call.prepared, call.op, held, 1)

    def unavailable(self, call: Call) -> Admitted | Awaitable[Admitted]:
        return self._turned_away(self._again(call), UNAVAILABLE)

    def _again(self, call: Call) -> Wish:
        return self._plain(call.member, call.route, call.path, call.request_id, None)

    def _plain(self, member: Member, route: Route, path: str, request_id: str, twin: Twin | None) -> Wish:
        """A call as requests make them: the units that the route expects, at the price of the policy."""
        return Wish(member, route, path, twin, None, None, None, True, request_id)

    def charge(
        self, parent: Call | Visit, meter: str, units: int
    ) -> Call | Refusal | Awaitable[Call | Refusal]:
        """Hold more for a call that is running, or that has just ended."""
        route = self.routes.metered(parent.route, meter)
        wish = Wish(parent.member, route, parent.path, None, parent, units, None, True, parent.request_id)
        return self._try(wish, 1)  # type: ignore[return-value]  # without a twin nothing is replayed

    def reserve(self, parent: Call, asked: Asked) -> Call | Refusal | Awaitable[Call | Refusal]:
        """Hold more of its own meter for a running call, to be given back when that ends."""
        route = self.routes.metered(parent.route, parent.route.meter)
        fields = (parent.member, route, parent.path, None, parent, asked.units, None, True, parent.request_id)
        return self._try(Wish(*fields, asked, True), 1)  # type: ignore[return-value]  # as above

    def record(
        self,
        member: Member,
        route: Route,
        units: int,
        cost: int | None,
        request_id: str,
        twin: Twin | None,
        *,
        strict: bool = False,
    ) -> Admitted | Awaitable[Admitted]:
        """Hold for usage that has happened: it is counted whatever is left."""
        return self._try(Wish(member, route, route.match, twin, None, units, cost, strict, request_id), 1)

    def _try(self, wish: Wish, tries: int) -> Admitted | Awaitable[Admitted]:
        now_us = self.clock()
        prepared = self._prepare(wish, now_us)
        if isinstance(prepared, Refusal):
            # The facts may be a moment old; nobody is refused by what is no longer true.
            return self._read_again(wish, tries) if tries == 1 else self._turned_away(wish, prepared)
        caller = wish.member.caller
        first = tries == 1 and wish.parent is None
        op = wish.request_id if first else f"{wish.request_id}.{next(self._numbers):x}"
        stands = wish.until_us > 0
        hold = Hold(
            standing_op(wish.until_us, op) if stands else op,
            caller.account.id,
            caller.generation,
            prepared.draws,
            wish.until_us or now_us + wish.route.hold_for_us,
            prepared.terms,
            wish.request_id,
            wish.twin,
            stands,
        )
        try:
            answers = self.store.hold((hold,), now_us)
        except StoreUnavailable:
            return self._turned_away(wish, UNAVAILABLE)
        return self._answer(wish, prepared, hold.op, answers, tries)

    def _prepare(self, wish: Wish, now_us: int) -> Prepared | Refusal:
        member, route = wish.member, wish.route
        expected = wish.units is None and wish.strict
        if expected:
            known = member.known(route, wish.asked)
            if known is not None and known.valid_until_us > now_us:
                return known
        key = member.caller.key
        if key is not None and wish.strict:
            state = decide.key_state(key, now_us)
            if state is not None:
                return state
        try:
            offered = decide.offer(
                self.policy,
                member.caller,
                route,
                member.used,
                now_us,
                units=wish.units,
                cost=wish.cost,
                extra=wish.parent is not None,
                strict=wish.strict,
                asked=wish.asked,
            )
        except MoneyError:
            return Refusal("quantity_too_large", meter=route.meter)
        if isinstance(offered, Refusal):
            return offered
        measured = not fixed(self.policy, route)
        exact = (wish.units is not None or not measured) and not (expected and route.hold_nanos)
        prepared = Prepared(offered, route, exact=exact, measured=measured, asked=wish.asked)
        prepared.key_ends_us = key.expires_at_us if key is not None else 0
        if expected:
            member.remember(prepared)
        return prepared

    def _answer(
        self,
        wish: Wish,
        prepared: Prepared,
        op: str,
        answers: Sequence[Held] | Awaitable[Sequence[Held]],
        tries: int,
    ) -> Admitted | Awaitable[Admitted]:
        if isinstance(answers, Sequence):
            return self._judge(wish, prepared, op, answers[0], tries)
        return self._judge_later(wish, prepared, op, answers, tries)

    async def _judge_later(
        self, wish: Wish, prepared: Prepared, op: str, answers: Awaitable[Sequence[Held]], tries: int
    ) -> Admitted:
        try:
            held = (await answers)[0]
        except BaseException as error:
            # It may have been granted all the same; nobody is there to end it but us.
            self.endings.release(op)
            if not isinstance(error, StoreUnavailable):
                raise
            return await self._await(self._turned_away(wish, UNAVAILABLE))
        return await self._await(self._judge(wish, prepared, op, held, tries))

    def _judge(
        self, wish: Wish, prepared: Prepared, op: str, held: Held, tries: int
    ) -> Admitted | Awaitable[Admitted]:
        status = held.status
        if status == GRANTED:
            return self._granted(wish, prepared, op, held)
        if status == DENIED:
            return self._denied(wish, prepared, held, tries)
        if status == TWIN_DONE:
            return Replay(held.answer)
        if status == STALE and tries < TRIES:
            return self._read_again(wish, tries)
        if status == TWIN_RUNNING:
            return self._turned_away(wish, Refusal("idempotency_running", retry_after_us=RETRY_US))
        if status == TWIN_OTHER:
            return self._turned_away(wish, Refusal("idempotency_mismatch"))
        return self._turned_away(wish, BACKLOG if status == FULL else UNAVAILABLE)

    def _granted(self, wish: Wish, prepared: Prepared, op: str, held: Held) -> Call:
        offer = prepared.offer
        if offer.tally >= 0:
            draw = prepared.draws[offer.tally]
            wish.member.used[draw.name] = held.values[offer.tally]
        if self.watch.watchers:
            self.watch.admitted(wish.member, wish.route, wish.path, wish.request_id, offer.cost)
        make = Reserve if wish.reserve else Call
        call = make(self, wish.member, prepared, op, wish.request_id, wish.path, held.values, wish.twin)
        self.watch.calls += wish.parent is None
        if not wish.until_us:
            self.stretches.entered(prepared)
            self.live[op] = call
        if wish.parent is not None:
            wish.parent.charges = (*wish.parent.charges, call)
        return call

    def _denied(
        self, wish: Wish, prepared: Prepared, held: Held, tries: int
    ) -> Admitted | Awaitable[Admitted]:
        now_us = self.clock()
        offer = prepared.offer
        if held.position == offer.tally and tries < TRIES:
            wish.member.used[prepared.draws[offer.tally].name] = held.value
            wish.member.forget(wish.route, wish.asked)
            again = self._prepare(wish, now_us)
            if isinstance(again, Refusal) or again.draws != prepared.draws:
                return self._try(wish, tries + 1)
        return self._turned_away(wish, decide.refused(offer, held.position, held.value, now_us))

    def _read_again(self, wish: Wish, tries: int) -> Admitted | Awaitable[Admitted]:
        """The account or the key has changed: read both and decide from the new facts."""
        member = wish.member
        key = member.caller.key
        try:
            asked = self.members.reread(key, member.caller.account.id)
        except StoreUnavailable:
            return self._turned_away(wish, UNAVAILABLE)
        if isinstance(asked, Sequence):
            return self._reread(wish, asked[0], tries)
        return self._reread_later(wish, asked, tries)

    async def _reread_later(
        self, wish: Wish, asked: Awaitable[Sequence[Caller | int | None]], tries: int
    ) -> Admitted:
        try:
            told = (await asked)[0]
        except StoreUnavailable:
            return await self._await(self._turned_away(wish, UNAVAILABLE))
        return await self._await(self._reread(wish, told, tries))

    async def _await(self, admitted: Admitted | Awaitable[Admitted]) -> Admitted:
        return await admitted if isinstance(admitted, Awaitable) else admitted

    def _reread(self, wish: Wish, told: Caller | int | None, tries: int) -> Admitted | Awaitable[Admitted]:
        member = wish.member
        if not isinstance(told, Caller):
            return self._turned_away(wish, UNAVAILABLE)
        member.caller = told
        member.forget_all()
        state = decide.key_state(told.key, self.clock()) if told.key is not None else None
        if state is not None:
            member.fresh_until_us = 0
            return self._turned_away(wish, state)
        return self._try(wish, tries + 1)

    # -- refusals ------------------------------------------------------------------------------------------

    def entitled(self, member: Member, route: Route, path: str, request_id: str) -> Refusal | None:
        """Whether the member may use a route that costs nothing."""
        refusal = decide.entitled(self.policy, member.caller, route)
        if refusal is None:
            return None
        shadow = self.shadows(route)
        self.watch.turned_away(member, route, path, request_id, refusal.reason, shadow=shadow)
        return None if shadow else refusal

    def shadows(self, route: Route) -> bool:
        return self.policy.shadow or route.shadow

    def _turned_away(self, wish: Wish, refusal: Refusal) -> Admitted | Awaitable[Admitted]:
        shadow = wish.strict and self.shadows(wish.route)
        self.watch.turned_away(
            wish.member, wish.route, wish.path, wish.request_id, refusal.reason, shadow=shadow
        )
        if not shadow:
            return refusal._replace(request_id=wish.request_id)
        # The call goes on and leaves a row that costs nothing and says that it would have been refused.
        passed = self._try(wish._replace(strict=False, units=0, cost=0, twin=None), TRIES)
        if isinstance(passed, Awaitable):
            return self._passed_later(passed, refusal)
        return _shadowed(passed, refusal)

    async def _passed_later(self, passed: Awaitable[Admitted], refusal: Refusal) -> Admitted:
        return _shadowed(await passed, refusal)

    # -- ends ----------------------------------------------------------------------------------------------

    def release(self, op: str) -> None:
        self.live.pop(op, None)
        self.endings.release(op)


def _shadowed(admitted: Admitted, refusal: Refusal) -> Admitted:
    if isinstance(admitted, Call):
        admitted.shadow = refusal
    return admitted
