"""What the policy sells, as products, prices and meters of Stripe: made once, and found by our names."""

import hashlib
import json
import re
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from typing import Final

from stripe import Price
from stripe.billing import Meter
from stripe.params import PriceCreateParams

from metergate.errors import InvalidInput
from metergate.provider_port import Item, Money, Synced
from metergate_stripe.base import ALL, Base
from metergate_stripe.money import decimals, to_stripe
from metergate_stripe.outcomes import ask, every, maybe

CREATED, UPDATED, UNCHANGED = "created", "updated", "unchanged"
_PLAIN = re.compile(r"[A-Za-z0-9_-]{1,60}")
_FINEST: Final = 10**12
"""Prices per unit have at most twelve decimals of the smallest unit."""


class Catalogue(Base):
    async def sync_catalogue(self, items: Sequence[Item]) -> Sequence[Synced]:
        rates = {each.name: _rate(each) for each in items if each.kind == "meter"}  # all or nothing
        known = await self.meters()
        synced = []
        for item in items:
            if item.kind == "meter":
                synced.append(await self._sync_meter(item, rates[item.name], known))
            elif item.price is not None:
                synced.append(await self._sync_price(item, item.price))
        return synced

    async def meters(self) -> Mapping[str, Meter]:
        """Stripe's meters by the names that their events have."""
        listed = await ask(self.api.billing.meters.list_async({"limit": ALL}))
        return {each.event_name: each async for each in every(listed)}

    def event_of(self, meter: str) -> str:
        """What the usage events of a meter are called."""
        return f"{self.settings.space}_{meter}"

    def key_of(self, kind: str, name: str) -> str:
        """Under which the present price of something is looked up."""
        return f"{self.settings.space}:{kind}:{name}"

    async def price_of(self, item: Item, amount: Money) -> Price:
        """The price of a plan as somebody bought it, also where the policy has changed since."""
        alike = _alike(amount, item.every)
        for price in await self._prices(item):
            if price.active and alike(price):
                return price
        await self._product(item)
        return await self._create(self._wanted(item, amount))

    async def _sync_meter(self, item: Item, rate: Decimal | None, known: Mapping[str, Meter]) -> Synced:
        meter = known.get(self.event_of(item.name))
        change = UNCHANGED
        if meter is None:
            meter, change = await self._make_meter(item), CREATED
        elif meter.status != "active":
            meter, change = await ask(self.api.billing.meters.reactivate_async(meter.id)), UPDATED
        if meter.display_name != item.title:
            renamed = self.api.billing.meters.update_async(meter.id, {"display_name": item.title})
            meter, change = await ask(renamed), _more(change)
        if rate is not None:
            change = await self._price_meter(item, rate, meter.id, change)
        return Synced(item.kind, item.name, meter.id, change)

    async def _make_meter(self, item: Item) -> Meter:
        """Of sums: a correction is one more event with the difference."""
        made = self.api.billing.meters.create_async(
            {
                "display_name": item.title,
                "event_name": self.event_of(item.name),
                "default_aggregation": {"formula": "sum"},
                "customer_mapping": {"type": "by_id", "event_payload_key": "stripe_customer_id"},
                "value_settings": {"event_payload_key": "value"},
            },
            self.once("meter", item.name),
        )
        return await ask(made)

    async def _price_meter(self, item: Item, rate: Decimal, meter: str, change: str) -> str:
        currency = item.currency.lower()
        wanted: PriceCreateParams = {
            "currency": currency,
            "unit_amount_decimal": rate,
            "recurring": {"interval": "month", "usage_type": "metered", "meter": meter},
        }

        def alike(price: Price) -> bool:
            of_meter = price.recurring is not None and price.recurring.meter == meter
            return of_meter and price.currency == currency and price.unit_amount_decimal == rate

        priced = await self._offer(item, wanted, alike)
        return change if priced[1] == UNCHANGED else _more(change)

    async def _sync_price(self, item: Item, amount: Money) -> Synced:
        price, change = await self._offer(item, self._wanted(item, amount), _alike(amount, item.every))
        return Synced(item.kind, item.name, price.id, change)

    async def _offer(
        self, item: Item, wanted: PriceCreateParams, alike: Callable[[Price], bool]
    ) -> tuple[Price, str]:
        """The product with this price, and no other of ours. A price never changes: another takes over."""
        key = self.key_of(item.kind, item.name)
        made = await self._product(item)
        prices = await self._prices(item)
        wanted["product"] = self._product_id(item)
        wanted["metadata"] = {self.named(item.kind): item.name}
        found = next((each for each in prices if alike(each)), None)
        change = made
        if found is None:
            found = await self._create({**wanted, "lookup_key": key, "transfer_lookup_key": True})
            change = CREATED if made == CREATED else UPDATED
        elif not found.active or found.lookup_key != key:
            back = self.api.prices.update_async(
                found.id, {"active": True, "lookup_key": key, "transfer_lookup_key": True}
            )
            found, change = await ask(back), UPDATED
        for other in prices:
            if other.active and other.id != found.id:
                await ask(self.api.prices.update_async(other.id, {"active": False}))
                change = _more(change)
        return found, change

    async def _product(self, item: Item) -> str:
        id = self._product_id(item)
        known = await maybe(self.api.products.retrieve_async(id))
        marks = {self.named(item.kind): item.name}
        if known is None:
            made = self.api.products.create_async(
                {"id": id, "name": item.title, "metadata": marks},
                self.once("product", _digest(f"{id}:{item.title}")),
            )
            await ask(made)
            return CREATED
        if known.name == item.title and known.active:
            return UNCHANGED
        await ask(self.api.products.update_async(id, {"name": item.title, "active": True}))
        return UPDATED

    async def _prices(self, item: Item) -> list[Price]:
        """Those that we made; others may have added theirs to the product."""
        listed = await ask(self.api.prices.list_async({"product": self._product_id(item), "limit": ALL}))
        return [each async for each in every(listed) if self.mark(each.metadata, item.kind)]

    async def _create(self, wanted: PriceCreateParams) -> Price:
        told = json.dumps(wanted, sort_keys=True, default=str)
        return await ask(self.api.prices.create_async(wanted, self.once("price", _digest(told))))

    def _wanted(self, item: Item, amount: Money) -> PriceCreateParams:
        wanted: PriceCreateParams = {
            "currency": amount.currency.lower(),
            "unit_amount": to_stripe(amount),
            "product": self._product_id(item),
            "metadata": {self.named(item.kind): item.name},
        }
        if item.every:
            wanted["recurring"] = {"interval": item.every}
        return wanted

    def _product_id(self, item: Item) -> str:
        name = item.name
        if not _PLAIN.fullmatch(name):
            name = _digest(name)[:32]
        return f"{self.settings.space}_{item.kind}_{name}"


def _alike(amount: Money, every: str) -> Callable[[Price], bool]:
    def alike(price: Price) -> bool:
        interval = price.recurring.interval if price.recurring is not None else ""
        same = (price.currency.upper(), price.unit_amount) == (amount.currency, to_stripe(amount))
        return same and interval == every

    return alike


def _rate(item: Item) -> Decimal | None:
    """What one unit costs in Stripe's smallest unit, exactly."""
    if not item.unit_price:
        return None
    exact = Fraction(item.unit_price) * 10 ** decimals(item.currency) / item.per * _FINEST
    if exact.denominator != 1:
        raise InvalidInput(
            f"Round the price of the meter {item.name}: Stripe takes twelve decimals of the smallest unit of "
            f"{item.currency}."
        )
    return Decimal(exact.numerator).scaleb(-12).normalize()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _more(change: str) -> str:
    return change if change == CREATED else UPDATED
