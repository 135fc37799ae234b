"""Whoever reads bytes of others keeps its promise for all of them; `make fuzz` tries for longer."""

import pytest

from tests.fuzz.mutation import AT_LEAST, tried
from tests.fuzz.seeds import TRAPS
from tests.fuzz.targets import TARGETS, a_policy_loads_or_says_why


@pytest.mark.parametrize("name", TARGETS)
def test_a_reader_keeps_its_promise_whatever_comes(name: str) -> None:
    """What each promises stands in targets.py; a failure shows the input and the seed."""
    target = TARGETS[name]
    assert tried(name, target.promise, target.seeds, target.words) >= AT_LEAST


def test_no_policy_is_a_bomb() -> None:
    """Aliases of aliases, deep nesting, numbers without end, and as many keys as a file can hold."""
    for trap in TRAPS:
        a_policy_loads_or_says_why(trap)
