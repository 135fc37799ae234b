"""A pattern never takes long, whoever wrote what it reads."""

import time

import pytest

from metergate.meters import regex
from metergate.meters.patterns import READS, reads

FINE = [
    (r"hits: ([0-9]+)", 1),
    (r"(?i)used (\d+)", 1),
    (r"x{1,3}(\d{1,9})", 1),
    (r"units=(\d+)[^\d]", 1),
    (r"", 1),
    (r"(\d+)", 2),
    (r'"cost":\s*(\d+)', 2),
    (r"(?:ab){1,4}(\d+)", 2),
    (r"^(\d+)$", 2),
    (r"(\d+)(?= units)", 2),
    (r"(\d+)\s*$", 3),
    (r".*x.*y", 3),
    (r"[^ ]* units=(\d+)", 3),
    (r"\d+(?:\.\d+)?", 3),
    (r"(?i)aA*x", 2),
    (r"a(?i:A*)x", 2),
    (r"(?i)a[B-Z]*[A-C]*x", 3),
]
ENDLESS = [
    r"(a+)+$",
    r"(a|a)*b",
    r"(a|aa)+$",
    r"(?:a+){1,5}",
    r"(?:a{1,30}){1,30}",
    r"((a*)*)*",
    r"(?:[0-9]+,)*([0-9]+)",
    r"(.)\1+",
    r"a*a*a*a*b",
    r"\w+\s+(\d+)\s+units",
    r"(?:.*a){20}",
    r"(?=(a+)+b)x",
    r"(?>(a+)+)b",
    r"a{0,60}" * 2 + "b",
]
TEXTS = (b"0", b"a", b" ", b"x", b"ab", b"hits: ", b'"cost":', b"a ", b"units=")


@pytest.mark.parametrize(("pattern", "power"), FINE)
def test_a_pattern_is_given_what_it_can_read_in_time(pattern: str, power: int) -> None:
    """The more it repeats, the less; the slowest text that anybody could send is read at once."""
    assert reads(pattern) == READS[power]
    for text in TEXTS:
        counter = regex.Regex(pattern)
        counter.feed(text * (READS[0] // len(text)))
        started = time.process_time()
        counter.finish()
        assert time.process_time() - started < 5


@pytest.mark.parametrize("pattern", ENDLESS)
def test_a_pattern_that_could_take_for_ever_is_none(pattern: str) -> None:
    """It is a mistake in the policy, told when the policy is read."""
    with pytest.raises(ValueError, match=r"could take for ever|can take for ever|without references"):
        regex.compiled(pattern)
