"""News: proven before it is read, and the same in every delivery."""

from collections.abc import Collection, Sequence

import pytest

from metergate.provider_port import (
    PAYMENT,
    Forged,
    Lookups,
    Money,
    PaymentFacts,
    Refunds,
    Webhooks,
)
from metergate.testing.provider_conformance.bench import Bench, Delivery, OnBench, able, play, there


class NewsTests(OnBench):
    async def test_news_of_a_payment_is_proven_and_names_it(self, bench: Bench) -> None:
        paid = await self.paid(bench)
        events = [event for event in await self.read(bench) if event.kind == PAYMENT]
        assert events
        assert all(event.live is False for event in events)
        for event in events:
            found = event.payment or there(await able(bench, Lookups).fetch_payment(event.object))
            assert paid.order in (event.order, found.order)

    async def test_news_of_what_went_back_leads_to_its_payment(self, bench: Bench) -> None:
        refunds, paid = able(bench, Refunds), await self.paid(bench)
        before = {event.id for event in await self.read(bench)}
        await refunds.refund_payment(paid.id, Money(500, "USD"), "ref-1")
        await self._leads(bench, before, paid)

    async def test_news_of_a_dispute_leads_to_its_payment(self, bench: Bench) -> None:
        paid = await self.paid(bench)
        before = {event.id for event in await self.read(bench)}
        await play(bench.dispute(paid.id))
        await self._leads(bench, before, paid)

    async def _leads(self, bench: Bench, before: Collection[str], paid: PaymentFacts) -> None:
        new = [each for each in await self.read(bench) if each.id not in before and each.kind == PAYMENT]
        assert new
        for event in new:
            found = event.payment or there(await able(bench, Lookups).fetch_payment(event.object))
            assert found.id == paid.id
            assert found.order in ("", paid.order)

    async def test_shuffled_and_repeated_news_says_the_same(self, bench: Bench) -> None:
        webhooks, paid = able(bench, Webhooks), await self.paid(bench)
        if isinstance(bench.provider, Refunds):
            await bench.provider.refund_payment(paid.id, Money(500, "USD"), "ref-1")
        sent = list(await play(bench.news()))
        said = []
        for order in (sent, [*reversed(sent), *sent]):
            events = [
                event for each in order for event in await webhooks.read_webhook(each.headers, each.body)
            ]
            said.append({event.id: event for event in events})
        assert said[0] == said[1]

    async def test_a_repeated_delivery_has_the_same_id(self, bench: Bench) -> None:
        await self.paid(bench)
        first = [event.id for event in await self.read(bench)]
        bench.clock.advance(seconds=60)
        assert [event.id for event in await self.read(bench)] == first
        assert len(set(first)) == len(first)

    async def test_news_that_is_not_signed_is_refused(self, bench: Bench) -> None:
        webhooks, delivery = await self._delivery(bench)
        unsigned = self.unsigned(delivery)
        with pytest.raises(Forged):
            await webhooks.read_webhook(unsigned.headers, unsigned.body)

    def unsigned(self, delivery: Delivery) -> Delivery:
        """Without its signature: override it where that stands in the body."""
        kept = {"content-type": delivery.headers.get("content-type", "application/json")}
        return Delivery(kept, delivery.body)

    async def test_news_that_was_changed_is_refused(self, bench: Bench) -> None:
        webhooks, delivery = await self._delivery(bench)
        for changed in (*self.changed(delivery.body), b"", b"{}", b"[]", b"null", delivery.body[:-1]):
            if changed != delivery.body:
                with pytest.raises(Forged):
                    await webhooks.read_webhook(delivery.headers, changed)

    def changed(self, body: bytes) -> Sequence[bytes]:
        """Bodies that differ from what was signed: override it where not every byte is signed."""
        return body.replace(b"19", b"91"), body + b" "

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

    async def _delivery(self, bench: Bench) -> tuple[Webhooks, Delivery]:
        """Some true news, which the adapter believes."""
        webhooks = able(bench, Webhooks)
        await self.paid(bench)
        delivery = (await play(bench.news()))[-1]
        assert await webhooks.read_webhook(delivery.headers, delivery.body)
        return webhooks, delivery
