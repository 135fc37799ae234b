"""Calls that arrive in one turn of the event loop, admitted together.

What many do at once costs each of them a fraction: one look at the clock, one record in the journal, one
round trip to a store behind a network, and steps of code that the processor has just taken.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

from metergate.errors import StoreUnavailable
from metergate.gate.call import Call
from metergate.gate.endings import new_tuple
from metergate.gate.routes import MeteredCall
from metergate.ports import GRANTED, Held, Hold

if TYPE_CHECKING:
    from metergate.gate.gate import Admitted, RequestGate

    Verdict: TypeAlias = "asyncio.Future[Admitted | Awaitable[Admitted] | None]"

AT_ONCE = 64
"""More calls than this are not gathered: their record in the journal would grow long."""

Headers = Sequence[tuple[bytes, bytes]]
Arrived = tuple[MeteredCall, Headers, "Verdict"]
Asking = tuple[Call, "Verdict"]
"""A call that is not granted yet, and who waits for the verdict."""


class Arrivals:
    def __init__(self, gate: "RequestGate") -> None:
        self._gate = gate
        self._later = gate.loop.call_soon
        self._verdict = gate.loop.create_future
        self._arrived: list[Arrived] = []
        self._since_us = 0
        """When the first of them arrived."""
        self._asking: set[asyncio.Future[Sequence[Held]]] = set()

    def admit(self, found: MeteredCall, headers: Headers) -> "Verdict":
        """The verdict at the end of this turn; None about a request that needs a closer look.

        A call like one that was admitted a moment ago goes on as soon as it is granted.
        """
        arrived = self._arrived
        if not arrived:
            self._later(self._ask)
            self._since_us = self._gate.clock()
        verdict = self._verdict()
        arrived.append((found, headers, verdict))
        if len(arrived) >= AT_ONCE:
            self._ask()
        return verdict

    def _ask(self) -> None:
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        asking: list[Asking] = []
        try:
            self._hold(arrived, asking)
        except StoreUnavailable:
            self._away(asking)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._fail(asking, error)
            for _, _, verdict in arrived:
                _raise(verdict, error)

    def _hold(self, arrived: Sequence[Arrived], asking: list[Asking]) -> None:
        now_us, since_us = self._gate.clock(), self._since_us
        holds = self._known(arrived, asking, now_us)
        if not holds:
            return
        answers = self._gate.store.hold(holds, now_us)
        if isinstance(answers, Sequence):
            self._judge(asking, answers, since_us)
        else:
            # A store that answers with a future needs no task to go on.
            asked = asyncio.ensure_future(answers)
            self._asking.add(asked)
            asked.add_done_callback(partial(self._judge_later, asking, since_us))

    def _known(self, arrived: Sequence[Arrived], asking: list[Asking], now_us: int) -> list[Hold]:
        """Note the calls whose caller is known and for which everything is prepared; what they hold."""
        gate, who, request_id = self._gate, self._gate.who, self._gate.request_id
        holds: list[Hold] = []
        for (route, path), headers, verdict in arrived:
            member = who(headers)
            prepared = member.prepared.get(route.index)
            if prepared is None or prepared.valid_until_us <= now_us or member.fresh_until_us <= now_us:
                _tell(verdict, None)
                continue
            op = request_id()
            asking.append((Call(gate, member, prepared, op, op, path, (), None, True), verdict))
            until_us = now_us + route.hold_for_us
            generation = member.caller.generation
            fields = (
                op,
                prepared.account,
                generation,
                prepared.draws,
                until_us,
                prepared.terms,
                op,
                None,
                True,
            )
            holds.append(new_tuple(Hold, fields))
        return holds

    def _judge_later(
        self, asking: Sequence[Asking], since_us: int, asked: "asyncio.Future[Sequence[Held]]"
    ) -> None:
        self._asking.discard(asked)
        if asked.cancelled():
            return
        try:
            answers = asked.result()
        except StoreUnavailable:
            for call, _ in asking:
                self._gate.endings.release(call.op)  # it may have been granted all the same
            self._away(asking)
        except Exception as error:  # noqa: BLE001 - whatever it is, those who wait must hear of it
            self._fail(asking, error)
        else:
            self._judge_or_fail(asking, answers, since_us)

    def _judge_or_fail(self, asking: Sequence[Asking], answers: Sequence[Held], since_us: int) -> None:
        try:
            self._judge(asking, answers, since_us)
        except Exception as error:  # noqa: BLE001 - the same
            self._fail(asking, error)

    def _judge(self, asking: Sequence[Asking], answers: Sequence[Held], since_us: int) -> None:
        gate = self._gate
        granted = len(asking)
        dress, live, watched = gate.dress, gate.live, gate.watch.watchers
        for (call, verdict), held in zip(asking, answers, strict=True):
            if held.status != GRANTED:
                _tell(verdict, gate.judge(call, held))
                granted -= 1
                continue
            call.values = held.values
            live[call.op] = call
            if watched or call.prepared.races:
                gate.entered(call)
            if verdict.done():
                call.release()  # who asked has left
                continue
            call.headers = dress(call)
            verdict.set_result(call)
        gate.watch.turn(granted, since_us)

    def _fail(self, asking: Sequence[Asking], error: Exception) -> None:
        """A mistake, ours or the shell's: nobody waits for ever, and nobody who was held for pays."""
        for call, verdict in asking:
            if not verdict.done():
                if call.op in self._gate.live:
                    call.release()
                else:
                    self._gate.endings.release(call.op)
                verdict.set_exception(error)

    def _away(self, asking: Sequence[Asking]) -> None:
        for call, verdict in asking:
            _tell(verdict, self._gate.unavailable(call))


def _raise(verdict: "Verdict", error: Exception) -> None:
    if not verdict.done():
        verdict.set_exception(error)


def _tell(verdict: "Verdict", admitted: "Admitted | Awaitable[Admitted] | None") -> None:
    if not verdict.done():
        verdict.set_result(admitted)
