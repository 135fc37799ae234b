"""What the tests of policy files share."""

from collections.abc import Mapping
from textwrap import dedent

from metergate import config
from metergate.core.policy import Policy

NOTHING_SET: Mapping[str, str] = {}


def policy(text: str, environ: Mapping[str, str] = NOTHING_SET) -> Policy:
    """The policy that the text is, with `metergate: 1` above it."""
    return config.loads(whole(text), "p.yaml", environ).policy


def problems(text: str, environ: Mapping[str, str] = NOTHING_SET) -> list[str]:
    """What is wrong with the text below `metergate: 1`, as printed; its first line is line 2."""
    return complaints(whole(text), environ)


def complaints(data: bytes, environ: Mapping[str, str] = NOTHING_SET) -> list[str]:
    """What is wrong with a whole file, as printed."""
    try:
        return [str(warning) for warning in config.loads(data, "p.yaml", environ).warnings]
    except config.PolicyError as error:
        return str(error).split("\n")


def told(marked: str) -> str:
    """The one problem of a text, without its place, which must be where the mark ¦ stands."""
    before, mark, after = whole(marked).decode().partition("¦")
    place = f"p.yaml:{before.count(chr(10)) + 1}:{len(before) - before.rfind(chr(10))}: "
    (problem,) = complaints((before + after).encode())
    assert mark and problem.startswith(place), f"{problem} is not at {place}"
    return problem.removeprefix(place)


def whole(text: str) -> bytes:
    return b"metergate: 1\n" + dedent(text).lstrip("\n").encode()
