"""News: proven before it is read, and the same in every delivery."""

import pytest

from metergate.provider_port import (
    PAYMENT,
    Forged,
    Lookups,
    ProviderEvent,
    Webhooks,
)
from metergate.testing.provider_conformance.bench import Bench, Delivery, OnBench, able, play, there


class NewsTests(OnBench):
    async def test_news_of_a_payment_is_proven_and_names_it(self, bench: Bench) -> None:
        paid = await self.paid(bench)
        events = [event for event in await self._read(bench) if event.kind == PAYMENT]
        assert events
        assert all(event.live is False for event in events)
        for event in events:
            found = event.payment or there(await able(bench, Lookups).fetch_payment(event.object))
            assert paid.order in (event.order, found.order)

    async def test_a_repeated_delivery_has_the_same_id(self, bench: Bench) -> None:
        await self.paid(bench)
        first = [event.id for event in await self._read(bench)]
        bench.clock.advance(seconds=60)
        assert [event.id for event in await self._read(bench)] == first
        assert len(set(first)) == len(first)

    async def test_news_that_is_not_signed_is_refused(self, bench: Bench) -> None:
        webhooks, delivery = await self._delivery(bench)
        unsigned = {"content-type": delivery.headers.get("content-type", "application/json")}
        with pytest.raises(Forged):
            await webhooks.read_webhook(unsigned, delivery.body)

    async def test_news_that_was_changed_is_refused(self, bench: Bench) -> None:
        webhooks, delivery = await self._delivery(bench)
        for changed in (
            delivery.body.replace(b"19", b"91"),
            delivery.body + b" ",
            b"",
            b"{}",
            delivery.body[:-1],
        ):
            if changed != delivery.body:
                with pytest.raises(Forged):
                    await webhooks.read_webhook(delivery.headers, changed)

    dated = True
    """Whether a signature says when it was made, so that an old one can be refused."""
    old_s = 3600
    """How old is too old: longer where the provider repeats a delivery with its first signature."""

    async def test_old_news_is_refused(self, bench: Bench) -> None:
        if not self.dated:
            pytest.skip("Signatures of this provider carry no time.")
        webhooks, delivery = await self._delivery(bench)
        bench.clock.advance(seconds=self.old_s)
        with pytest.raises(Forged):
            await webhooks.read_webhook(delivery.headers, delivery.body)

    async def _read(self, bench: Bench) -> list[ProviderEvent]:
        webhooks = able(bench, Webhooks)
        news = await play(bench.news())
        return [event for each in news for event in await webhooks.read_webhook(each.headers, each.body)]

    async def _delivery(self, bench: Bench) -> tuple[Webhooks, Delivery]:
        """Some true news, which the adapter believes."""
        webhooks = able(bench, Webhooks)
        await self.paid(bench)
        delivery = (await play(bench.news()))[-1]
        assert await webhooks.read_webhook(delivery.headers, delivery.body)
        return webhooks, delivery
