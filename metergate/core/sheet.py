"""What the units of one call cost, kind by kind.

A price list becomes a sheet once it is known what the call is about: its model, its service tier. The first
prices that fit the call and know the kind, or an ancestor of it, decide; among those with the same `when` the
nearest kind does, so the order of `input` and `cached_input` is no matter.
"""

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import NamedTuple

from metergate.core.kinds import ANY, KINDS, Counts, lineage, prompt
from metergate.core.money import MoneyError
from metergate.core.price import (
    ONE,
    ByPrompt,
    Graduated,
    Listed,
    PriceRule,
    Ratio,
    Volume,
    matches,
    plus,
    rounded,
    scaled,
)

KIND = "kind"
MODEL = "model"
LINEAGES = {kind: lineage(kind) for kind in KINDS}
PLENTY = 10**9

Rules = Mapping[str, PriceRule]
"""Kind -> its price."""


class Sheet(NamedTuple):
    rules: Rules
    source: str = ""
    """The table that prices are from, if any are."""

    @property
    def tiered(self) -> bool:
        """Whether the cost depends on the quantity of the period."""
        return any(isinstance(rule.price, Graduated | Volume) for rule in self.rules.values())

    @property
    def free(self) -> bool:
        """Whether nothing costs anything, however much it is."""
        return not any(scaled(rule, PLENTY)[0] or rule.minimum_nanos for rule in self.rules.values())

    @property
    def minimum(self) -> int:
        return max((rule.minimum_nanos for rule in self.rules.values()), default=0)

    def unknown(self, counted: Counts) -> list[str]:
        """The kinds that were counted and have no price."""
        return [kind for kind, _ in counted if kind not in self.rules]

    def cost(self, counted: Counts, before: int = 0, allowance: int = 0, multiplier: Ratio = ONE) -> int:
        """What the units cost together, rounded once, when the period has counted `before`.

        They stand in the period one behind the other, those of one price together; up to the allowance they
        are free.
        """
        total: Ratio = (0, 1)
        minimum = 0
        for rule, units in self._by_rule(counted):
            free = min(units, max(0, allowance - before))
            if units > free:
                total = plus(total, scaled(rule, units - free, max(0, before - allowance), multiplier))
                minimum = max(minimum, rule.minimum_nanos)
            before += units
        return max(minimum, rounded(total))

    def _by_rule(self, counted: Counts) -> list[tuple[PriceRule, int]]:
        unknown = self.unknown(counted)
        if unknown:
            raise MoneyError(f"Give {', '.join(unknown)} a price; units were counted that have none.")
        length = prompt(counted)
        found: dict[int, tuple[PriceRule, int]] = {}
        for kind, units in counted:
            rule = self.rules[kind]
            known = found.get(id(rule), (rule, 0))[1]
            found[id(rule)] = rule, known + units
        return [(_at(rule, length), units) for rule, units in found.values()]


def _at(rule: PriceRule, length: int) -> PriceRule:
    """The rule in a call whose prompt has that length."""
    if not isinstance(rule.price, ByPrompt):
        return rule
    return PriceRule(rule.when, rule.price.at(length), rule.multiplier, rule.minimum_nanos)


def sheet(rules: Sequence[PriceRule], dimensions: Mapping[str, str], now_us: int) -> Sheet:
    """The prices of a call with these dimensions; a kind that nothing has a price for is not in it."""
    found: dict[str, PriceRule] = {}
    sources: dict[str, None] = {}
    for group in _groups(rules):
        own: dict[str, PriceRule] = {}
        for rule in group if matches(_without_kind(group[0]), dimensions) else ():
            prices, source = _prices(rule, dimensions, now_us)
            if source and prices.keys() - own.keys():
                sources[source] = None
            own = {**prices, **own}
        for kind in KINDS:
            nearest = next((own[each] for each in LINEAGES[kind] if each in own), None)
            if nearest is not None:
                found.setdefault(kind, nearest)
    return Sheet(found, ", ".join(sources))


def _groups(rules: Sequence[PriceRule]) -> list[list[PriceRule]]:
    """The rules that say the same of everything but the kind, in the order of the first of each."""
    found: dict[tuple[tuple[str, str], ...], list[PriceRule]] = {}
    for rule in rules:
        found.setdefault(_without_kind(rule).when, []).append(rule)
    return list(found.values())


def _without_kind(rule: PriceRule) -> PriceRule:
    when = tuple(sorted(each for each in rule.when if each[0] != KIND))
    return PriceRule(when, rule.price)


def _prices(rule: PriceRule, dimensions: Mapping[str, str], now_us: int) -> tuple[Rules, str]:
    """What the rule says by itself, by kind; and the table it has it from."""
    pattern = dict(rule.when).get(KIND, "")
    if not isinstance(rule.price, Listed):
        return dict.fromkeys(_fitting(pattern), rule), ""
    table = rule.price.table
    listing = table.find(dimensions.get(MODEL, ""))
    if listing is None:
        return {}, ""
    wanted = KINDS if not pattern else _fitting(pattern)
    listed = listing.prices(dimensions, now_us)
    return {
        kind: PriceRule((), price, rule.multiplier, rule.minimum_nanos)
        for kind, price in listed.items()
        if kind in wanted
    }, table.name


def _fitting(pattern: str) -> Sequence[str]:
    """The kinds that a `kind:` names; without one, the ancestor of them all."""
    return [kind for kind in KINDS if fnmatchcase(kind, pattern)] if pattern else (ANY,)
