"""Tokens, counted in what passes: whole answers and streams, in pieces of any size, within bounds."""

import json
import tracemalloc
import zlib
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate.meters.llm import TOKENS_MAX, Llm
from metergate.meters.watched import BODY_MAX, EVENT_MAX
from tests.meters.recorded import (
    ANSWERS,
    CHAT_UNITS,
    CHAT_USAGE,
    GEMINI,
    JSON,
    MESSAGE_START,
    RESPONSE,
    RESPONSE_UNITS,
    SSE,
    TEXT_DELTA,
    chunk,
    events,
)

HELLO = chunk({"content": "Hello there"})
USAGE = chunk(None, usage=CHAT_USAGE)


def watching(
    pieces: Iterable[bytes], kind: bytes = SSE, status: int = 200, *more: tuple[bytes, bytes]
) -> Llm:
    counter = Llm(prompt=100)
    counter.start(status, [(b"content-type", kind), *more])
    for piece in pieces:
        counter.feed(piece)
    return counter


def counted(body: bytes, kind: bytes = SSE, status: int = 200) -> dict[str, int] | None:
    counter = watching([body], kind, status)
    units = counter.finish()
    assert units is None or units == sum(dict(counter.counts).values())
    return None if units is None else dict(counter.counts)


def cut(body: bytes, places: Iterable[int]) -> list[bytes]:
    ends = [0, *sorted(place % (len(body) + 1) for place in places), len(body)]
    return [body[begin:end] for begin, end in pairwise(ends)]


@pytest.mark.parametrize("name", ANSWERS)
def test_what_an_answer_reports_is_counted(name: str) -> None:
    answer = ANSWERS[name]
    assert counted(answer.body, answer.content_type) == answer.units


@given(st.sampled_from(sorted(ANSWERS)), st.lists(st.integers(0, 10_000), max_size=12))
def test_however_it_is_cut_into_pieces(name: str, places: list[int]) -> None:
    """The network knows no events; neither the units nor the estimate depend on where it cuts."""
    answer = ANSWERS[name]
    counter = watching(cut(answer.body, places), answer.content_type)
    assert counter.finish() == sum(answer.units.values())
    assert dict(counter.counts) == answer.units


@pytest.mark.parametrize("name", ANSWERS)
def test_byte_by_byte(name: str) -> None:
    answer = ANSWERS[name]
    pieces = [answer.body[at : at + 1] for at in range(len(answer.body))]
    counter = watching(pieces, answer.content_type)
    assert counter.finish() == sum(answer.units.values())


@pytest.mark.parametrize("encoding", [b"gzip", b"deflate"])
@pytest.mark.parametrize("name", ["chat", "chat stream", "message stream"])
def test_what_comes_packed_is_unpacked(name: str, encoding: bytes) -> None:
    answer = ANSWERS[name]
    packer = zlib.compressobj(wbits=31 if encoding == b"gzip" else -15)
    packed = packer.compress(answer.body) + packer.flush()
    header = (b"content-encoding", encoding)
    counter = watching(cut(packed, (7, 40)), answer.content_type, 200, header)
    assert counter.finish() == sum(answer.units.values())
    assert watching([packed], answer.content_type, 200, (b"content-encoding", b"br")).finish() is None


@pytest.mark.parametrize(
    "body",
    [
        events(HELLO, "[DONE]"),
        events(HELLO, chunk({}, usage=None), "[DONE]"),
        events(HELLO),
        events(MESSAGE_START, TEXT_DELTA, named=True),
        events(chunk(None, usage={"prompt_tokens": -5, "completion_tokens": 1})),
        events(chunk(None, usage={"prompt_tokens": 5.5, "completion_tokens": 1})),
        events(chunk(None, usage={"prompt_tokens": TOKENS_MAX, "completion_tokens": 1})),
        events(chunk(None, usage={"prompt_tokens": {"usage": {"prompt_tokens": 1}}, "completion_tokens": 1})),
        events(chunk(None, usage=[CHAT_USAGE])),
        events(chunk({"content": "x", "usage": CHAT_USAGE})),
        b'data: {"usage":{"prompt_tokens":NaN,"completion_tokens":1}}\n\n',
        b'data: {"usage":{"prompt_tokens":1,"prompt_tokens":2,"completion_tokens":1}}\n\n',
        b'data: {"usage":{"prompt_tokens":1,"completion_tokens":1},"usage":{"prompt_tokens":2}}\n\n',
        b'data: {"usage":{"prompt_tokens":1,"completion_tokens":1},"\\u0075sage":{"prompt_tokens":2}}\n\n',
        b'data: {"usage":{"prompt_tokens":1' + b"0" * 5000 + b',"completion_tokens":1}}\n\n',
        b'data: {"usage":{"prompt_tokens":1,"completion_tokens":1}\n\n',
        b'data: {"usage":' + b'{"prompt_tokens":' * 100_000 + b"\n\n",
        b"data: \xff\xfe\n\n",
        b"",
    ],
)
def test_usage_that_is_missing_or_cannot_be_believed_is_none(body: bytes) -> None:
    """Never zero, and never what a nested look-alike says."""
    assert counted(body) is None


LAST = json.dumps(USAGE).encode()


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbfdata: " + LAST + b"\n\n",
        b"data:" + LAST + b"\n\n",
        b"data: " + LAST,
        b"data: " + LAST + b"\r\rdata: [DONE]\r\r",
        b"id: 7\r\ndata: " + LAST + b"\r\nretry: 5\r\n\r\n",
        b": a comment\ndata: " + LAST + b"\n\n: another\n\n",
        b"data: " + LAST.replace(b'"usage": ', b'\ndata: "usage"\ndata: :\ndata:') + b"\n\n",
    ],
)
def test_an_event_is_what_clients_take_for_one(body: bytes) -> None:
    """Its lines end in one of three ways, its data may stand in several of them."""
    hello = events(HELLO, end="\r\r" if b"\r\r" in body else "\n\n")
    for whole in (body, hello + body if body[:1] != b"\xef" else body):
        for size in (1, 3, len(whole)):
            pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
            counter = watching(pieces)
            assert counter.finish() == 29
            assert dict(counter.counts) == CHAT_UNITS


@pytest.mark.parametrize("field", [b": ", b":", b"event: ", b"id: ", b"retry: "])
def test_what_no_client_sees_is_no_usage(field: bytes) -> None:
    """Comments and the other fields of an event."""
    body = events(HELLO) + field + LAST + b"\n\n"
    assert counted(body + events("[DONE]")) is None
    assert (
        counted(events(USAGE) + field + b'{"usage":{"prompt_tokens":1,"completion_tokens":1}}\n\n')
        == CHAT_UNITS
    )


def test_a_mark_of_the_byte_order_is_no_part_of_an_answer() -> None:
    assert counted(b"\xef\xbb\xbf" + LAST, JSON) == CHAT_UNITS
    assert counted(LAST.decode().encode("utf-16"), JSON) is None


def test_what_is_told_again_as_unknown_stays_known() -> None:
    """The last event of a message may leave the input empty."""
    delta = {"type": "message_delta", "usage": {"input_tokens": None, "output_tokens": 12}}
    assert counted(events(MESSAGE_START, TEXT_DELTA, delta, named=True)) == {
        "input": 25,
        "cached_input": 7,
        "output": 12,
    }


def test_of_several_usages_the_last_counts() -> None:
    """Servers that report as they go report sums; nothing is added up."""
    twice = events(
        HELLO, USAGE, chunk(None, usage={"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3})
    )
    assert counted(twice) == {"input": 1, "output": 2}


def test_an_explicit_zero_is_measured() -> None:
    nothing = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    assert counted(events(HELLO, chunk(None, usage=nothing))) == {}


@pytest.mark.parametrize("kind", [JSON, b"text/html", b""])
def test_an_error_that_names_no_usage_has_used_nothing(kind: bytes) -> None:
    """Of an error with usage in it the usage counts."""
    assert counted(b'{"error": {"message": "no"}}', kind, 400) == {}
    assert counted(b"<html>bad gateway</html>", kind, 502) == {}
    assert counted(json.dumps({"error": {}, "usage": CHAT_USAGE}).encode(), JSON, 500) == CHAT_UNITS


@pytest.mark.parametrize(
    ("body", "kind", "failed"),
    [
        (b'{"error": {"message": "overloaded"}}', JSON, True),
        (b'data: {"error": {"message": "overloaded"}}\n\n', SSE, True),
        (b'data: {"error": {"message": "overloaded"}}\n\ndata: [DONE]\n\n', SSE, True),
        (
            events(MESSAGE_START, {"type": "error", "error": {"type": "overloaded_error"}}, named=True),
            SSE,
            True,
        ),
        (json.dumps({**RESPONSE, "error": {"code": "x"}, "output": [], "usage": None}).encode(), JSON, True),
        (events({"type": "response.failed", "response": {"error": {"code": "x"}}}, named=True), SSE, True),
        (events(HELLO, {"error": {"message": "overloaded"}}), SSE, False),
        (events(HELLO), SSE, False),
        (b'{"choices": [], "error": null}', JSON, False),
    ],
)
def test_an_error_with_the_status_of_a_success_is_told_apart(body: bytes, kind: bytes, failed: bool) -> None:
    """Unless a part of the answer came before it."""
    counter = watching([body], kind)
    assert counter.finish() is None
    assert counter.failed is failed


def test_what_was_cut_off_is_estimated() -> None:
    """The prompt as it was taken for before, the output by its text."""
    counter = watching([events(chunk({"content": "four"})) for _ in range(500)])
    assert counter.finish() is None
    assert counter.estimate() == 100 + 500
    assert counter.counts == (("input", 100), ("output", 500))


def test_the_estimate_of_a_long_stream_is_made_of_samples() -> None:
    """Whatever stands around the text."""
    words = ["a", "word", "and then a longer one"] * 700
    counter = watching([events(chunk({"content": word}, obfuscation="x" * 9)) for word in words])
    assert counter.finish() is None
    exact = sum(map(len, words)) / 4
    assert 0.8 * exact < counter.estimate() - 100 < 1.2 * exact


def test_an_estimate_knows_what_was_reported_already() -> None:
    """Anthropic tells the input at once, and Gemini everything as it goes."""
    counter = watching([events(MESSAGE_START, named=True), *[events(TEXT_DELTA, named=True)] * 10])
    assert counter.finish() is None
    assert counter.estimate() > 32
    assert dict(counter.counts)["input"] == 25
    assert dict(counter.counts)["cached_input"] == 7
    assert counted(events(*GEMINI[:2])) == {"input": 8, "output": 2, "reasoning": 32}


@pytest.mark.parametrize("kind", [JSON, SSE])
@pytest.mark.parametrize("tokens", [-1, TOKENS_MAX, 2**60])
def test_what_is_not_believed_is_no_estimate_either(tokens: int, kind: bytes) -> None:
    usage = {"prompt_tokens": tokens, "completion_tokens": 1}
    told = chunk({"content": "four" * 10}, usage=usage)
    counter = watching([events(told) if kind == SSE else json.dumps(told).encode()], kind)
    assert counter.finish() is None
    assert counter.estimate() == 110
    assert counter.counts == (("input", 100), ("output", 10))


def test_an_estimate_is_bounded_like_a_count() -> None:
    """However much an upstream says."""
    counter = Llm(50)
    counter.start(200, [(b"content-type", SSE)])
    counter.feed(events(chunk({"content": "word" * 1000})))
    assert (counter.finish(), counter.estimate()) == (None, 50)


def test_nothing_seen_is_the_prompt_alone() -> None:
    counter = watching([], JSON)
    assert counter.finish() is None
    assert counter.estimate() == 100
    assert dict(counter.counts) == {"input": 100}


def padded(before: int, after: dict[str, Any]) -> bytes:
    """A JSON body whose usage stands behind so many bytes."""
    return json.dumps({"data": "x" * before, "usage": CHAT_USAGE, **after}).encode()


def test_usage_at_the_end_of_a_body_too_long_to_keep() -> None:
    """Pictures and embeddings are long; look-alikes that are nested deeper are not taken for it."""
    body = padded(BODY_MAX, {"model": "x", "more": {"usage": {"prompt_tokens": 1, "completion_tokens": 1}}})
    counter = watching([body[at : at + 65536] for at in range(0, len(body), 65536)], JSON)
    assert counter.finish() == 29
    nested = json.dumps({"data": "x" * BODY_MAX, "more": {"usage": CHAT_USAGE}}).encode()
    assert watching([nested], JSON).finish() is None


def test_usage_at_the_end_of_an_event_too_long_to_keep() -> None:
    """The last event of a response repeats all that was said."""
    long = {**RESPONSE, "output": [{"type": "message", "text": "y" * 3 * EVENT_MAX}]}
    moved = {name: value for name, value in long.items() if name not in ("usage", "user", "metadata")}
    moved |= {"usage": RESPONSE["usage"], "user": None, "metadata": {"usage": '"usage": {"input_tokens": 0}'}}
    body = events({"type": "response.completed", "response": moved}, named=True)
    counter = watching([body[at : at + 16384] for at in range(0, len(body), 16384)])
    assert counter.finish() == sum(RESPONSE_UNITS.values())
    assert dict(counter.counts) == RESPONSE_UNITS


@pytest.mark.parametrize(
    "piece",
    [
        b"x" * 65536,
        b"\n",
        b'"usage":{' * 7000,
        b"data: " + b"x" * 65000 + b"\n\n",
        b'data: {"usage":{"a":1}}\n\n' * 900,
    ],
    ids=["no end", "ends alone", "usage without end", "long events", "usage everywhere"],
)
@pytest.mark.parametrize("kind", [SSE, JSON])
def test_memory_is_bounded_whatever_comes(piece: bytes, kind: bytes) -> None:
    counter = watching([], kind)
    rounds = 64 * 1024 * 1024 // max(len(piece), 4096)
    tracemalloc.start()
    try:
        for _ in range(rounds):
            counter.feed(piece)
        kept = tracemalloc.get_traced_memory()[0]
        counter.finish()
    finally:
        tracemalloc.stop()
    assert kept < (1.2 * EVENT_MAX if kind == SSE else 1.1 * BODY_MAX)


def test_a_stream_that_unfolds_without_end_is_bounded() -> None:
    packer = zlib.compressobj(wbits=31)
    bomb = packer.compress(b"data: " + b"x" * 64 * 1024 * 1024) + packer.flush()
    counter = watching([], SSE, 200, (b"content-encoding", b"gzip"))
    tracemalloc.start()
    try:
        counter.feed(bomb)
        assert tracemalloc.get_traced_memory()[1] < 4 * EVENT_MAX
    finally:
        tracemalloc.stop()
    assert counter.finish() is None
