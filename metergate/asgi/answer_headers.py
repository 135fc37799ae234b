"""What an answer tells of its cost, of the balance and of the limits."""

from collections.abc import Callable

from metergate.asgi.types import Headers
from metergate.core import limits
from metergate.core.limits import is_limit
from metergate.core.money import plain
from metergate.core.periods import rfc3339
from metergate.core.policy import Show
from metergate.gate.call import Call
from metergate.gate.prepared import Prepared


def dressing(show: Show) -> Callable[[Call], Headers]:
    """The same for calls that were just admitted."""
    return lambda call: headers(call, show)


def headers(call: Call, show: Show) -> Headers:
    """The headers of an admitted call, known before the first byte."""
    prepared = call.prepared
    found = [(b"metergate-request-id", call.request_id.encode())]
    if call.charges:
        found += _so_far(call, show)
    else:
        if show.cost and prepared.exact:
            found.append(prepared.cost_header or _cost(prepared))
        position = prepared.balance
        if show.balance and position >= 0:
            found.append((b"metergate-balance", plain(call.values[position], prepared.currency).encode()))
    if prepared.key_ends_us:
        found.append(key_expires(prepared.key_ends_us))
    if prepared.limited and show.limits:
        found += limits_of(call)
    return found


def key_expires(at_us: int) -> tuple[bytes, bytes]:
    """Who still shows a key that was replaced, or that ends for another reason, can see until when."""
    return b"metergate-key-expires", rfc3339(at_us).encode()


def _cost(prepared: Prepared) -> tuple[bytes, bytes]:
    cost = plain(prepared.offer.cost, prepared.currency)
    prepared.cost_header = (b"metergate-cost", cost.encode())
    return prepared.cost_header


def _so_far(call: Call, show: Show) -> Headers:
    """Cost and balance of a call inside which the app has charged for more."""
    everything = (call, *call.charges)
    found: Headers = []
    if show.cost and call.prepared.exact:
        cost = plain(sum(each.cost for each in everything), call.prepared.currency)
        found.append((b"metergate-cost", cost.encode()))
    balances = [each.values[each.prepared.balance] for each in everything if each.prepared.balance >= 0]
    if show.balance and balances:
        found.append((b"metergate-balance", plain(balances[-1], call.prepared.currency).encode()))
    return found


def limits_of(call: Call) -> Headers:
    """The rates and quotas that the call drew from."""
    now_us = call.gate.clock()
    drawn = zip(call.prepared.draws, call.values, strict=True)
    return limits.headers([limits.standing(draw, value, now_us) for draw, value in drawn if is_limit(draw)])
