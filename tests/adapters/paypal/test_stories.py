"""What becomes of money that comes in through PayPal: captured once, credited once, given back once."""

import asyncio
import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from metergate.billing import refunding
from metergate.errors import InvalidInput, ProviderError
from metergate.ledger.inbox import DONE, IGNORED, REFUSED
from metergate.ledger.payments import Payment
from metergate.provider_port import Declined, Money, TryAgain, UnknownOutcome
from metergate.testing.provider_conformance import BROKEN, BUSY, UNANSWERED
from tests.adapters.faking import Json
from tests.adapters.paypal.bench import Shop, a_shop
from tests.billing.bench import NANOS

CENT = NANOS // 100


async def paid(shop: Shop, minor: int = 1999) -> Payment:
    payment = await shop.top_up(minor, "p1")
    await shop.approve(payment)
    await shop.hear()
    assert shop.balance() == minor * CENT
    return await shop.payment("p1")


async def test_what_a_payer_approves_is_captured_by_us_and_credited(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    await shop.hear()
    assert (shop.fake.captured, shop.balance()) == (0, 0)
    await shop.approve(payment)
    await shop.hear()
    found = await shop.payment(payment.id)
    assert (found.state, found.paid_minor, shop.fake.captured) == ("succeeded", 1999, 1)
    assert shop.balance() == 1999 * CENT
    assert found.external_id in shop.fake.captures
    assert await shop.differences() == []


async def test_an_approval_that_nobody_tells_us_of_is_found_and_captured(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    await shop.approve(payment)
    shop.clock.advance(seconds=120)
    await shop.rounds.run_once()
    assert (shop.fake.captured, shop.balance()) == (1, 1999 * CENT)


async def test_many_who_hear_of_one_approval_at_once_capture_once(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    await shop.approve(payment)
    found = await asyncio.gather(*(shop.cashier.verify(payment.id) for _ in range(10)))
    assert {each.state for each in found} == {"succeeded"}
    assert (shop.fake.captured, shop.balance()) == (1, 1999 * CENT)


async def test_any_order_and_number_of_news_ends_in_the_same_books(tmp_path: Path) -> None:
    ends = []
    for number, order in enumerate(itertools.permutations(range(3))):
        folder = tmp_path / str(number)
        folder.mkdir()
        async with a_shop(folder) as shop:
            payment = await shop.top_up(1999, "p1")
            await shop.approve(payment)
            await shop.paypal.provider.complete_payment(payment.checkout_id or "")
            [capture] = shop.fake.captures.values()
            shop.fake.refund(capture, {"currency_code": "USD", "value": "5.00"}, {})
            news = [shop.fake.events[at] for at in order]
            again = random.Random(number).choices(news, k=3)
            for body in [*news, *again]:
                await shop.hear([body])
            ends.append(str(await shop.books()))
            assert (shop.balance(), shop.fake.captured) == (1499 * CENT, 1)
            assert await shop.differences() == []
    assert len(set(ends)) == 1


async def test_a_card_that_is_declined_when_it_is_captured_gives_nothing_until_another_is_taken(
    shop: Shop,
) -> None:
    payment = await shop.top_up(1999)
    await shop.approve(payment, declined=True)
    await shop.hear()
    found = await shop.payment(payment.id)
    assert (found.state, shop.balance()) == ("pending", 0)
    assert "declined" in found.reason
    await shop.approve(payment)
    await shop.hear()
    assert ((await shop.payment(payment.id)).state, shop.fake.captured) == ("succeeded", 1)
    assert shop.balance() == 1999 * CENT


@pytest.mark.parametrize("trouble", [BUSY, BROKEN, UNANSWERED])
async def test_a_capture_that_goes_wrong_is_tried_again_and_done_once(shop: Shop, trouble: str) -> None:
    payment = await shop.top_up(1999)
    await shop.approve(payment)
    shop.paypal.next_request(trouble)
    with pytest.raises((TryAgain, UnknownOutcome)):
        await shop.cashier.verify(payment.id)
    waits_us = 3 * 10**6 if trouble == BUSY else 0
    assert (shop.balance(), shop.cashier.asking.left_us("paypal")) == (0, waits_us)
    shop.clock.advance(seconds=120)
    await shop.rounds.run_once()
    assert (shop.fake.captured, shop.balance()) == (1, 1999 * CENT)


async def test_a_capture_is_done_also_when_it_cannot_be_asked_for_then(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    await shop.approve(payment)
    shop.fake.server.writes = lambda asked: True
    shop.fake.server.faults = ["", "", "", BUSY]  # asked for twice, captured, and then PayPal is busy
    with pytest.raises(UnknownOutcome, match="It was done"):
        await shop.cashier.verify(payment.id)
    assert (await shop.cashier.verify(payment.id)).state == "succeeded"
    assert (shop.fake.captured, shop.balance()) == (1, 1999 * CENT)


@pytest.mark.parametrize("trouble", [BUSY, BROKEN, UNANSWERED])
async def test_an_order_that_goes_wrong_is_one_order_when_it_is_asked_for_again(
    shop: Shop, trouble: str
) -> None:
    shop.paypal.next_request(trouble)
    try:
        await shop.top_up(1999, "p1")
    except ProviderError:
        await shop.top_up(1999, "p1")
    payment = await shop.top_up(1999, "p1")
    assert list(shop.fake.orders) == [payment.checkout_id]


Lie = Callable[[Json], None]


def unit(order: Json) -> Json:
    found: Json = order["purchase_units"][0]
    return found


LIES: dict[str, tuple[Lie, str]] = {
    "under-paid": (lambda order: unit(order)["amount"].update(value="19.98"), "Only 1998 of 1999 was paid"),
    "another currency": (lambda order: unit(order)["amount"].update(currency_code="EUR"), "EUR"),
    "another order": (lambda order: unit(order).update(custom_id="pay_another"), "pays pay_another"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_is_not_our_order_is_neither_captured_nor_credited(shop: Shop, lie: str) -> None:
    payment = await shop.top_up(1999)
    change, why = LIES[lie]
    change(shop.fake.orders[payment.checkout_id or ""])
    await shop.approve(payment)
    await shop.hear()
    assert (shop.fake.captured, shop.balance()) == (0, 0)
    assert why in (await shop.payment(payment.id)).mismatch
    assert [event.state for event in await shop.events()] == [REFUSED]


async def test_less_than_was_asked_for_gives_nothing_also_when_it_was_captured(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    shop.fake.orders[payment.checkout_id or ""]["purchase_units"][0]["amount"]["value"] = "1.00"
    await shop.approve(payment)
    await shop.paypal.provider.complete_payment(payment.checkout_id or "")
    await shop.hear()
    assert (shop.fake.captured, shop.balance()) == (1, 0)
    assert "Only 100 of 1999" in (await shop.payment(payment.id)).mismatch


async def test_what_was_canceled_is_never_captured(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    assert (await shop.cashier.cancel(payment.id)).state == "canceled"
    await shop.approve(payment)
    await shop.hear()
    done = await shop.paypal.provider.complete_payment(payment.checkout_id or "")
    assert (done.state, shop.fake.captured, shop.balance()) == ("canceled", 0, 0)
    assert (await shop.payment(payment.id)).state == "canceled"


async def test_what_is_only_authorised_is_captured_when_somebody_says_so(shop: Shop) -> None:
    payment = await shop.top_up(1999, capture=False)
    await shop.approve(payment)
    await shop.hear()
    held = await shop.payment(payment.id)
    assert (held.state, held.capturable, shop.fake.captured) == ("pending", True, 0)
    taken = await shop.cashier.capture(payment.id, Money(1000, "USD"))
    assert (taken.state, taken.paid_minor, shop.balance()) == ("succeeded", 1000, 1000 * CENT)
    await shop.hear()
    assert await shop.differences() == []


async def test_what_is_only_authorised_can_be_let_go(shop: Shop) -> None:
    payment = await shop.top_up(1999, capture=False)
    await shop.approve(payment)
    await shop.hear()
    assert (await shop.cashier.cancel(payment.id)).state == "canceled"
    assert [each["status"] for each in shop.fake.authorizations.values()] == ["VOIDED"]


async def test_a_refund_of_ours_takes_its_credits_once(shop: Shop) -> None:
    payment = await paid(shop)
    shop.paypal.next_request(UNANSWERED)
    with pytest.raises(UnknownOutcome):
        await refunding.refund(shop.cashier, payment.id, Money(500, "USD"), "r1")
    done = await refunding.refund(shop.cashier, payment.id, Money(500, "USD"), "r1")
    await shop.hear()
    assert (done.state, shop.balance()) == ("succeeded", 1499 * CENT)
    await refunding.refund(shop.cashier, payment.id, None, "r2")
    await shop.hear()
    assert shop.balance() == 0
    assert await shop.differences() == []


async def test_a_refund_that_was_made_at_paypal_takes_its_credits(shop: Shop) -> None:
    payment = await paid(shop)
    capture = shop.fake.captures[payment.external_id or ""]
    shop.fake.refund(capture, {"currency_code": "USD", "value": "19.99"}, {"custom_id": payment.id})
    await shop.hear()
    assert shop.balance() == 0
    assert await shop.differences() == []


async def test_a_lost_dispute_takes_the_credits_once_though_paypal_lists_a_refund_too(shop: Shop) -> None:
    payment = await paid(shop)
    shop.fake.dispute(payment.external_id or "", value="5.00")
    await shop.hear()
    assert shop.balance() == 1499 * CENT
    assert await shop.differences() == []


async def test_a_dispute_that_we_won_takes_nothing(shop: Shop) -> None:
    payment = await paid(shop)
    shop.fake.dispute(payment.external_id or "", outcome="RESOLVED_SELLER_FAVOUR")
    await shop.hear()
    assert shop.balance() == 1999 * CENT


async def test_an_app_that_may_not_see_disputes_is_paid_all_the_same_and_told_so(shop: Shop) -> None:
    shop.fake.sees_disputes = False
    await paid(shop)
    health = await shop.paypal.provider.health()
    assert (health.ok, "Customer Disputes" in health.detail) == (True, True)


async def test_an_order_that_nobody_approved_ends_when_paypal_throws_it_away(shop: Shop) -> None:
    first, second = await shop.top_up(1999), await shop.top_up(500)
    shop.fake.orders.clear()
    assert (await shop.cashier.verify(first.id)).state == "pending"
    shop.clock.advance(seconds=2 * 86_400)
    ended = await shop.cashier.verify(first.id)
    assert (ended.state, ended.reason) == ("canceled", "The page of PayPal has expired.")
    await shop.paypal.provider.cancel_payment(second.checkout_id or "")
    assert (await shop.cashier.verify(second.id)).state == "canceled"
    assert await shop.differences() == []


async def test_an_order_that_paypal_has_forgotten_is_still_a_payment(shop: Shop) -> None:
    payment = await paid(shop)
    shop.fake.orders.clear()
    assert (await shop.cashier.verify(payment.id)).state == "succeeded"
    shop.fake.captures[payment.external_id or ""]["status"] = "REFUNDED"
    with pytest.raises(UnknownOutcome, match="no longer lists the refunds"):
        await shop.cashier.verify(payment.id)


async def test_a_refund_of_which_no_webhook_ever_came_is_fetched(shop: Shop) -> None:
    payment = await paid(shop)
    await shop.rounds.run_once()
    shop.clock.advance(seconds=10 * 86_400)
    shop.fake.refund(
        shop.fake.captures[payment.external_id or ""], {"currency_code": "USD", "value": "5.00"}, {}
    )
    shop.clock.advance(seconds=10 * 86_400)
    await shop.rounds.run_once()
    await shop.handle()
    assert shop.balance() == 1499 * CENT
    told = len(await shop.events())
    shop.clock.advance(seconds=60)
    await shop.rounds.run_once()
    assert len(await shop.events()) == told


async def test_an_event_of_another_kind_does_not_keep_the_others_from_being_fetched(shop: Shop) -> None:
    """An app may have authorisations of an older API, whose news names no order."""
    shop.fake.tell("PAYMENT.AUTHORIZATION.CREATED", {"id": "of-the-older-api"})
    await shop.approve(await shop.top_up(1999))
    await shop.rounds.run_once()
    await shop.handle()
    assert sorted([each.state for each in await shop.events()]) == [DONE, IGNORED]
    assert shop.balance() == 1999 * CENT


async def test_who_pays_with_venmo_pays_with_venmo(shop: Shop) -> None:
    payment = await shop.top_up(1999, options={"wallet": "venmo"})
    assert list(shop.fake.orders[payment.checkout_id or ""]["payment_source"]) == ["venmo"]
    await shop.approve(payment)
    await shop.hear()
    assert '"type": "venmo"' in (await shop.payment(payment.id)).method
    with pytest.raises(InvalidInput, match="has no wallet 'cash'"):
        await shop.top_up(1999, options={"wallet": "cash"})


async def test_a_captured_payment_that_is_reviewed_is_credited_when_it_is_done(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    await shop.approve(payment)
    await shop.paypal.provider.complete_payment(payment.checkout_id or "")
    [capture] = shop.fake.captures.values()
    listed = shop.fake.orders[payment.checkout_id or ""]["purchase_units"][0]["payments"]["captures"][0]
    listed["status"] = capture["status"] = "PENDING"
    listed["status_details"] = {"reason": "PENDING_REVIEW"}
    await shop.hear()
    held = await shop.payment(payment.id)
    assert (held.state, held.reason, shop.balance()) == ("pending", "PayPal holds it: PENDING_REVIEW", 0)
    listed["status"] = capture["status"] = "COMPLETED"
    assert (await shop.cashier.verify(payment.id)).state == "succeeded"
    assert shop.balance() == 1999 * CENT


async def test_a_captured_payment_that_is_denied_has_failed(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    await shop.approve(payment)
    await shop.paypal.provider.complete_payment(payment.checkout_id or "")
    listed = shop.fake.orders[payment.checkout_id or ""]["purchase_units"][0]["payments"]["captures"][0]
    listed["status"] = "DECLINED"
    assert (await shop.cashier.verify(payment.id)).state == "failed"
    assert shop.balance() == 0


async def test_a_decline_reaches_who_asks_for_the_capture(shop: Shop) -> None:
    payment = await shop.top_up(1999)
    await shop.approve(payment, declined=True)
    with pytest.raises(Declined):
        await shop.paypal.provider.complete_payment(payment.checkout_id or "")
