"""Numbers in the text of an answer, costs that an upstream reports, errors of a server of tools."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metergate import meters
from metergate.core.money import COST_MAX
from metergate.core.policy import Meter
from metergate.meters import Counter
from metergate.meters.mcp import Mcp
from metergate.meters.regex import TAIL
from metergate.testing.clock import FakeClock

JSON, SSE, TEXT = b"application/json", b"text/event-stream", b"text/plain"


def watching(meter: Meter, body: bytes, kind: bytes = JSON, *more: tuple[bytes, bytes]) -> Counter:
    counter = meters.new(meter, FakeClock())
    assert counter is not None
    counter.start(200, [(b"content-type", kind), *more])
    for at in range(0, len(body), 1000):
        counter.feed(body[at : at + 1000])
    return counter


@pytest.mark.parametrize(
    ("pattern", "text", "units"),
    [
        (r"total=([0-9]+)", b"total=5 and total=12.", 12),
        (r"[0-9]+", b"5 then 12", 12),
        (r"[0-9]{1,9}", b"12" + b"x" * (TAIL - 1), None),
        (r"[0-9]{1,9}", b"x" * TAIL + b"12" + b"x" * (TAIL - 1), None),
        (r"[0-9]{1,9}", b"12" + b"x" * (TAIL - 2), 12),
        (r"total=([0-9]+)", b"x" * 300_000 + b"total=7", 7),
        (r"total=([0-9]+)", b"total=7" + b"x" * TAIL, None),
        (r"total=([0-9]+)", b"none", None),
        (r"total=([0-9]*)", b"total=", None),
        (r"total=(.+)", b"total=-5", None),
        (r"total=(.+)", b"total=1.5", None),
        (r"total=(x)?", b"total=", None),
        (r"([0-9]+)", b"9" * 30, None),
        (r"n=([0-9]+)", b"n=51", None),
        (r"Stücke: ([0-9]+)", "Stücke: 7".encode(), 7),
    ],
)
def test_the_last_match_near_the_end_of_a_text_counts(pattern: str, text: bytes, units: int | None) -> None:
    assert watching(Meter("m", "regex", pattern=pattern, max_units=50), text, TEXT).finish() == units


def reported(body: bytes, kind: bytes = JSON, most: int = 0, path: str = "$.usage.cost") -> int | None:
    return watching(Meter("m", "cost", path=path, max_units=most), body, kind).finish()


@pytest.mark.parametrize(
    ("number", "nanos"),
    [
        (b"0.00014", 140_000),
        (b"1.4e-4", 140_000),
        (b"0", 0),
        (b"0.0", 0),
        (b"-0.0", 0),
        (b"5", 5 * 10**9),
        (b"0.1", 10**8),
        (b"0.0000000005", 1),
        (b"0.0000000004", 0),
        (b"1e-400", 0),
        (b"1000000", COST_MAX),
        (b"1000000.000000001", None),
        (b"1e400", None),
        (b"1e999999999", None),
        (b"-0.1", None),
        (b"NaN", None),
        (b"Infinity", None),
        (b"-Infinity", None),
        (b'"0.1"', None),
        (b"true", None),
        (b"null", None),
        (b"[0.1]", None),
        (b"{}", None),
        (b"0." + b"1" * 60, None),
    ],
)
def test_a_reported_cost_is_an_exact_amount_or_none(number: bytes, nanos: int | None) -> None:
    """To the nano, half up, without a float in between."""
    assert reported(b'{"usage": {"cost": %s}}' % number) == nanos


def test_a_reported_cost_above_what_the_policy_believes_is_none() -> None:
    assert reported(b'{"usage": {"cost": 5.00}}', most=5 * 10**9) == 5 * 10**9
    assert reported(b'{"usage": {"cost": 5.01}}', most=5 * 10**9) is None


def test_a_cost_that_stands_twice_is_none() -> None:
    assert reported(b'{"usage": {"cost": 1, "cost": 2}}') is None
    assert reported(b'{"usage": {"cost": 1}, "usage": {"cost": 2}}') is None


def test_the_cost_of_a_stream_stands_in_its_last_event_that_has_one() -> None:
    body = b'data: {"usage":{"cost":1}}\n\ndata: {"usage":{"cost":0.25}}\n\ndata: [DONE]\n\n'
    assert reported(body, SSE) == 250_000_000
    assert reported(b"data: [DONE]\n\n", SSE) is None


def test_a_number_of_a_stream_does_too() -> None:
    body = b'data: {"rows":3}\n\ndata: {"rows":7}\n\ndata: {"end":true}\n\n'
    assert watching(Meter("m", "json", path="$.rows"), body, SSE).finish() == 7


@pytest.mark.parametrize(
    ("value", "nanos"),
    [(b"0.00014", 140_000), (b" 1e-3 ", 10**6), (b"-1", None), (b"NaN", None), (b"", None)],
)
def test_a_cost_in_a_header(value: bytes, nanos: int | None) -> None:
    meter = Meter("m", "cost", header="x-litellm-response-cost")
    assert watching(meter, b"", JSON, (b"x-litellm-response-cost", value)).finish() == nanos
    assert watching(meter, b"", JSON).finish() is None


@given(st.decimals(0, 10**5, allow_nan=False, allow_infinity=False, places=9))
def test_any_amount_of_whole_nanos_is_taken_exactly(amount: Decimal) -> None:
    assert reported(b'{"usage":{"cost":%s}}' % str(amount).encode()) == int(amount.scaleb(9))


def test_a_count_above_what_the_policy_believes_is_none() -> None:
    body = json.dumps({"rows": 11}).encode()
    assert watching(Meter("m", "json", path="$.rows", max_units=11), body).finish() == 11
    assert watching(Meter("m", "json", path="$.rows", max_units=10), body).finish() is None
    header = (b"x-rows", b"11")
    assert watching(Meter("m", "header", header="x-rows", max_units=10), b"", JSON, header).finish() is None


@pytest.mark.parametrize(
    ("body", "kind", "failed"),
    [
        (b'{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"Unknown tool"}}', JSON, True),
        (b'event: message\ndata: {"jsonrpc":"2.0","id":1,"error":{"code":-32602}}\n\n', SSE, True),
        (
            b'{"jsonrpc":"2.0","id":1,"result":{"isError":true,"content":[{"text":"\\"error\\":{}"}]}}',
            JSON,
            False,
        ),
        (
            b'data: {"jsonrpc":"2.0","id":1,"result":{"structuredContent":{"error":{"code":1}}}}\n\n',
            SSE,
            False,
        ),
        (b'data: {"jsonrpc":"2.0","method":"notifications/progress"}\n\n', SSE, False),
        (b"", JSON, False),
    ],
)
def test_what_a_server_of_tools_could_not_do_is_told_apart(body: bytes, kind: bytes, failed: bool) -> None:
    """An error of the protocol, and not one that a tool came back with."""
    counter = Mcp()
    counter.start(200, [(b"content-type", kind)])
    counter.feed(body)
    assert counter.finish() == 1
    assert counter.failed is failed
