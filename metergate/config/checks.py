"""What only the whole file shows to be wrong: names that nothing defines, prices that nobody can pay.

Each part is read by itself, so that a mistake in one of them does not hide those of the others.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any, NamedTuple, TypeVar

from pydantic import TypeAdapter, ValidationError

from metergate.config.model import Meter, Route
from metergate.config.model_plans import Cap, Caps, Plan, Price, Prices
from metergate.config.problems import Where, hint
from metergate.config.source import Source
from metergate.core.kinds import KINDS
from metergate.core.policy import SPEND
from metergate.core.sheet import KIND

LLM = "llm"

T = TypeVar("T")


class Finding(NamedTuple):
    where: Where
    text: str
    name: str = ""
    """What stands for `{}` in the text."""
    warning: bool = False


Findings = Iterator[Finding]

_BY_METER: tuple[Where, ...] = (("prices",), ("included",), ("overage",))
"""Where the keys of a mapping are meters: a wrong one is shown and not its value."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The file in parts that are right by themselves; None stands for one that is not."""

    meters: Mapping[str, Meter | None]
    prices: Mapping[str, list[Price] | None]
    plans: Mapping[str, Plan | None]
    routes: Mapping[int, Route | None]
    caps: list[Cap]
    upstreams: Mapping[str, object]
    default_plan: object
    packs: Mapping[str, object]
    top_up_pack: object
    from_outside: frozenset[object]
    """What came from the environment, and is offered to nobody."""

    def good_plans(self) -> Iterator[tuple[str, Plan]]:
        yield from ((name, plan) for name, plan in self.plans.items() if plan)

    def good_routes(self) -> Iterator[tuple[int, Route]]:
        yield from ((index, route) for index, route in self.routes.items() if route)


def check(source: Source) -> None:
    parts = _parts(source)
    for subject in (_names, _prices, _kinds, _allowances, _volume, _routes, _tokens, _order):
        for finding in subject(parts):
            where, text, name, warning = finding
            at_key = isinstance(where[-1], str) and where[-2:-1] in _BY_METER
            source.complain(where, text, name=name, at_key=at_key, warning=warning)


def _parts(source: Source) -> Parts:
    value = source.value
    top = value if isinstance(value, dict) else {}
    routes = top.get("routes")
    listed = dict(enumerate(routes)) if isinstance(routes, list) else {}
    return Parts(
        _each(TypeAdapter(Meter), top.get("meters")),
        _each(_PRICES, top.get("prices")),
        _each(TypeAdapter(Plan), top.get("plans")),
        _each(TypeAdapter(Route), listed),
        _each(_CAPS, {"caps": top.get("caps", [])})["caps"] or [],
        _section(top, "upstreams"),
        top.get("default_plan"),
        _section(top, "packs"),
        _section(top, "top_ups").get("pack"),
        frozenset(str(source.at(where)) for where in source.holes),
    )


def _section(top: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = top.get(name)
    return found if isinstance(found, dict) else {}


_PRICES: TypeAdapter[list[Price] | None] = TypeAdapter(Prices)
_CAPS: TypeAdapter[list[Cap] | None] = TypeAdapter(Caps)


def _each(adapter: TypeAdapter[T], section: object) -> dict[Any, T | None]:
    found: dict[Any, T | None] = {}
    for key, value in section.items() if isinstance(section, dict) else ():
        try:
            found[key] = adapter.validate_python(value)
        except ValidationError:
            found[key] = None
    return found


def _unknown(what: str, name: str, where: Where, known: Mapping[str, object]) -> Finding:
    return Finding(where, f"no {what} is called {{}}{hint(name, known)}", name)


def _names(parts: Parts) -> Findings:
    """Every meter and plan that is named is there, and none is named as something else is."""
    if SPEND in parts.meters:
        yield Finding(("meters", SPEND), "caps on money count under this name; call the meter otherwise")
    for where, meter in _named_meters(parts):
        if meter not in parts.meters:
            yield _unknown("meter", meter, where, parts.meters)
    for index, route in parts.good_routes():
        if route.upstream and route.upstream not in parts.upstreams:
            yield _unknown("upstream", route.upstream, ("routes", index, "upstream"), parts.upstreams)
    plan = parts.default_plan
    if isinstance(plan, str) and plan not in parts.plans:
        yield _unknown("plan", plan, ("default_plan",), parts.plans)
    pack = parts.top_up_pack
    if isinstance(pack, str) and pack not in parts.packs:
        yield _unknown("pack", pack, ("top_ups", "pack"), parts.packs)


def _named_meters(parts: Parts) -> Iterator[tuple[Where, str]]:
    yield from ((("prices", meter), meter) for meter in parts.prices)
    yield from ((("caps", index, "meter"), cap.meter) for index, cap in enumerate(parts.caps) if cap.meter)
    for name, plan in parts.good_plans():
        here: Where = ("plans", name)
        for section in ("included", "overage", "prices"):
            yield from (((*here, section, meter), meter) for meter in getattr(plan, section))
        for index, cap in enumerate(plan.caps):
            if cap.meter:
                yield (*here, "caps", index, "meter"), cap.meter
    for index, route in parts.good_routes():
        if route.meter:
            yield ("routes", index, "meter"), route.meter


def _prices(parts: Parts) -> Findings:
    """A price after one without `when` is never reached."""
    for where, meter, prices in _price_lists(parts):
        counted = parts.meters.get(meter)
        if counted is not None and counted.count == LLM:
            continue  # there the nearest kind decides, and a table knows some models and not others
        general = next((index for index, price in enumerate(prices) if not price.when), len(prices))
        if general + 1 < len(prices):
            text = "the price before it has no `when`, so this one is never used"
            yield Finding((*where, general + 1), text, warning=True)


def _price_lists(parts: Parts) -> Iterator[tuple[Where, str, list[Price]]]:
    """Every list of prices, with its place and its meter."""
    yield from ((("prices", meter), meter, prices) for meter, prices in parts.prices.items() if prices)
    for name, plan in parts.good_plans():
        for section in ("prices", "overage"):
            for meter, prices in getattr(plan, section).items():
                yield ("plans", name, section, meter), meter, prices


def _kinds(parts: Parts) -> Findings:
    """Kinds of tokens and tables of models are for the meters that know them, and are spelled right."""
    for where, meter, listed in _price_lists(parts):
        counted = parts.meters.get(meter)
        for index, price in enumerate(listed if counted is not None else ()):
            assert counted is not None
            if counted.count != LLM and (price.table or price.longer):
                yield Finding(
                    (*where, index), "table and longer belong to meters with count: llm; remove them"
                )
            kind = price.when.get(KIND)
            if (
                counted.count == LLM
                and kind is not None
                and not any(fnmatchcase(each, kind) for each in KINDS)
            ):
                close = hint(kind, KINDS)
                yield Finding((*where, index, "when", KIND), f"no kind of token is called {{}}{close}", kind)


def _tokens(parts: Parts) -> Findings:
    """What is said of tokens stands at a route that counts them."""
    for index, route in parts.good_routes():
        meter = parts.meters.get(route.meter or "")
        if meter is not None and meter.count == LLM and route.hold and route.hold.units is not None:
            text = "a meter with count: llm holds tokens of each kind; give output_tokens, caps or an amount"
            yield Finding(("routes", index, "hold"), text)
        if meter is None or meter.count == LLM:
            continue
        if route.hold and route.hold.units is None and route.hold.amount is None:
            text = "only a meter with count: llm holds tokens; give units or an amount"
            yield Finding(("routes", index, "hold"), text)
        if route.on_missing_usage == "estimate":
            text = "only a meter with count: llm can estimate; write hold, minimum or release"
            yield Finding(("routes", index, "on_missing_usage"), text)


def _allowances(parts: Parts) -> Findings:
    """What a plan says about going beyond its allowances can happen."""
    for name, plan in parts.good_plans():
        here: Where = ("plans", name)
        if plan.on_exceed != "block" and not plan.included:
            yield Finding((*here, "on_exceed"), "add an allowance under included, or leave on_exceed out")
        if plan.overage and plan.on_exceed != "overage":
            yield Finding((*here, "overage"), "add on_exceed: overage, or remove overage")
        for meter in [
            meter for meter in plan.overage if meter in parts.meters and meter not in plan.included
        ]:
            text = "the plan does not include {}; put its price under prices"
            yield Finding((*here, "overage", meter), text, meter)
        for meter in plan.included:
            yield from _beyond(parts, name, plan, meter)


def _beyond(parts: Parts, name: str, plan: Plan, meter: str) -> Findings:
    where: Where = ("plans", name, "on_exceed")
    if plan.on_exceed == "overage" and not any(
        meter in section for section in (plan.overage, plan.prices, parts.prices)
    ):
        yield Finding(where, "nothing says what {} costs beyond the allowance; add it to overage", meter)
    if plan.on_exceed == "upgrade" and not _has_larger(parts, name, plan.included[meter].units, meter):
        text = "no plan after this one includes more {}; add one, or use on_exceed: block"
        yield Finding(where, text, meter)


def _has_larger(parts: Parts, name: str, units: int, meter: str) -> bool:
    names = list(parts.plans)
    for later in names[names.index(name) + 1 :]:
        plan = parts.plans[later]
        if plan is None or (meter in plan.included and plan.included[meter].units > units):
            return True
    return False


def _volume(parts: Parts) -> Findings:
    """Volume tiers change the price of what was used already, which prepaid credits cannot follow."""
    text = "volume tiers are for postpaid plans; add a credit_limit to the plan, or use mode: graduated"
    for name, plan in parts.good_plans():
        if plan.credit_limit:
            continue
        for section in ("prices", "overage"):
            for meter, prices in getattr(plan, section).items():
                if _has_volume(prices):
                    yield Finding(("plans", name, section, meter), text)
    for meter, listed in parts.prices.items():
        if listed and _has_volume(listed) and not _all_postpaid(parts, meter):
            text = "volume tiers are for postpaid plans; put them into plans with a credit_limit"
            yield Finding(("prices", meter), text)


def _has_volume(prices: list[Price]) -> bool:
    return any(price.mode == "volume" for price in prices)


def _all_postpaid(parts: Parts, meter: str) -> bool:
    """Whether nobody on a prepaid plan, or on none, meets the general price of the meter."""
    plans = list(parts.plans.values())
    return isinstance(parts.default_plan, str) and all(
        plan is None or plan.credit_limit or meter in plan.prices for plan in plans
    )


def _routes(parts: Parts) -> Findings:
    """A route asks for a feature that can be had and counts a meter that has a price."""
    plans = list(parts.plans.values())
    features = {feature: plan for plan in plans if plan for feature in plan.features}
    priced = set(parts.prices)
    for plan in plans:
        if plan:
            priced |= plan.prices.keys() | plan.included.keys()
    all_known = None not in plans
    for index, route in parts.good_routes():
        if route.feature and route.feature not in features and all_known:
            shown = [feature for feature in features if feature not in parts.from_outside]
            text = f"no plan has the feature {{}}{hint(route.feature, shown)}"
            yield Finding(("routes", index, "feature"), text, route.feature)
        if route.meter in parts.meters and route.meter not in priced and all_known:
            text = "nothing says what {} costs; give it a price under prices, or an allowance in a plan"
            yield Finding(("routes", index, "meter"), text, str(route.meter))


def _order(parts: Parts) -> Findings:
    """The first route that matches decides, so what follows the same match is never reached."""
    seen: dict[str, int] = {}
    for index, route in parts.good_routes():
        earlier = seen.get(route.match, seen.get("* /**"))
        if earlier is not None:
            text = f"routes[{earlier}] matches all of this before it; move the more general route down"
            yield Finding(("routes", index, "match"), text, warning=True)
        seen.setdefault(route.match, index)
