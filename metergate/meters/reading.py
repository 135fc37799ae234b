"""What a request says of its own price, for the meters that ask before the call.

An AI call names its model and how much it may answer, a message to an MCP server its tool, a call for
pictures how many and how large. The body is read once and whole, and goes on as it came; only a stream whose
client does not ask for its usage has it asked for.
"""

from collections.abc import Mapping
from typing import NamedTuple

from metergate.core.asked import Asked, Dimensions
from metergate.core.kinds import counts, total
from metergate.core.money import MoneyError, units
from metergate.core.policy import Meter, Route, TokenHold
from metergate.meters import mcp, prompts
from metergate.meters.body import Unreadable, fields, member, whole
from metergate.meters.counter import Counter
from metergate.meters.include_usage import asking
from metergate.meters.json_path import Path, compiled
from metergate.meters.llm import TOKENS_MAX, Llm

BODY_MAX = 32 * 1024 * 1024
"""The most bytes of a request that are read before the call."""
VALUE_MAX = 200


class Reading(NamedTuple):
    asked: Asked
    body: bytes
    """The body as the app or the upstream gets it."""
    counter: Counter | None = None
    """What watches the answer, knowing what was asked."""
    hides_usage: bool = False
    """Whether the usage in the stream was asked for by us, and is none of the client's."""


def read(meter: Meter, route: Route, path: str, body: bytes) -> Reading:
    """The reading of a body; Unreadable is the sentence that says what to send instead."""
    if meter.count == "llm":
        return _llm(meter, route.hold_tokens, path, body)
    if meter.count == "mcp":
        return Reading(mcp.asked(body), body, mcp.Mcp())
    said = whole(body) if body or meter.known_before else {}
    wanted = _units(meter, said) if meter.known_before else None
    return Reading(Asked(_dimensions(meter, said), wanted), body)


def _llm(meter: Meter, hold: TokenHold, path: str, body: bytes) -> Reading:
    said = fields(body, prompts.SAID)
    prompt = prompts.tokens(body)
    held = counts(
        {
            "input": _capped(in_steps(prompt), hold.input_cap),
            "output": _capped(prompts.output(path, said, hold.output), hold.output_cap),
        }
    )
    own = _dimensions(meter, whole(body)) if meter.dimensions else ()
    question = asking(path, said, body) if meter.ask_usage else None
    return Reading(
        Asked(prompts.dimensions(path, said) + own, total(held), held),
        question or body,
        Llm(meter.max_units or TOKENS_MAX, prompt // 2),
        hides_usage=question is not None,
    )


def in_steps(tokens: int) -> int:
    """A little more, so that prompts of about one length are held alike, and prepared once."""
    step = 1 << max(0, tokens.bit_length() - 3)
    return -(-tokens // step) * step


def _capped(tokens: int, cap: int | None) -> int:
    return tokens if cap is None else min(tokens, cap)


def _units(meter: Meter, said: Mapping[str, object]) -> int:
    value = _at(said, compiled(meter.path))
    if value is None and meter.otherwise is not None:
        return meter.otherwise
    try:
        found = units(value)
    except MoneyError:
        raise Unreadable(f"Send a whole number at {meter.path}.") from None
    if meter.max_units and found > meter.max_units:
        raise Unreadable(f"Send at most {meter.max_units} at {meter.path}.")
    return found


def _dimensions(meter: Meter, said: Mapping[str, object]) -> Dimensions:
    """The dimensions that the meter reads from the body; one that is not there is left out."""
    found = []
    for name, path in meter.dimensions:
        value = _at(said, compiled(path))
        if isinstance(value, bool | int):
            value = str(value).lower()
        if isinstance(value, str) and len(value) <= VALUE_MAX:
            found.append((name, value))
        elif value is not None:
            raise Unreadable(f"Send a text or a whole number at {path}.")
    return tuple(found)


def _at(value: object, path: Path) -> object:
    """What lies at the path, where nobody can take it for something else."""
    for step in path:
        if isinstance(step, int):
            value = value[step] if isinstance(value, list) and step < len(value) else None
        else:
            value = member(value, step) if isinstance(value, dict) else None
    return value
