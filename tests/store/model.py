"""A counter store as plainly as it can be written: dictionaries, and the functions of the core.

What it leaves out (keys, twins, a journal) the other tests of the store cover.
"""

from dataclasses import dataclass, field

from metergate.core import hold as life
from metergate.core.budget import correct, take
from metergate.core.hold import Event
from metergate.ports import (
    CONFLICT,
    DENIED,
    DONE,
    ENDED,
    FULL,
    GRANTED,
    STALE,
    UNKNOWN,
    Held,
    Hold,
    Settle,
)


@dataclass
class Known:
    """A hold and what has become of it."""

    hold: Hold
    values: tuple[int, ...]
    state: str = life.HELD
    end: Event | None = None
    expires_at_us: int = 0


@dataclass
class Model:
    backlog: int
    budgets: dict[str, int] = field(default_factory=dict)
    generations: dict[str, int] = field(default_factory=dict)
    calls: dict[str, Known] = field(default_factory=dict)
    denied: dict[str, Held] = field(default_factory=dict)
    outbox: list[Event] = field(default_factory=list)

    def hold(self, hold: Hold, now_us: int) -> Held:
        if hold.op in self.denied:
            return self.denied[hold.op]
        if known := self.calls.get(hold.op):
            return self._again(known, hold)
        if self.generations.get(hold.account) != hold.generation:
            return Held(STALE)
        if len(self.outbox) >= self.backlog:
            return Held(FULL)
        after = dict(self.budgets)
        for position, draw in enumerate(hold.draws):
            value = after.get(draw.name, 0)
            taken = take(draw, value, now_us)
            if taken is None:
                denied = self.denied[hold.op] = Held(DENIED, position=position, value=value)
                return denied
            after[draw.name] = taken
        self.budgets = after
        values = tuple(after[draw.name] for draw in hold.draws)
        self.calls[hold.op] = Known(hold, values, expires_at_us=hold.expires_at_us)
        return Held(GRANTED, values)

    def _again(self, known: Known, hold: Hold) -> Held:
        if life.after(known.state, "hold") is None:
            return Held(ENDED)
        same = known.hold._replace(expires_at_us=0) == hold._replace(expires_at_us=0)
        return Held(GRANTED, known.values) if same else Held(CONFLICT)

    def dispatch(self, op: str) -> None:
        if (known := self.calls.get(op)) and (state := life.after(known.state, "dispatch")):
            known.state = state

    def settle(self, settle: Settle) -> str:
        answer = self._end(settle.op, "settle", settle.event, settle.amounts)
        if answer == GRANTED:
            self.outbox.append(settle.event)
        return DONE if answer == GRANTED else answer

    def release(self, op: str) -> str:
        answer = self._end(op, "release", None, None)
        return DONE if answer == GRANTED else answer

    def lapse(self, op: str) -> str:
        known = self.calls.get(op)
        if known is None or known.state != life.HELD:
            return UNKNOWN
        del self.calls[op]
        self._correct(known, None)
        return DONE

    def _end(self, op: str, step: str, end: Event | None, amounts: tuple[int, ...] | None) -> str:
        """GRANTED when this is the first end of the call, else the answer to a repetition."""
        known = self.calls.get(op)
        if known is None:
            return CONFLICT if op in self.denied else UNKNOWN
        state = life.after(known.state, step)
        if state is None:
            return CONFLICT
        if state == known.state:
            return DONE if known.end == end else CONFLICT
        known.state, known.end = state, end
        self._correct(known, amounts)
        return GRANTED

    def _correct(self, known: Known, amounts: tuple[int, ...] | None) -> None:
        for position, draw in enumerate(known.hold.draws):
            actual = amounts[position] if amounts else 0
            self.budgets[draw.name] = correct(draw, self.budgets[draw.name], actual)

    def renew(self, op: str, expires_at_us: int) -> str:
        known = self.calls.get(op)
        if known is None or life.after(known.state, "renew") is None:
            return UNKNOWN
        known.expires_at_us = expires_at_us
        return DONE

    @property
    def open(self) -> dict[str, Known]:
        return {op: known for op, known in self.calls.items() if known.state in (life.HELD, life.DISPATCHED)}
