"""What a meter costs an account: the plan's allowance first, then a price.

Where the cost depends on how much of the period is used already, it is constant inside a stretch of the
period's quantity. A hold carries the bounds of its stretch; when the store finds the quantity outside of
them, the gate decides again from the value the store named. A call that is measured is priced at its end,
from what has been settled by then, so concurrent calls are never mispriced.
"""

from typing import NamedTuple

from metergate.core.budget import UNBOUNDED
from metergate.core.kinds import Counts, total
from metergate.core.money import MoneyError
from metergate.core.policy import Included, Plan, Policy
from metergate.core.price import Graduated, PriceRule, Volume, cost, draw_bounds, find
from metergate.core.sheet import KIND, Sheet, sheet

Dimensions = tuple[tuple[str, str], ...]


class Tariff(NamedTuple):
    """The price of one meter for one plan and one set of dimensions."""

    rule: PriceRule | None
    included: Included | None
    blocks: bool
    """Nothing is sold beyond the allowance."""
    multiplier: tuple[int, int] = (1, 1)
    sheet: Sheet | None = None
    """In place of the one rule, where units are of several kinds."""

    @property
    def tiered(self) -> bool:
        """Whether the cost depends on the quantity of the period."""
        if self.included is not None:
            return True
        if self.sheet is not None:
            return self.sheet.tiered
        return self.rule is not None and isinstance(self.rule.price, Graduated | Volume)

    @property
    def sells(self) -> bool:
        """Whether units can be paid for, be it beyond an allowance."""
        return self.rule is not None or (self.sheet is not None and bool(self.sheet.rules))

    def cost(self, units: int, before: int = 0, counts: Counts = ()) -> int:
        """What `units` more cost when the period has counted `before`; `counts` are the same by kind."""
        allowance = self.included.units if self.included else 0
        if self.sheet is not None:
            return self._cost_of_kinds(self.sheet, units, before, counts)
        if self.rule is None:
            return 0
        free = min(units, max(0, allowance - before))
        if free == units and self.included is not None:
            return 0
        return cost(self.rule, units - free, max(0, before - allowance), self.multiplier)

    def unpriced(self, units: int, before: int, counts: Counts) -> bool:
        """Whether there is something among the units that no allowance covers and that has no price."""
        if self.sheet is None or self._covers(units, before):
            return False
        return total(counts) != units or (not self.blocks and bool(self.sheet.unknown(counts)))

    def _covers(self, units: int, before: int) -> bool:
        return self.included is not None and before + units <= self.included.units

    def _cost_of_kinds(self, sheet: Sheet, units: int, before: int, counts: Counts) -> int:
        if self._covers(units, before) or (self.blocks and sheet.unknown(counts)):
            return 0
        if total(counts) != units:
            raise MoneyError("Say of which kinds the units are; each has its own price.")
        return sheet.cost(counts, before, self.included.units if self.included else 0, self.multiplier)

    def bounds(self, units: int, before: int) -> tuple[int, int]:
        """The (low, high) within which taking `units` costs what it costs after `before`."""
        allowance = self.included.units if self.included else 0
        if self.included and (self.blocks or before + units <= allowance):
            return 0, allowance
        if self.included and before < allowance:
            return before, before + units
        if self.rule is None:
            return allowance, UNBOUNDED  # kinds are priced where the call ends
        low, high = draw_bounds(self.rule, before - allowance, units)
        return low + allowance, UNBOUNDED if high is None else high + allowance

    def costs_nothing(self, units: int, before: int) -> bool:
        """Whether all units of this stretch are free, and not only these few by rounding."""
        if self.sheet is not None:
            return self.blocks or self._covers(units, before) or self.sheet.free
        _, high = self.bounds(units, before)
        try:
            return self.cost(max(units, high - before), before) == 0
        except MoneyError:
            return False

    @property
    def minimum(self) -> int:
        if self.sheet is not None:
            return self.sheet.minimum
        return self.rule.minimum_nanos if self.rule else 0


def tariff(
    policy: Policy,
    plan: Plan,
    meter: str,
    dimensions: Dimensions = (),
    multiplier: tuple[int, int] = (1, 1),
    now_us: int = 0,
) -> Tariff | None:
    """The tariff of a meter on a plan; None when the plan neither includes it nor has a price for it.

    `now_us` matters where prices come from a dated table.
    """
    included = plan.included.get(meter)
    blocks = included is not None and plan.on_exceed != "overage"
    rules = plan.prices.get(meter) or policy.prices.get(meter, ())
    if included is not None:
        rules = plan.overage.get(meter) or rules
    known = dict(dimensions)
    counted = policy.meters.get(meter)
    prices = sheet(rules, known, now_us) if counted is not None and counted.of_kinds else None
    if prices is not None and KIND not in known:
        if not prices.rules and included is None:
            return None
        blocks = blocks or (included is not None and not prices.rules)
        return Tariff(None, included, blocks, multiplier, prices)
    rule = find(rules, known) if prices is None else prices.rules.get(known[KIND])
    if rule is None and included is None:
        return None
    return Tariff(rule, included, blocks or (included is not None and rule is None), multiplier)


def larger_plan(policy: Policy, plan: Plan, meter: str, used: int) -> Plan | None:
    """The next plan in the order of the file whose allowance holds `used` units."""
    plans = list(policy.plans.values())
    later = plans[plans.index(plan) + 1 :] if plan in plans else []
    for candidate in later:
        included = candidate.included.get(meter)
        if included is not None and included.units >= used:
            return candidate
    return None
