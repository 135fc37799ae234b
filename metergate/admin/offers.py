"""Plans, packs and prices of a policy as JSON, for operators and customers alike."""

from collections.abc import Sequence

from metergate.admin.desk import Json
from metergate.core.money import as_json
from metergate.core.periods import SECOND_US
from metergate.core.policy import Cap, Concurrency, Limit, Plan, Policy, Prices
from metergate.core.price import ONE, Flat, Graduated, Package, PerUnit, PriceRule, Rate, Tier, Volume


def plan(each: Plan, policy: Policy) -> Json:
    currency = policy.currency
    price = as_json(each.price.amount, currency) | {"every": each.price.every} if each.price else None
    trial = (
        {"credits": as_json(each.trial.credits, currency), "seconds": each.trial.lasts_us // SECOND_US}
        if each.trial
        else None
    )
    return {
        "id": each.id,
        "name": each.name or each.id,
        "price": price,
        "contact": each.contact or None,
        "features": sorted(each.features),
        "included": {m: {"units": i.units, "every": i.every} for m, i in sorted(each.included.items())},
        "on_exceed": each.on_exceed,
        "overage": prices(each.overage, currency),
        "prices": prices(each.prices, currency),
        "limits": [_limit(limit) for limit in each.limits],
        "caps": [_cap(cap, currency) for cap in each.caps],
        "concurrency": [_concurrency(one, currency) for one in each.concurrency],
        "trial": trial,
        "default": each.id == policy.default_plan,
    }


def packs(policy: Policy) -> list[Json]:
    return [
        {
            "id": pack.id,
            "credits": as_json(pack.credits, policy.currency),
            "price": as_json(pack.price, policy.currency),
        }
        for pack in policy.packs.values()
    ]


def prices(listed: Prices, currency: str) -> dict[str, list[Json]]:
    return {meter: [_rule(rule, currency) for rule in rules] for meter, rules in sorted(listed.items())}


def _rule(rule: PriceRule, currency: str) -> Json:
    shown = _price(rule.price, currency)
    if rule.when:
        shown["when"] = dict(rule.when)
    if rule.multiplier != ONE:
        shown["multiplier"] = "/".join(map(str, rule.multiplier))
    if rule.minimum_nanos:
        shown["minimum"] = as_json(rule.minimum_nanos, currency)
    return shown


def _price(price: object, currency: str) -> Json:
    match price:
        case Flat(nanos=nanos):
            return {"model": "flat", "price": as_json(nanos, currency)}
        case PerUnit(rate=rate):
            return {"model": "per_unit", **_rate(rate, currency)}
        case Package(size=size, nanos=nanos):
            return {"model": "package", "price": as_json(nanos, currency), "per": size}
        case Graduated(tiers=tiers):
            return {"model": "graduated", "tiers": _tiers(tiers, currency)}
        case Volume(tiers=tiers):
            return {"model": "volume", "tiers": _tiers(tiers, currency)}
    raise TypeError(f"{price!r} is no price.")


def _tiers(tiers: Sequence[Tier], currency: str) -> list[Json]:
    return [
        {"up_to": tier.up_to, **_rate(tier.rate, currency), "flat": as_json(tier.flat_nanos, currency)}
        for tier in tiers
    ]


def _rate(rate: Rate, currency: str) -> Json:
    # The reduced fraction is exact; the price of so many units at once never is a rounded one.
    return {"price": as_json(rate.numerator, currency), "per": rate.denominator}


def _limit(limit: Limit) -> Json:
    return {"rate": limit.rate, "per": limit.per, "burst": limit.burst, "scope": limit.scope}


def _concurrency(limit: Concurrency, currency: str) -> Json:
    most: Json = {"held": as_json(limit.held, currency)} if limit.held else {"calls": limit.calls}
    return {**most, "scope": limit.scope}


def _cap(cap: Cap, currency: str) -> Json:
    most: Json = {"spend": as_json(cap.spend, currency)} if cap.spend else {"units": cap.units}
    return {**most, "meter": cap.meter or None, "every": cap.every, "scope": cap.scope, "soft": cap.soft}
