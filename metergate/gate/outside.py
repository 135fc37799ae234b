"""Requests that are refused before it matters what they cost: they cannot be read, or no rule names them."""

from collections.abc import Awaitable, Callable, Sequence

from metergate.core.refusal import Refusal
from metergate.gate.gate import RequestGate
from metergate.gate.routes import NOWHERE, Found


async def outside(
    gate: RequestGate, found: Found, keys: Sequence[str], request_id: str, source: Callable[[], str]
) -> Refusal | None:
    """Why such a request is refused: for its key, before its path."""
    refusal = found.refusal
    if refusal is None:
        return None
    if refusal.reason == "route_not_in_policy":
        looked = gate.members.find_key(keys, gate.clock(), source())
        member = await looked if isinstance(looked, Awaitable) else looked
        if isinstance(member, Refusal):
            refusal = member
        elif member.caller.account.suspended:
            refusal = Refusal("account_suspended", scope="account")
    shadow = gate.policy.shadow
    gate.watch.turned_away(None, NOWHERE, found.path, request_id, refusal.reason, shadow=shadow)
    return None if shadow else refusal
