"""An admitted call, from its hold to its end."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING

import msgspec

from metergate.core import decide
from metergate.core.asked import Dimensions
from metergate.core.budget import actual_amounts
from metergate.core.hold import Outcome
from metergate.core.idempotency import Twin
from metergate.core.kinds import Counts
from metergate.core.money import MoneyError
from metergate.core.policy import Route
from metergate.core.refusal import Refusal
from metergate.gate.members import Member
from metergate.gate.prepared import Prepared
from metergate.ports import Hold
from metergate.wire import encode_outcome

if TYPE_CHECKING:
    from metergate.gate.gate import RequestGate


class Visit:
    """A request that passes without a hold of its own. What the app charges inside it ends with it."""

    __slots__ = ("charges", "ended", "gate", "member", "path", "refused", "request_id", "route")

    def __init__(self, gate: "RequestGate", member: Member, route: Route, path: str, request_id: str) -> None:
        gate.watch.passed += 1
        self.gate = gate
        self.member = member
        self.route = route
        self.path = path
        self.request_id = request_id
        self.ended = False
        self.charges: Sequence[Call] = ()
        self.refused: Refusal | None = None
        """What the app was told inside it, if it was."""

    def settle(self) -> None:
        self.ended = True
        for charge in self.charges:
            charge.settle()

    def release(self) -> None:
        self.ended = True
        for charge in self.charges:
            charge.release()


class Call(msgspec.Struct, eq=False, gc=False):
    """One hold. Once it was granted it ends once: settled or released.

    A struct, because one is made for every call: it costs a third of an object with an `__init__`, and the
    garbage collector does not look at it. Nothing that a call holds leads back to it once it has ended.
    """

    gate: "RequestGate"
    member: Member
    prepared: Prepared
    op: str
    request_id: str
    path: str
    values: tuple[int, ...]
    twin: Twin | None = None
    told: bool = False
    """Whether the store knows already that the call goes on."""
    shadow: Refusal | None = None
    """Why the call would have been refused, had shadow mode not let it through."""
    at_us: int = 0
    """When it happened, where that is not now."""
    headers: Sequence[tuple[bytes, bytes]] | None = None
    """What the shell adds to the answer, where it was known at once."""
    answer: bytes | None = None
    """What a twin of this call will be answered with."""
    ended: bool = False
    charges: Sequence["Call"] = ()
    refused: Refusal | None = None
    """What the app was told inside the call, if it was."""

    @property
    def route(self) -> Route:
        return self.prepared.route

    @property
    def hold_for_us(self) -> int:
        return self.prepared.route.hold_for_us

    @property
    def cost(self) -> int:
        """What is set aside; the exact cost where it is known before the call."""
        return self.prepared.offer.cost

    def as_hold(self, now_us: int) -> Hold:
        """What is set aside for it, for a store that has lost it."""
        prepared = self.prepared
        return Hold(
            self.op,
            prepared.account,
            self.member.caller.generation,
            prepared.draws,
            now_us + self.hold_for_us,
            prepared.terms,
            self.request_id,
            self.twin,
            self.told,
        )

    def dispatched(self) -> None:
        """The call is about to reach the app or the upstream."""
        if not self.told:
            self.gate.store.dispatch(self.op)
            self.told = True

    def settle_expected(self) -> None:
        """End the call with what was expected of it. Most calls end here, hence the short way."""
        prepared = self.prepared
        if prepared.plain and self.shadow is None and not self.charges and not self.ended:
            self.ended = True
            self.gate.endings.settle(self, prepared.as_held, prepared.expected)
        else:
            self.settle()

    def settle(
        self,
        units: int | None = None,
        *,
        measured: str = "measured",
        dimensions: Dimensions = (),
        counts: Counts = (),
    ) -> None:
        """End the call with what it used; None is what was expected. `counts` are the units by kind."""
        if self.ended:
            return
        if self.shadow is not None:
            self.settle_cost(units or 0, 0, measured)
            return
        self.ended = True
        prepared = self.prepared
        if units is None and prepared.expected and measured == "measured" and not dimensions:
            self._tell(prepared.as_held, prepared.expected)
            self._settle_charges()
        else:
            self._settle_as(units, measured, dimensions, counts)

    def _settle_charges(self) -> None:
        for charge in self.charges:
            charge.settle()

    def _settle_as(self, units: int | None, measured: str, dimensions: Dimensions, counts: Counts) -> None:
        prepared = self.prepared
        offer = prepared.offer
        counted = offer.units if units is None else units
        if units is None or (prepared.exact and counted == offer.units):
            described = dimensions or prepared.described(counts or prepared.counts)
            self._post(counted, offer.cost, prepared.amounts, measured, described)
            self._settle_charges()
        else:
            priced = partial(self._settle_behind, counted, measured, dimensions, counts)
            self.gate.stretches.place(prepared, priced)

    def _settle_behind(
        self, units: int, measured: str, dimensions: Dimensions, counts: Counts, settled: int | None
    ) -> None:
        """End the call behind what its period has settled; None is behind what it was admitted behind."""
        prepared = self.prepared
        try:
            before = self.admitted_behind() if settled is None else settled
            cost, amounts = decide.settled(prepared.offer, units, before, counts)
        except MoneyError:  # a count beyond all money is nonsense, as good as none
            self.ended = False
            self.end_unmeasured(self.route.on_missing_usage, "missing")
        else:
            self._post(units, cost, amounts, measured, dimensions or prepared.described(counts))
            self._settle_charges()

    def settle_cost(self, units: int, cost: int, measured: str) -> None:
        """End the call with a cost that is known already."""
        if self.ended:
            return
        self.ended = True
        amounts = actual_amounts(self.prepared.draws, units, cost)
        self._post(units, cost, amounts, measured, ())
        self._settle_charges()

    def release(self) -> None:
        """End the call as if it had never been: nothing is charged."""
        if self.ended:
            return
        self.ended = True
        self.gate.stretches.left(self.prepared, 0)
        self.gate.release(self.op)
        for charge in self.charges:
            charge.release()

    def end_unmeasured(self, policy: str, measured: str) -> None:
        """End the call by a policy that says what unmeasured usage costs; the dearest is what was held."""
        terms = self.prepared.offer.terms
        if policy == "release":
            self.release()
        elif policy == "minimum":
            self.settle_cost(terms.unknown_units, terms.unknown_cost, measured)
        else:
            self.settle(measured="held")

    def admitted_behind(self) -> int:
        """What the period had counted before this call was admitted."""
        tally = self.prepared.offer.tally
        return self.values[tally] - self.prepared.draws[tally].amount if tally >= 0 else 0

    def _post(
        self,
        units: int,
        cost: int,
        amounts: tuple[int, ...],
        measured: str,
        dimensions: Dimensions,
    ) -> None:
        prepared = self.prepared
        shown = measured if self.shadow is None else "shadow"
        kinds = dimensions or prepared.dimensions
        outcome = encode_outcome(Outcome(units, kinds, cost, shown, amounts, prepared.raw))
        self._tell(prepared.as_held if amounts is prepared.amounts else amounts, outcome)

    def _tell(self, amounts: tuple[int, ...] | None, outcome: bytes) -> None:
        gate, prepared = self.gate, self.prepared
        gate.endings.settle(self, amounts, outcome)
        if prepared.races:
            gate.stretches.left(prepared, (amounts or prepared.amounts)[prepared.offer.tally])


class Reserve(Call, gc=False):
    """A hold that only makes sure that a running call can be paid; what that costs is its own to settle."""

    def settle(
        self,
        units: int | None = None,
        *,
        measured: str = "measured",
        dimensions: Dimensions = (),
        counts: Counts = (),
    ) -> None:
        """The call has ended: what it cost is told to the store before this is given back."""
        self.gate.endings.send()
        self.release()
