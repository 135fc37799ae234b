"""Names of headers are lowered once, and strangers cannot fill the memory with them."""

from collections.abc import Iterator

import pytest

from metergate.upstream.names import NAME_REMEMBERED, REMEMBERED, lower, lowered


@pytest.fixture(autouse=True)
def nothing_remembered() -> Iterator[None]:
    before = dict(lowered)
    lowered.clear()
    yield
    lowered.clear()
    lowered.update(before)


def test_every_spelling_of_a_name_is_one_object() -> None:
    assert lower(b"Content-Type") is lower(b"CONTENT-TYPE") is lower(b"content-type")
    assert lowered[b"Content-Type"] == b"content-type"


def test_long_names_and_names_beyond_counting_are_lowered_and_not_remembered() -> None:
    assert lower(b"X" * (NAME_REMEMBERED + 1)) == b"x" * (NAME_REMEMBERED + 1)
    assert not lowered
    names = [b"X-%d" % number for number in range(2 * REMEMBERED)]
    assert [lower(name) for name in names] == [name.lower() for name in names]
    assert len(lowered) <= REMEMBERED + 1
