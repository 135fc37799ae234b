"""What a meter costs an account: the plan's allowance first, then a price.

Where the cost depends on how much of the period is used already, it is constant inside a stretch of the
period's quantity. A hold carries the bounds of its stretch; when the store finds the quantity outside of
them, the gate decides again from the value the store named. A call that is measured is priced at its end,
from what has been settled by then, so concurrent calls are never mispriced.
"""

from typing import NamedTuple

from metergate.core.budget import UNBOUNDED
from metergate.core.money import MoneyError
from metergate.core.policy import Included, Plan, Policy
from metergate.core.price import Graduated, PriceRule, Volume, cost, draw_bounds, find

Dimensions = tuple[tuple[str, str], ...]


class Tariff(NamedTuple):
    """The price of one meter for one plan and one set of dimensions."""

    rule: PriceRule | None
    included: Included | None
    blocks: bool
    """Nothing is sold beyond the allowance."""
    multiplier: tuple[int, int] = (1, 1)

    @property
    def tiered(self) -> bool:
        """Whether the cost depends on the quantity of the period."""
        return self.included is not None or (
            self.rule is not None and isinstance(self.rule.price, Graduated | Volume)
        )

    def cost(self, units: int, before: int = 0) -> int:
        """What `units` more cost when the period has counted `before`."""
        if self.rule is None:
            return 0
        allowance = self.included.units if self.included else 0
        free = min(units, max(0, allowance - before))
        if free == units and self.included is not None:
            return 0
        return cost(self.rule, units - free, max(0, before - allowance), self.multiplier)

    def bounds(self, units: int, before: int) -> tuple[int, int]:
        """The (low, high) within which taking `units` costs what it costs after `before`."""
        allowance = self.included.units if self.included else 0
        if self.included and (self.blocks or before + units <= allowance):
            return 0, allowance
        if self.included and before < allowance:
            return before, before + units
        if self.rule is None:
            return allowance, UNBOUNDED
        low, high = draw_bounds(self.rule, before - allowance, units)
        return low + allowance, UNBOUNDED if high is None else high + allowance

    def costs_nothing(self, units: int, before: int) -> bool:
        """Whether all units of this stretch are free, and not only these few by rounding."""
        _, high = self.bounds(units, before)
        try:
            return self.cost(max(units, high - before), before) == 0
        except MoneyError:
            return False

    @property
    def minimum(self) -> int:
        return self.rule.minimum_nanos if self.rule else 0


def tariff(
    policy: Policy,
    plan: Plan,
    meter: str,
    dimensions: Dimensions = (),
    multiplier: tuple[int, int] = (1, 1),
) -> Tariff | None:
    """The tariff of a meter on a plan; None when the plan neither includes it nor has a price for it."""
    included = plan.included.get(meter)
    blocks = included is not None and plan.on_exceed != "overage"
    rules = plan.prices.get(meter) or policy.prices.get(meter, ())
    if included is not None:
        rules = plan.overage.get(meter) or rules
    rule = find(rules, dict(dimensions))
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
