"""Rates and quotas as callers are told of them: in the form of the IETF draft, and in OpenAI's."""

from collections.abc import Sequence
from typing import NamedTuple

from metergate.core.budget import QUOTA, RATE, SLOTS, UNBOUNDED, UNITS, Draw, remaining

US = 10**6


class Standing(NamedTuple):
    """Where a limit stands for one caller."""

    name: str
    quota: int
    window_s: int
    """How long the window is; 0 where the limit has none, as that of open calls."""
    left: int
    reset_s: int


def is_limit(draw: Draw) -> bool:
    """Whether callers are told of it before it refuses them."""
    return draw.kind == RATE or (draw.kind == QUOTA and draw.follows == UNITS and draw.high < UNBOUNDED)


def standing(draw: Draw, value: int, now_us: int) -> Standing:
    """What is left, and the seconds until all of it is there again."""
    left = remaining(draw, value, now_us)
    if draw.kind == SLOTS:
        return Standing("open-calls", draw.high, 0, left, 0)
    if draw.kind == RATE:
        name, reset = draw.name.rsplit(":", 1)[-1], seconds(max(0, value - now_us))
        return Standing(name, draw.high // draw.low, seconds(draw.high), left, reset)
    name = draw.name.split(":")[2 if draw.name.startswith("used:") else 3]
    until = seconds(max(0, draw.until_us - now_us))
    return Standing(name, draw.high, until, left, until)


def headers(rows: Sequence[Standing]) -> list[tuple[bytes, bytes]]:
    """All of them in the draft's two headers, and the one nearest to its end in OpenAI's three."""
    policies = ", ".join(_policy(row) for row in rows)
    state = ", ".join(f'"{row.name}";r={row.left};t={row.reset_s}' for row in rows)
    nearest = min(rows, key=lambda row: row.left)
    return [
        (b"ratelimit-policy", policies.encode()),
        (b"ratelimit", state.encode()),
        (b"x-ratelimit-limit-requests", b"%d" % nearest.quota),
        (b"x-ratelimit-remaining-requests", b"%d" % nearest.left),
        (b"x-ratelimit-reset-requests", b"%ds" % nearest.reset_s),
    ]


def seconds(us: int) -> int:
    """Whole seconds, rounded up."""
    return -(-us // US)


def _policy(row: Standing) -> str:
    window = f";w={row.window_s}" if row.window_s else ""
    return f'"{row.name}";q={row.quota}{window}'
