"""Counters of units: told what passes, asked once at the end. They read no clock of their own and do no I/O.

`count:` in a policy names one of these, or a third party's: `count: foo` is `metergate_foo.counter`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from metergate.core.draws import FIXED_COUNTS
from metergate.core.money import COST_MAX, UNITS_MAX
from metergate.core.policy import Meter
from metergate.meters.body import Unreadable
from metergate.meters.cost import CostInHeader, CostInJson
from metergate.meters.counter import Clock, Counter, Headers
from metergate.meters.json_path import JsonPath
from metergate.meters.json_path import compiled as compiled_path
from metergate.meters.llm import TOKENS_MAX, Llm
from metergate.meters.plain import Bytes, Header, Messages, Seconds
from metergate.meters.reading import BODY_MAX as READ_MAX
from metergate.meters.reading import Reading, read
from metergate.meters.regex import Regex
from metergate.meters.regex import compiled as compiled_pattern

__all__ = [
    "COUNTS",
    "READ_MAX",
    "Clock",
    "Counter",
    "Factory",
    "Headers",
    "Reading",
    "Unreadable",
    "new",
    "problem",
    "read",
]

Factory = Callable[[Meter, Clock], Counter | None]
"""Makes the counter of one call."""

NOBODY: Mapping[str, Factory] = MappingProxyType({})


def _most(meter: Meter, otherwise: int = UNITS_MAX) -> int:
    return meter.max_units or otherwise


def _cost(meter: Meter) -> Counter:
    most = _most(meter, COST_MAX)
    return CostInHeader(meter.header, most) if meter.header else CostInJson(meter.path, most)


MAKERS: Mapping[str, Callable[[Meter], Counter]] = MappingProxyType(
    {
        "bytes": lambda meter: Bytes(meter.of),
        "cost": _cost,
        "header": lambda meter: Header(meter.header, _most(meter)),
        "json": lambda meter: JsonPath(meter.path, _most(meter)),
        "llm": lambda meter: Llm(_most(meter, TOKENS_MAX)),
        "messages": lambda _: Messages(),
        "regex": lambda meter: Regex(meter.pattern, _most(meter)),
    }
)
COUNTS = FIXED_COUNTS | MAKERS.keys() | {"mcp", "seconds"}
"""What `count:` may name without anybody else's package."""


def new(meter: Meter, clock: Clock, others: Mapping[str, Factory] = NOBODY) -> Counter | None:
    """A counter for one call; None where the units are known without looking."""
    if meter.count in FIXED_COUNTS or meter.known_before:
        return None
    if meter.count == "seconds":
        return Seconds(clock)
    if meter.count in MAKERS:
        return MAKERS[meter.count](meter)
    if meter.count in others:
        return others[meter.count](meter, clock)
    raise ValueError(_unknown(meter))


def problem(meter: Meter, others: Mapping[str, Factory] = NOBODY) -> str | None:
    """Why no counter can be made of the meter, as one sentence."""
    if meter.count not in COUNTS and meter.count not in others:
        return _unknown(meter)
    if meter.count == "header" and not (meter.header and meter.header.isascii()):
        return f"Name the response header that the meter {meter.name} reads with header:."
    if meter.count == "json" and meter.of == "both":
        return f"Let the meter {meter.name} read the request or the response, not both."
    try:
        for _, path in meter.dimensions:
            compiled_path(path)
        if meter.count == "json" or (meter.count == "cost" and not meter.header):
            compiled_path(meter.path)
        if meter.count == "regex":
            compiled_pattern(meter.pattern)
    except ValueError as error:
        return str(error)
    return None


def _unknown(meter: Meter) -> str:
    wanted = ", ".join((*sorted(COUNTS), f"or install metergate_{meter.count}"))
    return f"The meter {meter.name} counts {meter.count!r}: use {wanted}."
