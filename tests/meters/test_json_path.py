"""A number in a JSON body is believed only when every reader would find the same one."""

import json
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate import meters
from metergate.core.money import UNITS_MAX
from metergate.core.policy import Meter
from metergate.meters.json_path import compiled
from metergate.meters.watched import BODY_MAX
from metergate.testing.clock import FakeClock

JSON = (b"content-type", b"application/json")


def counted(path: str, body: bytes, *headers: tuple[bytes, bytes]) -> int | None:
    counter = meters.new(Meter("m", "json", path=path), FakeClock())
    assert counter is not None
    counter.start(200, [JSON, *headers])
    for at in range(0, len(body), 7) if len(body) < 1000 else (0,):
        counter.feed(body[at : at + 7] if len(body) < 1000 else body)
    return counter.finish()


@pytest.mark.parametrize(
    ("path", "body", "units"),
    [
        ("$.rows", b'{"rows": 12}', 12),
        ("$.result.rows", b'{"id": "x", "result": {"rows": 3, "of": [1, 2]}}', 3),
        ("$.items[1].size", b'{"items": [{"size": 1}, {"size": 2}]}', 2),
        ("$[0]", b"[7]", 7),
        ("$", b" 7 ", 7),
        ("$['a']['b c']", b'{"a": {"b c": 5}}', 5),
        ('$["a"].b', b'{"a": {"b": 5}}', 5),
        ("$['größe']", '{"größe": 5}'.encode(), 5),
        ("$['größe']", b'{"gr\\u00f6\\u00dfe": 5}', 5),
        ("$.a", b'{"\\u0061": 5}', 5),
        ("$.a", b'{"a": 5, "text": "\\u00e4"}', 5),
    ],
)
def test_the_number_at_the_path_is_found(path: str, body: bytes, units: int) -> None:
    assert counted(path, body) == units


@pytest.mark.parametrize(
    ("value", "units"),
    [
        (b"0", 0),
        (b'"12"', 12),
        (b"9007199254740991", UNITS_MAX),
        (b"9007199254740992", None),
        (b"1" * 30, None),
        (b"1" * 5000, None),
        (b"3.0", None),
        (b"1e3", None),
        (b"-1", None),
        (b"-0", 0),
        (b"true", None),
        (b"null", None),
        (b"NaN", None),
        (b"Infinity", None),
        (b'"12a"', None),
        (b'""', None),
        (b'"-1"', None),
        (b'" 1"', None),
        (b'"1.0"', None),
        ('"١٢"'.encode(), None),
        (b"[1]", None),
        (b'{"n": 1}', None),
    ],
)
@pytest.mark.parametrize("slow", [False, True], ids=["plain", "escaped"])
def test_only_whole_numbers_count(value: bytes, units: int | None, slow: bool) -> None:
    body = b'{"n": %s%s}' % (value, b', "text": "\\u00e4"' if slow else b"")
    assert counted("$.n", body) == (None if slow and value == b"-0" else units)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b" ",
        b"{}",
        b"[]",
        b"7",
        b'{"a": 1}',
        b'{"a": []}',
        b'{"a": [{}]}',
        b'{"a": {"0": {"n": 1}}}',
        b'{"a": [{"n": 1}]',
        b'{"a": [{"n": 1}]} {"a": [{"n": 2}]}',
        b'{"a": [{"n": 1}], "b": NaN}',
        b'{"a": [{"n": 1}], "b": "\xff"}',
        b"data: 1\n\n",
    ],
)
def test_what_is_missing_or_broken_is_no_number(body: bytes) -> None:
    assert counted("$.a[0].n", body) is None


def test_a_mark_of_the_byte_order_is_no_part_of_a_body() -> None:
    """Clients read past it."""
    for more in (b"", b', "b": "\\u00e4"'):
        assert counted("$.n", b'\xef\xbb\xbf{"n": 7%s}' % more) == 7


@pytest.mark.parametrize(
    ("body", "units"),
    [
        (b'{"n": 1, "n": 2}', None),
        (b'{"n": 1, "\\u006e": 2}', None),
        (b'{"a": {"n": 1}, "b": {"n": 2}, "n": 3}', 3),
        (b'{"n": 3, "b": {"n": 1, "n": 2}}', 3),
        (b'{"n": 3, "b": 1, "b": 2}', 3),
    ],
)
def test_a_name_that_stands_twice_in_one_object_is_not_believed(body: bytes, units: int | None) -> None:
    assert counted("$.n", body) == units


@pytest.mark.parametrize(("open_", "close"), [(b"[", b"]"), (b'{"n":', b"}")])
def test_deep_nesting_is_survived(open_: bytes, close: bytes) -> None:
    assert counted("$.n", open_ * 100_000 + close * 100_000) is None
    assert counted("$.n", open_ * 100_000 + b"1" + close * 100_000) is None


def test_bodies_beyond_the_bound_are_not_kept() -> None:
    head, tail = b'{"n": 1, "text": "', b'"}'
    fits = head + b"x" * (BODY_MAX - len(head) - len(tail)) + tail
    assert counted("$.n", fits) == 1
    assert counted("$.n", fits[:-2] + b"x" + tail) is None


def zipped(body: bytes, wbits: int) -> bytes:
    packer = zlib.compressobj(wbits=wbits)
    return packer.compress(body) + packer.flush()


GZIP, ZLIB, RAW = 31, 15, -15


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"identity", b'{"n": 1}'),
        (b" Identity ", b'{"n": 1}'),
        (b"gzip", zipped(b'{"n": 1}', GZIP)),
        (b"X-GZip", zipped(b'{"n": 1}', GZIP)),
        (b"identity, gzip", zipped(b'{"n": 1}', GZIP)),
        (b"deflate", zipped(b'{"n": 1}', ZLIB)),
        (b"deflate", zipped(b'{"n": 1}', RAW)),
    ],
)
def test_a_body_is_read_in_the_encodings_that_frameworks_write(encoding: bytes, body: bytes) -> None:
    assert counted("$.n", body, (b"Content-Encoding", encoding)) == 1


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        (b"br", b'{"n": 1}'),
        (b"gzip", b'{"n": 1}'),
        (b"gzip", zipped(b'{"n": 1}', GZIP)[:-9]),
        (b"gzip", zipped(b'{"n": 1}', GZIP) + b"more"),
        (b"deflate", b"\x00\x01"),
        (b"gzip, gzip", zipped(zipped(b'{"n": 1}', GZIP), GZIP)),
        (b"gzip, br", zipped(b'{"n": 1}', GZIP)),
    ],
)
def test_a_body_that_cannot_be_decoded_says_nothing(encoding: bytes, body: bytes) -> None:
    assert counted("$.n", body, (b"Content-Encoding", encoding)) is None


def test_a_small_body_that_unfolds_without_end_is_given_up() -> None:
    """Whoever unfolds it holds no more than the bound."""
    bomb = zipped(b'{"n": 1, "text": "' + b"x" * 64 * BODY_MAX + b'"}', GZIP)
    assert len(bomb) < BODY_MAX
    tracemalloc.start()
    try:
        assert counted("$.n", bomb, (b"content-encoding", b"gzip")) is None
        assert tracemalloc.get_traced_memory()[1] < 4 * BODY_MAX
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize(
    "path", ["", "a", "a.b", "$.", "$..a", "$.*", "$[*]", "$[-1]", "$.a[", "$['']", "$.a b", "$ .a", "$.a?"]
)
def test_what_is_no_path_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="Write a path such as"):
        compiled(path)


values = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 2**60) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from("abn"), inner, max_size=3),
    max_leaves=12,
)


@given(values, st.booleans())
def test_any_body_gives_a_believable_number_or_none(value: object, ascii: bool) -> None:
    units = counted("$.a[0]", json.dumps(value, ensure_ascii=ascii).encode())
    assert units is None or 0 <= units <= UNITS_MAX


@given(st.integers(0, UNITS_MAX), st.text(max_size=20))
def test_any_allowed_number_is_found(units: int, beside: str) -> None:
    assert counted("$.usage.total", json.dumps({"id": beside, "usage": {"total": units}}).encode()) == units
