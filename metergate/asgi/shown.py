"""What an answer tells of its cost, of the balance and of the limits."""

from metergate.asgi.types import Headers
from metergate.core.budget import QUOTA, RATE, UNBOUNDED, UNITS, Draw, remaining
from metergate.core.money import plain
from metergate.core.policy import Show
from metergate.gate.call import Call

US = 10**6


def headers(call: Call, show: Show) -> Headers:
    """The headers of an admitted call, known before the first byte."""
    prepared = call.prepared
    found = [(b"metergate-request-id", call.request_id.encode())]
    if show.cost and prepared.exact:
        if prepared.cost_header is None:
            cost = plain(prepared.offer.cost, prepared.currency)
            prepared.cost_header = (b"metergate-cost", cost.encode())
        found.append(prepared.cost_header)
    if show.balance and prepared.balance >= 0:
        balance = plain(call.values[prepared.balance], prepared.currency)
        found.append((b"metergate-balance", balance.encode()))
    if show.limits and prepared.limited:
        found += limits(prepared.draws, call.values, call.gate.clock())
    return found


def limits(draws: tuple[Draw, ...], values: tuple[int, ...], now_us: int) -> Headers:
    """Rates and quotas in the form of the IETF draft, and the one nearest to its end in OpenAI's."""
    rows = [_row(draw, value, now_us) for draw, value in zip(draws, values, strict=True) if _is_limit(draw)]
    policies = ", ".join(f'"{name}";q={quota};w={length}' for name, quota, length, _, _ in rows)
    state = ", ".join(f'"{name}";r={left};t={reset}' for name, _, _, left, reset in rows)
    _, quota, _, left, reset = min(rows, key=lambda row: row[3])
    return [
        (b"ratelimit-policy", policies.encode()),
        (b"ratelimit", state.encode()),
        (b"x-ratelimit-limit-requests", b"%d" % quota),
        (b"x-ratelimit-remaining-requests", b"%d" % left),
        (b"x-ratelimit-reset-requests", b"%ds" % reset),
    ]


def _is_limit(draw: Draw) -> bool:
    return draw.kind == RATE or (draw.kind == QUOTA and draw.follows == UNITS and draw.high < UNBOUNDED)


def _row(draw: Draw, value: int, now_us: int) -> tuple[str, int, int, int, int]:
    """Name, quota, length of the window, what is left, and seconds until it is whole again."""
    left = remaining(draw, value, now_us)
    if draw.kind == RATE:
        reset = max(0, value - now_us)
        return draw.name.rsplit(":", 1)[-1], draw.high // draw.low, _seconds(draw.high), left, _seconds(reset)
    name = draw.name.split(":")[2 if draw.name.startswith("used:") else 3]
    until = _seconds(max(0, draw.until_us - now_us))
    return name, draw.high, until, left, until


def _seconds(us: int) -> int:
    return -(-us // US)
