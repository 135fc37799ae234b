"""Terms, outcomes and usage events as bytes.

What a call came to is mostly what the call before it came to. It is encoded once for a caller and a route,
and stands once in a batch of events, so that a call pays only for the few fields that are its own.
"""

from collections.abc import Sequence
from functools import partial
from typing import TypeVar

import msgspec

from metergate.core.batch import Batch
from metergate.core.hold import Event, Outcome, Terms, TwinFields, UsageEvent

T = TypeVar("T")

REMEMBERED = 4096

ONE = (1).to_bytes(4, "big")
"""How a single event begins."""

Unreadable = (msgspec.DecodeError, UnicodeDecodeError)
"""What is raised for bytes that are none of ours; texts that are no UTF-8 have an exception of their own."""
MISFIT = "The columns of a batch do not fit together."

_Columns = tuple[
    list[bytes],
    list[int],
    list[str],
    list[str],
    list[int],
    list[str],
    list[TwinFields | None],
    list[bytes | None],
]
"""The different outcomes of a batch; the place of each event's among them; the other fields of the events."""


_Outcome = tuple[int, tuple[tuple[str, str], ...], int, str, tuple[int, ...], msgspec.Raw]
"""The fields of an outcome, its terms still bytes."""

_terms = msgspec.msgpack.Decoder(Terms)
_outcome = msgspec.msgpack.Decoder(_Outcome)
_columns = msgspec.msgpack.Decoder(_Columns)
_single = msgspec.msgpack.Decoder(Event)
_holds = msgspec.msgpack.Decoder(tuple[list[bytes], list[int], list[str], list[str], list[TwinFields | None]])
_remembered: dict[bytes, Outcome] = {}
_remembered_terms: dict[bytes, Terms] = {}

encode = msgspec.msgpack.Encoder().encode
_event = partial(tuple.__new__, UsageEvent)
"""Makes a `UsageEvent` at a third of the price of `UsageEvent(…)`, paid for every call."""
_made = partial(tuple.__new__, Outcome)


def encode_terms(terms: Terms) -> bytes:
    return encode(terms)


def decode_terms(data: bytes) -> Terms:
    """The terms; those of many calls are the same bytes, are read once and are one object."""
    terms = _remembered_terms.get(data)
    if terms is None:
        terms = _kept(_remembered_terms, data, _terms.decode(data))
    return terms


def raw_terms(data: bytes) -> Terms:
    """Encoded terms that stand in the place of `Terms` in an outcome about to be encoded."""
    return msgspec.Raw(data)  # type: ignore[return-value]  # a Raw is written as it is


def encode_outcome(outcome: Outcome) -> bytes:
    return encode(outcome)


def decode_outcome(data: bytes) -> Outcome:
    """The outcome; as with terms, the same bytes are one object."""
    outcome = _remembered.get(data)
    if outcome is None:
        *own, terms = _outcome.decode(data)
        outcome = _kept(_remembered, data, _made((*own, decode_terms(bytes(terms)))))
    return outcome


def _kept(known: dict[bytes, T], data: bytes, read: T) -> T:
    if len(known) >= REMEMBERED:
        known.clear()
    known[data] = read
    return read


def encode_event(event: UsageEvent) -> Event:
    op, request_id, at_us, path, outcome, twin, answer = event
    return op, request_id, at_us, path, encode_outcome(outcome), twin, answer


def decode_event(event: Event) -> UsageEvent:
    op, request_id, at_us, path, outcome, twin, answer = event
    return UsageEvent(op, request_id, at_us, path, decode_outcome(outcome), twin, answer)


def join_events(events: Sequence[Event]) -> bytes:
    """Events as bytes, column by column: one outcome is written once, and the work per event is done in C.

    A single event is written as it is, which costs a third.
    """
    if len(events) == 1:
        return ONE + encode(events[0])
    ops, request_ids, instants, paths, outcomes, twins, answers = zip(*events, strict=True)
    different, places = _places(outcomes)
    columns = (different, places, ops, request_ids, instants, paths, twins, answers)
    return len(events).to_bytes(4, "big") + encode(columns)


def _places(values: Sequence[bytes]) -> tuple[list[bytes], list[int]]:
    """The different ones among many, and where among them each is."""
    different = list(dict.fromkeys(values))
    if len(different) == 1:
        return different, [0] * len(values)
    places = {value: place for place, value in enumerate(different)}
    return different, [places[value] for value in values]


def count_events(joined: bytes) -> int:
    return int.from_bytes(joined[:4], "big")


def decode_events(joined: bytes) -> list[UsageEvent]:
    if joined.startswith(ONE):
        return [decode_event(_single.decode(joined[4:]))]
    outcomes, places, ops, request_ids, instants, paths, twins, answers = _columns.decode(joined[4:])
    known = [decode_outcome(outcome) for outcome in outcomes]
    try:
        own = [known[place] for place in places]
        return list(map(_event, zip(ops, request_ids, instants, paths, own, twins, answers, strict=True)))
    except (IndexError, ValueError) as error:
        raise msgspec.DecodeError(MISFIT) from error


def gather(joined: bytes, batch: Batch) -> None:
    """Add the same events to a batch, all or none; of many, with hardly a step of Python for each."""
    if joined.startswith(ONE):
        op, request_id, at_us, path, outcome, twin, answer = _single.decode(joined[4:])
        batch.add_event(op, request_id, at_us, path, decode_outcome(outcome), twin, answer)
        return
    outcomes, places, ops, request_ids, instants, paths, twins, _ = _columns.decode(joined[4:])
    if any(twins):
        for event in decode_events(joined):
            batch.add_event(*event)
        return
    if not len(places) == len(ops) == len(request_ids) == len(instants) == len(paths):
        raise msgspec.DecodeError(MISFIT)
    known = [decode_outcome(outcome) for outcome in outcomes]
    try:
        own = known * len(ops) if len(known) == 1 and not any(places) else [known[place] for place in places]
    except IndexError as error:
        raise msgspec.DecodeError(MISFIT) from error
    batch.add(ops, request_ids, instants, paths, own)


def join_holds(
    ops: Sequence[str],
    request_ids: Sequence[str],
    terms: Sequence[bytes],
    twins: Sequence[TwinFields | None],
) -> bytes:
    """Calls that are about to reach the app, column by column as well."""
    different, places = _places(terms)
    return encode((different, places, ops, request_ids, twins))


def decode_holds(joined: bytes) -> list[tuple[str, str, Terms, TwinFields | None]]:
    terms, places, ops, request_ids, twins = _holds.decode(joined)
    known = [decode_terms(each) for each in terms]
    try:
        return list(zip(ops, request_ids, [known[place] for place in places], twins, strict=True))
    except (IndexError, ValueError) as error:
        raise msgspec.DecodeError(MISFIT) from error
