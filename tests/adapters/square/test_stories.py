"""What becomes of money that comes in through Square: credited once, given back once."""

import itertools
import json
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from metergate.billing import refunding
from metergate.errors import InvalidInput, ProviderError
from metergate.ledger import accounts
from metergate.ledger.inbox import REFUSED
from metergate.ledger.payments import Payment
from metergate.provider_port import Declined, Money, Order, Payer, UnknownOutcome
from metergate.testing.provider_conformance import BROKEN, BUSY, UNANSWERED
from tests.adapters.faking import Json
from tests.adapters.square.bench import Shop, a_shop
from tests.adapters.square.fake import BAD, GOOD, LOCATION
from tests.billing.bench import NANOS

CENT = NANOS // 100


async def paid(shop: Shop, minor: int = 1999) -> Payment:
    payment = await shop.top_up(minor, "p1")
    await shop.pay(payment)
    await shop.hear()
    assert shop.balance() == minor * CENT
    return await shop.payment("p1")


async def a_card(shop: Shop, token: str = GOOD) -> tuple[str, str]:
    provider = shop.square.provider
    opened = shop.cashier.providers.get("square")
    account = await shop.ledger.read(lambda tx: accounts.known(tx, "acct"))
    customer = await shop.cashier.customer(opened, account)
    return customer, (await provider.attach_method(customer, token)).id


async def test_what_is_paid_on_the_page_of_a_link_is_credited(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    [order] = shop.fake.orders.values()
    assert order["total_money"] == {"amount": 1999, "currency": "USD"}
    assert order["location_id"] == LOCATION
    await shop.pay(payment)
    await shop.hear()
    found = await shop.payment(payment.id)
    assert (found.state, found.paid_minor, shop.balance()) == ("succeeded", 1999, 1999 * CENT)
    kept = {"id": "", "type": "card", "brand": "visa", "last4": "1111", "fingerprint": ""}
    assert (json.loads(found.method), found.external_id in shop.fake.payments) == (kept, True)
    assert await shop.differences() == []


async def test_a_payment_that_nobody_tells_us_of_is_found(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    await shop.pay(payment)
    shop.clock.advance(seconds=120)
    await shop.rounds.run_once()
    assert shop.balance() == 1999 * CENT


async def test_any_order_and_number_of_news_ends_in_the_same_books(tmp_path: Path) -> None:
    ends = []
    for number, order in enumerate(list(itertools.permutations(range(4)))[::4]):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with a_shop(folder) as shop:
            await shop.pay(await shop.top_up(1999, "p1"))
            [payment] = shop.fake.payments.values()
            shop.fake.refund(payment, {"amount": 500, "currency": "USD"})
            shop.fake.finish_refunds()
            news = [shop.fake.events[at] for at in order]
            for body in [*news, *random.Random(number).choices(news, k=3)]:
                await shop.hear([body])
            ends.append(str(await shop.books()))
            assert shop.balance() == 1499 * CENT
            assert await shop.differences() == []
    assert len(set(ends)) == 1


async def test_money_that_is_only_approved_is_not_ours_yet(shop: Shop) -> None:
    await shop.top_up(1999, "p1")
    [link] = shop.fake.links
    made = shop.fake.pay(link, status="APPROVED")
    await shop.hear()
    found = await shop.payment("p1")
    assert (found.state, found.capturable, shop.balance()) == ("pending", False, 0)
    shop.fake.be(made["id"], "COMPLETED")
    await shop.hear()
    assert ((await shop.payment("p1")).state, shop.balance()) == ("succeeded", 1999 * CENT)


async def test_who_is_declined_on_the_page_may_try_again_there(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    await shop.pay(payment, declined=True)
    await shop.hear()
    assert ((await shop.payment(payment.id)).state, shop.balance()) == ("pending", 0)
    await shop.pay(payment)
    await shop.hear()
    assert ((await shop.payment(payment.id)).state, shop.balance()) == ("succeeded", 1999 * CENT)


Lie = Callable[[Json, Json], None]
LIES: dict[str, tuple[Lie, str]] = {
    "under-paid": (
        lambda _, payment: payment["amount_money"].update(amount=1998),
        "Only 1998 of 1999",
    ),
    "another currency": (lambda _, payment: payment["amount_money"].update(currency="JPY"), "JPY"),
    "another order": (lambda order, _: order["metadata"].update(metergate_payment="pay_b"), "pays pay_b"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_is_not_what_was_asked_for_gives_nothing_and_is_visible(shop: Shop, lie: str) -> None:
    payment = await shop.top_up(1999, "pay_a")
    await shop.pay(payment)
    [order], [made] = shop.fake.orders.values(), shop.fake.payments.values()
    change, why = LIES[lie]
    change(order, made)
    await shop.cashier.verify(payment.id)
    assert why in (await shop.payment(payment.id)).mismatch
    await shop.hear()
    assert shop.balance() == 0
    assert REFUSED in {event.state for event in await shop.events()}
    assert await shop.differences() == []


@pytest.mark.parametrize("trouble", [BUSY, BROKEN, UNANSWERED])
async def test_a_link_that_goes_wrong_is_one_link_when_asked_for_again(shop: Shop, trouble: str) -> None:
    shop.square.next_request(trouble)
    try:
        await shop.top_up(1999, "p1")
    except ProviderError:
        await shop.top_up(1999, "p1")
    assert len(shop.fake.links) == 1


async def test_a_kept_card_is_charged_once_though_no_answer_came(shop: Shop) -> None:
    customer, card = await a_card(shop)
    shop.square.next_request(UNANSWERED)
    payment = await shop.top_up(1999, "p1", method=card)
    again = await shop.top_up(1999, "p1", method=card)
    assert (payment.state, again, len(shop.fake.payments)) == ("succeeded", payment, 1)
    assert (payment.customer, shop.balance()) == (customer, 1999 * CENT)


async def test_a_charge_is_done_also_when_it_cannot_be_asked_for_then(shop: Shop) -> None:
    customer, card = await a_card(shop)
    await shop.top_up(100, "p0", method=card)
    shop.fake.server.writes = lambda asked: True
    shop.fake.server.faults = ["", BUSY]  # it is charged, and then Square is busy
    order = Order("p1", Payer("acct"), Money(1999, "USD"), customer=customer)
    with pytest.raises(UnknownOutcome, match="It was done"):
        await shop.square.provider.charge(order, card)
    shop.fake.server.faults = ["", BUSY]
    payment = await shop.top_up(1999, "p2", method=card)
    assert (payment.state, shop.balance()) == ("succeeded", 2099 * CENT)


async def test_an_application_that_may_not_see_disputes_is_paid_all_the_same_and_told_so(shop: Shop) -> None:
    shop.fake.sees_disputes = False
    await paid(shop)
    health = await shop.square.provider.health()
    assert (health.ok, "DISPUTES_READ" in health.detail) == (True, True)


async def test_a_charge_is_found_on_any_page_of_the_list(shop: Shop) -> None:
    _, card = await a_card(shop)
    for number in range(5):
        await shop.top_up(100 + number, f"other-{number}", method=card)
    await shop.top_up(1999, "p1", method=card)
    found = await shop.square.provider.find_payment("p1")
    assert found is not None
    assert (found.order, found.amount) == ("p1", Money(1999, "USD"))


async def test_a_declined_card_pays_nothing(shop: Shop) -> None:
    _, card = await a_card(shop, BAD)
    with pytest.raises(Declined, match="CARD_DECLINED"):
        await shop.top_up(1999, "p1", method=card)
    assert ((await shop.payment("p1")).state, shop.balance()) == ("failed", 0)


async def test_a_long_id_of_ours_is_kept_whole(shop: Shop) -> None:
    id = "p" * 128
    _, card = await a_card(shop)
    await shop.top_up(1999, id, method=card)
    payment = await shop.top_up(500, "q" * 128)
    await shop.pay(payment)
    await shop.hear()
    assert shop.balance() == 2499 * CENT


async def test_a_part_of_what_was_authorised_is_captured(shop: Shop) -> None:
    _, card = await a_card(shop)
    held = await shop.top_up(1999, "p1", method=card, capture=False)
    assert (held.state, held.capturable, shop.balance()) == ("pending", True, 0)
    taken = await shop.cashier.capture("p1", Money(1000, "USD"))
    await shop.hear()
    assert (taken.state, taken.paid_minor, shop.balance()) == ("succeeded", 1000, 1000 * CENT)


async def test_what_was_authorised_is_let_go(shop: Shop) -> None:
    _, card = await a_card(shop)
    await shop.top_up(1999, "p1", method=card, capture=False)
    assert (await shop.cashier.cancel("p1")).state == "canceled"
    [made] = shop.fake.payments.values()
    assert made["status"] == "CANCELED"


async def test_a_page_does_not_only_authorise(shop: Shop) -> None:
    with pytest.raises(InvalidInput, match="takes the money at once"):
        await shop.top_up(1999, capture=False)


async def test_a_canceled_link_can_no_longer_be_paid(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    assert (await shop.cashier.cancel(payment.id)).state == "canceled"
    assert shop.fake.links == {}
    assert [each["state"] for each in shop.fake.orders.values()] == ["CANCELED"]


async def test_a_refund_takes_its_credits_when_the_money_is_gone(shop: Shop) -> None:
    payment = await paid(shop)
    shop.square.next_request(UNANSWERED)
    with pytest.raises(UnknownOutcome):
        await refunding.refund(shop.cashier, payment.id, Money(500, "USD"), "r1")
    made = await refunding.refund(shop.cashier, payment.id, Money(500, "USD"), "r1")
    assert (made.state, len(shop.fake.refunds), shop.balance()) == ("pending", 1, 1999 * CENT)
    shop.fake.finish_refunds()
    await shop.hear()
    assert shop.balance() == 1499 * CENT
    assert await shop.differences() == []


async def test_a_refund_that_square_rejects_takes_nothing(shop: Shop) -> None:
    payment = await paid(shop)
    await refunding.refund(shop.cashier, payment.id, None, "r1")
    shop.fake.finish_refunds("REJECTED")
    await shop.hear()
    assert shop.balance() == 1999 * CENT


async def test_a_refund_that_was_made_at_square_takes_its_credits(shop: Shop) -> None:
    payment = await paid(shop)
    made = shop.fake.payments[payment.external_id or ""]
    shop.fake.refund(made, {"amount": 1999, "currency": "USD"}, "The customer was unhappy")
    shop.fake.finish_refunds()
    await shop.hear()
    assert shop.balance() == 0


async def test_what_square_could_not_deliver_is_fetched_once_it_keeps_events(shop: Shop) -> None:
    """It keeps none until it is asked to; whose token may not ask goes on without."""
    shop.fake.keeps_events = None
    payment = await paid(shop)
    await shop.rounds.run_once()
    assert shop.fake.keeps_events is None
    shop.fake.keeps_events = False
    shop.clock.advance(seconds=60)
    await shop.rounds.run_once()
    shop.fake.dispute(payment.external_id or "", "LOST")
    for _ in range(2):
        shop.clock.advance(seconds=25 * 3600)
        await shop.rounds.run_once()
    assert (shop.fake.keeps_events, shop.balance()) == (True, 0)
    shop.clock.advance(seconds=40 * 86_400)  # the feed itself was away for longer than Square keeps anything
    await shop.rounds.run_once()
    assert await shop.differences() == []


async def test_a_lost_dispute_takes_the_credits_and_a_won_one_none(shop: Shop) -> None:
    payment = await paid(shop)
    other = await shop.top_up(700, "p2")
    await shop.pay(other)
    await shop.hear()
    [second] = [each for each in shop.fake.payments if each != payment.external_id]
    for _ in range(3):
        shop.fake.dispute(second, "WON")
    shop.fake.dispute(payment.external_id or "", "LOST")
    await shop.hear()
    assert shop.balance() == 700 * CENT
    assert await shop.differences() == []
