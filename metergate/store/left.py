"""What a journal tells of the calls of a process: what was held, what was served, and how it ended."""

from collections.abc import Collection, Iterable, Sequence
from typing import NamedTuple

from metergate.core.hold import Terms, TwinFields, UsageEvent, stands_until_us, unknown_outcome
from metergate.core.idempotency import Twin
from metergate.ports import Hold
from metergate.store import journal
from metergate.store.journal import Record
from metergate.wire import Unreadable, decode_events, decode_holds, encode_terms

REFUSED, HELD, GOES_ON = b"012"
"""What became of each hold of a batch, where not all of them went on at once."""


class Begun(NamedTuple):
    """A call as it was when its hold was made."""

    request_id: str
    terms: Terms
    twin: TwinFields | None


class Left:
    """Reads records in their order; then it says what is to be done for the calls behind them."""

    def __init__(self, records: Iterable[tuple[int, Record]] = ()) -> None:
        self.unsent: dict[str, Begun] = {}
        """Held, or about to be; never dispatched, so nobody was served."""
        self.running: dict[str, Begun] = {}
        """Dispatched, and no end."""
        self.released: list[str] = []
        self.unreadable: list[bytes] = []
        self._ends: list[tuple[int, list[UsageEvent]]] = []
        self._batches: dict[str, list[str]] = {}
        """The holds that left together, by the first of them."""
        self._posted = 0
        for position, record in records:
            try:
                self._read(position, *record)
            except (*Unreadable, ValueError):
                self.unreadable.append(record.payload)
        self._end()

    def _read(self, position: int, kind: int, payload: bytes) -> None:
        if kind == journal.SETTLED:
            self._ends.append((position, decode_events(payload)))
        elif kind == journal.DISPATCHED:
            self.running.update(self._begun(payload))
        elif kind == journal.INTENDED:
            begun = self._begun(payload)
            self._batches[next(iter(begun))] = list(begun)
            self.unsent.update(begun)
        elif kind == journal.GRANTED:
            self._granted(payload)
        elif kind == journal.SENT:
            self._send(payload.decode())
        elif kind == journal.POSTED:
            self._posted = int.from_bytes(payload, "little")
        else:
            self.released += payload.decode().split("\n")

    def _begun(self, payload: bytes) -> dict[str, Begun]:
        return {op: Begun(request_id, terms, twin) for op, request_id, terms, twin in decode_holds(payload)}

    def _granted(self, payload: bytes) -> None:
        first, _, became = payload.partition(b"\n")
        ops = self._batches.get(first.decode(), [])
        for op, how in zip(ops, became or bytes([GOES_ON]) * len(ops), strict=True):
            if how == GOES_ON:
                self._send(op)
            elif how == REFUSED:
                self.unsent.pop(op, None)

    def _send(self, op: str) -> None:
        begun = self.unsent.pop(op, None)
        if begun is not None:
            self.running[op] = begun

    def _end(self) -> None:
        """What has ended does not run, whatever was written of it later."""
        ended = [event.op for _, events in self._ends for event in events]
        for op in (*ended, *self.released):
            self.unsent.pop(op, None)
            self.running.pop(op, None)
        for op in self.running:
            self.unsent.pop(op, None)

    def done(self, *, since_posted: bool = True, without: Collection[int] = ()) -> list[UsageEvent]:
        """How calls ended, as far as the ledger is not known to have it; `without` names records."""
        since = self._posted if since_posted else 0
        return [event for at, events in self._ends if at >= since and at not in without for event in events]

    def standing(self, now_us: int) -> list[Hold]:
        """Holds of calls that somebody else serves, and whose time is not over."""
        return [_hold(op, *begun) for op, begun in self.running.items() if stands_until_us(op) > now_us]

    def served_by_its_process(self, until_us: int) -> list[Hold]:
        """What the calls that run have set aside; where nobody renews it, it lapses and charges nobody."""
        return [
            _hold(op, *begun)._replace(expires_at_us=until_us, dispatched=False)
            for op, begun in self.running.items()
            if not stands_until_us(op)
        ]

    def unknown(self, now_us: int) -> list[UsageEvent]:
        """The calls that were dispatched and whose end nobody will ever tell."""
        return [
            unknown_outcome(op, *begun, now_us)
            for op, begun in self.running.items()
            if stands_until_us(op) <= now_us
        ]

    def cut_off(self, now_us: int) -> list[UsageEvent]:
        """Those of them that its process served itself; the others a shared store ends at their time."""
        return [event for event in self.unknown(now_us) if not stands_until_us(event.op)]

    def to_release(self) -> Sequence[str]:
        return [*self.unsent, *self.released]


def _hold(op: str, request_id: str, terms: Terms, fields: TwinFields | None) -> Hold:
    twin = Twin(*fields) if fields else None
    until_us, told = stands_until_us(op), encode_terms(terms)
    return Hold(op, terms.account, 0, terms.draws, until_us, told, request_id, twin, True)
