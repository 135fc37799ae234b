"""Terms and usage events as bytes.

Terms are encoded once for a caller and a route, then copied into every event of theirs as raw bytes, so a
call pays only for the few fields that are its own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import msgspec

from metergate.core.hold import Terms, TwinFields, UsageEvent

TERMS_REMEMBERED = 4096

Unreadable = msgspec.DecodeError
"""Bytes that are none of ours."""


class _Event(NamedTuple):
    """A usage event whose terms are still bytes."""

    op: str
    request_id: str
    at_us: int
    path: str
    units: int
    dimensions: tuple[tuple[str, str], ...]
    cost: int
    measured: str
    amounts: tuple[int, ...]
    terms: msgspec.Raw
    twin: TwinFields | None = None
    answer: bytes | None = None


_terms = msgspec.msgpack.Decoder(Terms)
_event = msgspec.msgpack.Decoder(_Event)
_events = msgspec.msgpack.Decoder(list[_Event])
_hold = msgspec.msgpack.Decoder(tuple[str, str, Terms, TwinFields | None])
_remembered: dict[bytes, Terms] = {}

encode = msgspec.msgpack.Encoder().encode


def encode_terms(terms: Terms) -> bytes:
    return encode(terms)


def decode_terms(data: bytes) -> Terms:
    """The terms; those of many events are the same bytes, and are read once."""
    terms = _remembered.get(data)
    if terms is None:
        terms = _terms.decode(data)
        if len(_remembered) >= TERMS_REMEMBERED:
            _remembered.clear()
        _remembered[data] = terms
    return terms


def raw_terms(data: bytes) -> Terms:
    """Encoded terms that stand in the place of `Terms` in an event about to be encoded."""
    return msgspec.Raw(data)  # type: ignore[return-value]  # a Raw is written as it is


def encode_event(event: UsageEvent) -> bytes:
    return encode(event)


def decode_event(data: bytes) -> UsageEvent:
    return _whole(_event.decode(data))


def join_events(events: Sequence[bytes]) -> bytes:
    """Encoded events as one array, which costs no more than copying them."""
    return b"\xdd" + len(events).to_bytes(4, "big") + b"".join(events)


def count_events(joined: bytes) -> int:
    return int.from_bytes(joined[1:5], "big")


def decode_events(data: bytes) -> list[UsageEvent]:
    return [_whole(event) for event in _events.decode(data)]


def _whole(event: _Event) -> UsageEvent:
    op, request_id, at_us, path, units, dimensions, cost, measured, amounts, raw, twin, answer = event
    terms = decode_terms(bytes(raw))
    fields = (op, request_id, at_us, path, units, dimensions, cost, measured, amounts, terms, twin, answer)
    return tuple.__new__(UsageEvent, fields)  # a third of the price of UsageEvent(…), paid for every call


def encode_hold(op: str, request_id: str, terms: bytes, twin: TwinFields | None) -> bytes:
    return encode((op, request_id, msgspec.Raw(terms), twin))


def decode_hold(data: bytes) -> tuple[str, str, Terms, TwinFields | None]:
    return _hold.decode(data)
