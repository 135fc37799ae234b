"""A stream is asked for its usage, and a client that did not ask never sees it."""

import json
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate import meters
from metergate.core.policy import Meter, Route
from metergate.meters.include_usage import EVENT_MAX, Hiding
from tests.meters.recorded import ANSWERS, CHAT_USAGE, chunk, events

ROUTE = Route(0, "POST /**", "POST", "/**", meter="tokens")
CHAT = "/v1/chat/completions"
ASKED = {"include_usage": True}


def passed_on(body: bytes, path: str = CHAT, *, ask: bool = True) -> tuple[bytes, bool]:
    found = meters.read(Meter("tokens", "llm", ask_usage=ask), ROUTE, path, body)
    return found.body, found.hides_usage


@pytest.mark.parametrize(
    "body",
    [
        b'{"model":"m","stream":true}',
        b' { "stream" : true, "model" : "m", "temperature": 1.10, "big": 12345678901234567890 }',
        b'{"model":"m","stream":true,"stream_options":{}}',
        b'{"model":"m","stream":true,"stream_options":{"include_usage":false}}',
        b'{"model":"m","stream":true,"stream_options":{"include_obfuscation":false},"x":1.10}',
        b'{"model":"m","stream":true,"stream_options":null,"x":1.10}',
        b'{"model":"m","stream":true,"tools":[{"stream_options":{"a":1}}]}',
        '{"model":"m","stream":true,"text":"\\u00e4 ä \\"stream_options\\"","stream_options" : { }}'.encode(),
    ],
)
def test_the_question_is_written_into_the_request(body: bytes) -> None:
    """And everything else stays as it was written."""
    sent, hides = passed_on(body)
    assert hides
    said, before = json.loads(sent), json.loads(body)
    options = {**(before.get("stream_options") or {}), **ASKED}
    assert said == {**before, "stream_options": options}
    for piece in (b"1.10", b"12345678901234567890", b"\\u00e4"):
        assert (piece in sent) is (piece in body)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b'{"model":"m","stream":true,"stream_options":{"include_usage":true}}', CHAT),
        (b'{"model":"m","stream":false}', CHAT),
        (b'{"model":"m"}', CHAT),
        (b'{"model":"m","stream":"true"}', CHAT),
        (b'{"model":"m","stream":true,"stream_options":7}', CHAT),
        (b'{"model":"m","stream":true,"stream_options":null,"tools":[{"stream_options":{}}]}', CHAT),
        (b'{"model":"m","stream":true}', "/v1/messages"),
        (b'{"model":"m","stream":true}', "/v1/responses"),
        (b'{"contents":[]}', "/v1beta/models/g:streamGenerateContent"),
    ],
)
def test_who_asks_by_himself_or_need_not_ask_is_left_alone(body: bytes, path: str) -> None:
    assert passed_on(body, path) == (body, False)


def test_a_policy_may_forbid_the_question() -> None:
    """For servers that know no such option."""
    body = b'{"model":"m","stream":true}'
    assert passed_on(body, ask=False) == (body, False)


TEXTS = [{"content": "Hel"}, {"content": '"usage": {"a": 1}, "usage":null}'}, {}]
PLAIN = [chunk(text) for text in TEXTS]
ASKED_FOR = [chunk(text, usage=None) for text in TEXTS]
USAGE = chunk(None, usage=CHAT_USAGE)


def shown(pieces: list[bytes]) -> bytes:
    hiding = Hiding()
    return b"".join([hiding.feed(piece) for piece in pieces]) + hiding.end()


@given(st.lists(st.integers(0, 3000), max_size=9), st.sampled_from(["\n\n", "\r\n\r\n", "\r\r"]))
def test_the_client_gets_the_stream_that_it_asked_for(places: list[int], end: str) -> None:
    """To the byte, however the stream is cut into pieces."""
    body = events(*ASKED_FOR, USAGE, "[DONE]", end=end)
    cuts = [0, *sorted(place % len(body) for place in places), len(body)]
    pieces = [body[begin:stop] for begin, stop in pairwise(cuts)]
    assert shown(pieces) == events(*PLAIN, "[DONE]", end=end)


@pytest.mark.parametrize("name", sorted(ANSWERS))
def test_what_is_no_usage_alone_passes_byte_for_byte(name: str) -> None:
    """Usage beside an answer, in another API's form, or in no stream at all."""
    body = ANSWERS[name].body
    if any(word in body for word in (b'"choices":[],"usage"', b'"usage":null')):
        assert len(shown([body])) < len(body)
    else:
        assert shown([body]) == body


@pytest.mark.parametrize(
    "event",
    [
        b'data: {"choices":[{"delta":{}}],"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"choices":[{"usage":null,"x":{"a":1,"usage":null}}],"usage":null,"usage":null}\n\n',
        b'data: {"usage":null}\n\n',
        b'data: {"usage":{"prompt_tokens":1}}\n\n',
        b'data: {"choices":[],"usage":{"prompt_tokens":1}\n\n',
        b'data: {"choices":[],"prompt_filter_results":[]}\n\n',
        b': "usage":{}\n\n',
        b"\n\n",
        b"data: \xff\n\n",
    ],
)
def test_other_events_pass(event: bytes) -> None:
    assert shown([event]) == event
    assert shown([event[:9], event[9:]]) == event


def test_chunks_pass_at_once_and_as_the_same_bytes() -> None:
    """Nothing waits that is whole, and what is too long for a usage does not wait for its end."""
    hiding = Hiding()
    event = events(PLAIN[0])
    assert hiding.feed(event) is event
    assert hiding.feed(event[:-1]) == b""
    assert hiding.feed(event[-1:]) == event
    long = b"data: " + b"x" * EVENT_MAX
    assert hiding.feed(long) == long
    assert hiding.feed(b"y") == b""
    assert hiding.feed(b"\n\n") == b"y\n\n"
    assert hiding.end() == b""


def test_usage_that_lacks_its_last_line_end_is_hidden_too() -> None:
    body = events(PLAIN[0]) + events(USAGE).rstrip()
    assert shown([body]) == events(PLAIN[0])


values: Any = st.recursive(
    st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.dictionaries(st.sampled_from(["usage", "choices", "a"]), inner, max_size=3),
    max_leaves=5,
)


def test_the_empty_usage_of_other_events_is_hidden_too() -> None:
    """Wherever in the event it stands."""
    assert shown([b'data: {"a": 1, "usage": null, "b": 2}\n\n']) == b'data: {"a": 1, "b": 2}\n\n'
    assert shown([b'data: {"a":1,"usage":null}\n\n']) == b'data: {"a":1}\n\n'


@given(st.lists(values, max_size=4))
def test_nothing_but_a_usage_without_choices_is_ever_taken_out(found: list[Any]) -> None:
    kept = [
        value
        for value in found
        if not (
            isinstance(value, dict) and value.get("choices") == [] and isinstance(value.get("usage"), dict)
        )
    ]
    assert shown([events(*[json.dumps(value) for value in found])]) == events(
        *[json.dumps(each) for each in kept]
    )
