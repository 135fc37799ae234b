"""Calls that arrive in one turn of the event loop, admitted together.

What many do at once costs each of them a fraction: one look at the clock, one record in the journal, one
round trip to a store behind a network, and steps of code that the processor has just taken.
"""

import asyncio
from collections.abc import Awaitable, Sequence
from typing import TYPE_CHECKING

from metergate.core.policy import Route
from metergate.errors import StoreUnavailable
from metergate.gate.call import Call
from metergate.gate.endings import new_tuple
from metergate.gate.members import Member
from metergate.ports import GRANTED, Held, Hold

if TYPE_CHECKING:
    from metergate.gate.gate import Admitted, RequestGate

AT_ONCE = 64
"""More calls than this are not gathered: their record in the journal would grow long."""

Arrived = tuple[Call, "asyncio.Future[Admitted | Awaitable[Admitted]]"]
"""A call that is not granted yet, and who waits for the verdict."""


class Arrivals:
    def __init__(self, gate: "RequestGate") -> None:
        self._gate = gate
        self._later = gate.loop.call_soon
        self._verdict = gate.loop.create_future
        self._arrived: list[Arrived] = []
        self._since_us = 0
        """When the first of them arrived."""
        self._asking: set[asyncio.Task[None]] = set()

    def admit(
        self, member: Member, route: Route, path: str, now_us: int
    ) -> "asyncio.Future[Admitted | Awaitable[Admitted]] | None":
        """The verdict at the end of this turn, about a call like one that was admitted a moment ago.

        A call that is granted goes on as soon as it may. None where nothing is prepared for it.
        """
        prepared = member.prepared.get(route.index)
        if prepared is None or prepared.valid_until_us <= now_us:
            return None
        gate, arrived = self._gate, self._arrived
        if not arrived:
            self._later(self._ask)
            self._since_us = now_us
        op = gate.request_id()
        verdict = self._verdict()
        arrived.append((Call(gate, member, prepared, op, op, path, (), None, True), verdict))
        if len(arrived) >= AT_ONCE:
            self._ask()
        return verdict

    def _ask(self) -> None:
        arrived, self._arrived = self._arrived, []
        if not arrived:
            return
        now_us, since_us = self._gate.clock(), self._since_us
        try:
            answers = self._gate.store.hold(_holds(arrived, now_us), now_us)
        except StoreUnavailable:
            self._away(arrived)
            return
        if isinstance(answers, Sequence):
            self._judge(arrived, answers, since_us)
        else:
            task = self._gate.loop.create_task(self._judge_later(arrived, answers, since_us))
            self._asking.add(task)
            task.add_done_callback(self._asking.discard)

    async def _judge_later(
        self, arrived: Sequence[Arrived], asked: Awaitable[Sequence[Held]], since_us: int
    ) -> None:
        self._gate.stretches.at_once = False
        try:
            answers = await asked
        except StoreUnavailable:
            for call, _ in arrived:
                self._gate.endings.release(call.op)  # it may have been granted all the same
            self._away(arrived)
        else:
            self._judge(arrived, answers, since_us)

    def _judge(self, arrived: Sequence[Arrived], answers: Sequence[Held], since_us: int) -> None:
        gate = self._gate
        granted = len(arrived)
        dress, live, watched = gate.dress, gate.live, gate.watch.watchers
        for (call, verdict), held in zip(arrived, answers, strict=True):
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

    def _away(self, arrived: Sequence[Arrived]) -> None:
        for call, verdict in arrived:
            _tell(verdict, self._gate.unavailable(call))


def _holds(arrived: Sequence[Arrived], now_us: int) -> list[Hold]:
    holds: list[Hold] = []
    for call, _ in arrived:
        prepared, op = call.prepared, call.op
        until_us = now_us + prepared.route.hold_for_us
        generation = call.member.caller.generation
        fields = (op, prepared.account, generation, prepared.draws, until_us, prepared.terms, op, None, True)
        holds.append(new_tuple(Hold, fields))
    return holds


def _tell(
    verdict: "asyncio.Future[Admitted | Awaitable[Admitted]]", admitted: "Admitted | Awaitable[Admitted]"
) -> None:
    if not verdict.done():
        verdict.set_result(admitted)
