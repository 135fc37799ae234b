"""Twins are recognised by account, route and key, and no two different calls are taken for one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate.core.idempotency import ANSWER_MAX, BODY_MAX, KEEP_US, check_key, fingerprint, twin_id

# A small alphabet, so that parts which run into each other come up often.
parts = st.text("ab/|\0", max_size=4)
triples = st.tuples(parts, parts, parts)


@given(triples, triples)
def test_twins_agree_in_account_route_and_key(a: tuple[str, str, str], b: tuple[str, str, str]) -> None:
    assert (twin_id(*a) == twin_id(*b)) == (a == b)


@given(triples, triples)
def test_a_fingerprint_tells_calls_apart(a: tuple[str, str, str], b: tuple[str, str, str]) -> None:
    alike = fingerprint(a[0], a[1], a[2].encode()) == fingerprint(b[0], b[1], b[2].encode())
    assert alike == (a == b)


def test_parts_do_not_run_into_each_other() -> None:
    assert twin_id("ab", "c", "d") != twin_id("a", "bc", "d")
    assert fingerprint("POST", "/a", b"") != fingerprint("POST", "/", b"a")


def test_an_identity_is_the_same_in_every_process_and_release() -> None:
    assert twin_id("acct_1", "POST /x", "job-7") == (
        "7faaf88f3d23cc550996be108033399c1574c455aa55f15f5d1cf139bd7737db"
    )


@pytest.mark.parametrize("key", ["a", "job-7", '"quoted"', "with space", "~" * 255])
def test_usual_keys_are_taken(key: str) -> None:
    assert check_key(key) is None


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        ("", "not empty"),
        ("  ", "not empty"),
        ("a" * 256, "at most 255"),
        ("schlüssel", "printable ASCII"),
        ("tab\there", "printable ASCII"),
        ("line\n", "printable ASCII"),
        ("del\x7f", "printable ASCII"),
        ("nul\0", "printable ASCII"),
    ],
)
def test_other_keys_are_refused_with_a_reason(key: str, reason: str) -> None:
    sentence = check_key(key)
    assert sentence is not None and reason in sentence and sentence.endswith(".")


def test_the_limits_are_those_that_are_promised() -> None:
    assert (KEEP_US, ANSWER_MAX, BODY_MAX) == (86_400_000_000, 65_536, 1_048_576)
