"""Counters that never look into the content of a call."""

import pytest

from metergate import meters
from metergate.core.policy import Meter
from metergate.testing.clock import FakeClock


def counter(count: str, **options: str) -> meters.Counter:
    made = meters.new(Meter("m", count, **options), FakeClock())  # type: ignore[arg-type]  # options by name
    assert made is not None
    return made


@pytest.mark.parametrize("count", ["calls", "app"])
def test_nothing_is_counted_where_the_units_are_known_before(count: str) -> None:
    assert meters.new(Meter("m", count), FakeClock()) is None


@pytest.mark.parametrize(
    ("of", "units", "wants_request"), [("response", 7, False), ("request", 5, True), ("both", 12, True)]
)
def test_bytes_are_those_of_the_bodies_asked_for(of: str, units: int, wants_request: bool) -> None:
    counted = counter("bytes", of=of)
    assert counted.wants_request is wants_request
    counted.request(b"12")
    counted.request(b"345")
    counted.start(200, [(b"content-type", b"text/plain")])
    counted.feed(b"1234")
    counted.feed(b"")
    counted.feed(b"567")
    assert counted.finish() == units


def test_an_empty_body_is_an_explicit_zero() -> None:
    counted = counter("bytes")
    counted.start(204, [])
    assert counted.finish() == 0


@pytest.mark.parametrize(
    ("passed_us", "seconds"),
    [(0, 1), (1, 1), (1_000_000, 1), (1_000_001, 2), (59_999_999, 60), (-5_000_000, 1)],
)
def test_a_begun_second_counts_and_one_is_the_least(passed_us: int, seconds: int) -> None:
    clock = FakeClock()
    counted = meters.new(Meter("m", "seconds"), clock)
    assert counted is not None
    clock.now_us += passed_us
    assert counted.finish() == seconds


def test_a_response_is_one_message() -> None:
    counted = counter("messages")
    counted.start(200, [])
    counted.feed(b"a")
    counted.feed(b"b")
    assert counted.finish() == 1


def test_messages_of_a_websocket_are_counted_one_by_one() -> None:
    counted = counter("messages")
    counted.start(101, [])
    for _ in range(3):
        counted.feed(b"x")
        counted.message()
    assert counted.finish() == 3
    assert counter("messages").finish() == 0


@pytest.mark.parametrize(
    ("value", "units"),
    [
        (b"12", 12),
        (b" 12\t", 12),
        (b"0", 0),
        (b"9007199254740991", 2**53 - 1),
        (b"9007199254740992", None),
        (b"", None),
        (b"-1", None),
        (b"+1", None),
        (b"3.0", None),
        (b"1e3", None),
        (b"1_000", None),
        (b"1,000", None),
        (b"12a", None),
        (b"NaN", None),
        (b"true", None),
        ("١٢".encode(), None),
        (b"\xb2", None),
    ],
)
def test_a_header_counts_when_it_is_a_whole_number(value: bytes, units: int | None) -> None:
    counted = counter("header", header="X-Rows")
    counted.start(200, [(b"x-other", b"9"), (b"x-rows", value)])
    assert counted.finish() == units


@pytest.mark.parametrize(
    ("headers", "units"),
    [
        ([], None),
        ([(b"x-rows", b"4"), (b"x-rows", b"4")], 4),
        ([(b"x-rows", b"4"), (b"X-Rows", b"5")], None),
        ([(b"x-rows", b"4"), (b"x-rows", b"")], None),
    ],
)
def test_headers_that_are_missing_or_disagree_say_nothing(
    headers: list[tuple[bytes, bytes]], units: int | None
) -> None:
    counted = counter("header", header="x-rows")
    counted.start(200, headers)
    assert counted.finish() == units


def test_a_call_without_a_response_has_no_header() -> None:
    assert counter("header", header="x-rows").finish() is None


def test_a_third_party_brings_its_own_counter() -> None:
    class Words(meters.Counter):
        words = 0

        def feed(self, chunk: bytes) -> None:
            self.words += len(chunk.split())

        def finish(self) -> int:
            return self.words

    made = meters.new(Meter("m", "words"), FakeClock(), {"words": lambda meter, clock: Words()})
    assert made is not None
    made.request(b"not these")
    made.start(200, [])
    made.message()
    made.feed(b"but these three")
    assert made.finish() == 3


def test_a_counter_must_come_to_an_end() -> None:
    with pytest.raises(NotImplementedError, match=r"Give Counter a finish\(\)"):
        meters.Counter().finish()


def test_a_count_that_nobody_brings_is_named_with_those_there_are() -> None:
    meter = Meter("m", "wrods")
    sentence = (
        "The meter m counts 'wrods': use app, bytes, calls, cost, header, json, llm, mcp, messages, "
        "regex, seconds, "
        "or install metergate_wrods."
    )
    assert meters.problem(meter) == sentence
    with pytest.raises(ValueError, match="The meter m counts 'wrods'"):
        meters.new(meter, FakeClock())


@pytest.mark.parametrize(
    ("meter", "found"),
    [
        (Meter("m", "calls"), None),
        (Meter("m", "bytes", of="both"), None),
        (Meter("m", "words"), None),
        (Meter("m", "header", header="x-rows"), None),
        (Meter("m", "header"), "Name the response header that the meter m reads with header:."),
        (Meter("m", "header", header="x-ü"), "Name the response header that the meter m reads with header:."),
        (Meter("m", "json", path="$.a"), None),
        (
            Meter("m", "json", path="$.a", of="both"),
            "Let the meter m read the request or the response, not both.",
        ),
        (Meter("m", "json"), "Write a path such as $.usage.total, $.rows[0].size or $['a b'], not ''."),
    ],
)
def test_what_a_meter_lacks_is_one_sentence(meter: Meter, found: str | None) -> None:
    assert meters.problem(meter, {"words": lambda meter, clock: None}) == found
