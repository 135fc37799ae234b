"""Counters of units: told what passes, asked once at the end. They read no clock of their own and do no I/O.

`count:` in a policy names one of these, or a third party's: `count: foo` is `metergate_foo.counter`.
"""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from metergate.core.draws import FIXED_COUNTS
from metergate.core.policy import Meter
from metergate.meters.counter import Clock, Counter, Headers
from metergate.meters.json_path import JsonPath, compiled
from metergate.meters.plain import Bytes, Header, Messages, Seconds

__all__ = ["COUNTS", "Clock", "Counter", "Factory", "Headers", "new", "problem"]

Factory = Callable[[Meter, Clock], Counter | None]
"""Makes the counter of one call."""

COUNTS = FIXED_COUNTS | {"bytes", "seconds", "messages", "header", "json"}
"""What `count:` may name without anybody else's package."""

NOBODY: Mapping[str, Factory] = MappingProxyType({})


def new(meter: Meter, clock: Clock, others: Mapping[str, Factory] = NOBODY) -> Counter | None:
    """A counter for one call; None where the units are known without looking."""
    match meter.count:
        case "bytes":
            return Bytes(meter.of)
        case "seconds":
            return Seconds(clock)
        case "messages":
            return Messages()
        case "header":
            return Header(meter.header)
        case "json":
            return JsonPath(meter.path, meter.of)
        case count if count in others:
            return others[count](meter, clock)
        case count if count in FIXED_COUNTS:
            return None
    raise ValueError(_unknown(meter))


def problem(meter: Meter, others: Mapping[str, Factory] = NOBODY) -> str | None:
    """Why no counter can be made of the meter, as one sentence."""
    if meter.count not in COUNTS and meter.count not in others:
        return _unknown(meter)
    if meter.count == "header" and not (meter.header and meter.header.isascii()):
        return f"Name the response header that the meter {meter.name} reads with header:."
    if meter.count == "json":
        if meter.of == "both":
            return f"Let the meter {meter.name} read the request or the response, not both."
        try:
            compiled(meter.path)
        except ValueError as error:
            return str(error)
    return None


def _unknown(meter: Meter) -> str:
    wanted = ", ".join((*sorted(COUNTS), f"or install metergate_{meter.count}"))
    return f"The meter {meter.name} counts {meter.count!r}: use {wanted}."
