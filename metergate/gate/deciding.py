"""Decisions whose steps are the same wherever the call is served: for fronts that ask, and for WebSockets."""

from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

from metergate.core.idempotency import KEEP_US, Twin, fingerprint, twin_id
from metergate.core.policy import Route
from metergate.core.refusal import Refusal
from metergate.gate.call import Call, Visit
from metergate.gate.gate import Replay, RequestGate
from metergate.gate.members import NOBODY, Member
from metergate.gate.outside import outside
from metergate.gate.routes import NOWHERE, Found

OF_KINDS = (
    "Units of several kinds are counted where the answers pass by; let the proxy serve this route, or give "
    "it a meter that counts calls."
)


class Question(NamedTuple):
    keys: Sequence[str]
    method: str
    target: bytes
    """Path and query, as they are forwarded."""
    units: int | None = None
    lasts_us: int = 0
    """How long the hold stands; 0 is as long as the route says."""
    idempotency_key: str = ""


Holds = Callable[[Member, Route], Awaitable[Call | Refusal]]
"""Sets aside what a call of a member on a metered route may cost."""


async def decide(gate: RequestGate, asked: Question, request_id: str) -> Call | Visit | Refusal:
    """A call with a hold that stands by itself, a visit where nothing is held, or why not."""
    found = gate.routes.find(asked.method, asked.target.partition(b"?")[0])

    async def hold(member: Member, route: Route) -> Call | Refusal:
        return await _hold(gate, member, route, found.path, asked, request_id)

    return await by_rule(gate, found, asked.keys, request_id, hold)


async def by_rule(
    gate: RequestGate, found: Found, keys: Sequence[str], request_id: str, hold: Holds, source: str = ""
) -> Call | Visit | Refusal:
    """Step by step: the rule, who calls, and what the rule wants."""
    refusal = await outside(gate, found, keys, request_id, lambda: source)
    if refusal is not None:
        return refusal
    route = found.route or NOWHERE
    if route is NOWHERE or route.public:
        return Visit(gate, NOBODY, route, found.path, request_id)
    looked = gate.members.find_key(keys, gate.clock(), source)
    member = await looked if isinstance(looked, Awaitable) else looked
    if isinstance(member, Refusal):
        shadow = gate.shadows(route)
        gate.watch.turned_away(None, route, found.path, request_id, member.reason, shadow=shadow)
        return Visit(gate, NOBODY, route, found.path, request_id) if shadow else member
    if route.free or not route.meter:
        refusal = gate.entitled(member, route, found.path, request_id)
        return refusal or Visit(gate, member, route, found.path, request_id)
    held = await hold(member, route)
    if isinstance(held, Refusal) and gate.shadows(route):
        return Visit(gate, member, route, found.path, request_id)
    return held


async def _hold(
    gate: RequestGate, member: Member, route: Route, path: str, asked: Question, request_id: str
) -> Call | Refusal:
    if gate.policy.meters[route.meter].of_kinds:
        gate.watch.turned_away(member, route, path, request_id, "no_price", shadow=gate.shadows(route))
        return Refusal("no_price", OF_KINDS, meter=route.meter)
    until_us = gate.clock() + (asked.lasts_us or route.hold_for_us)
    twin = _twin(gate, member, route, asked)
    waiting = gate.hold(member, route, path, request_id, until_us, asked.units, twin)
    held = await waiting if isinstance(waiting, Awaitable) else waiting
    return Refusal("idempotency_done", request_id=request_id) if isinstance(held, Replay) else held


def _twin(gate: RequestGate, member: Member, route: Route, asked: Question) -> Twin | None:
    if not asked.idempotency_key or gate.shadows(route):
        return None
    id = twin_id(member.caller.account.id, route.match, asked.idempotency_key)
    print_ = fingerprint(asked.method, asked.target.decode("latin-1"), f"units {asked.units}".encode())
    return Twin(id, print_, gate.clock() + KEEP_US)
