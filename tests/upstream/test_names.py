"""Names of headers are lowered once, and strangers cannot fill the memory with them."""

from metergate.upstream.names import NAME_REMEMBERED, REMEMBERED, Names


def test_every_spelling_of_a_name_is_one_object() -> None:
    lower = Names()
    assert lower[b"Content-Type"] is lower[b"CONTENT-TYPE"] is lower[b"content-type"]
    assert lower[b"Content-Type"] == b"content-type"


def test_long_names_and_names_beyond_counting_are_lowered_and_not_remembered() -> None:
    lower = Names()
    assert lower[b"X" * (NAME_REMEMBERED + 1)] == b"x" * (NAME_REMEMBERED + 1)
    assert not lower
    names = [b"X-%d" % number for number in range(2 * REMEMBERED)]
    assert [lower[name] for name in names] == [name.lower() for name in names]
    assert len(lower) <= REMEMBERED + 1
