"""What goes wrong between Stripe and us, and what may be done then."""

import asyncio
import socket

import aiohttp
import pytest

from metergate.errors import InvalidInput
from metergate.provider_port import (
    SUCCEEDED,
    Declined,
    Misconfigured,
    Money,
    NeedsAction,
    Payer,
    TryAgain,
    UnknownOutcome,
)
from metergate.provider_port.http import ask
from metergate.testing.provider_conformance import BROKEN, BUSY, UNANSWERED
from metergate_stripe.wire import TIMEOUT
from tests.adapters.stripe.bench import Bench, a_bench, an_order
from tests.adapters.stripe.fake.server import BURNED, SILENT


async def test_a_429_is_told_once_with_its_wait_and_never_sent_again_by_the_sdk(bench: Bench) -> None:
    for told, wait_s in ((30, 30), (0, 1)):
        bench.fake.busy_s = told
        bench.fake.faults.append(BUSY)
        with pytest.raises(TryAgain, match="too quickly") as busy:
            await bench.stripe.open_checkout(an_order())
        assert busy.value.after_s == wait_s
    assert len(bench.fake.seen) == 2


@pytest.mark.parametrize("fault", [BROKEN, UNANSWERED, BURNED])
async def test_what_was_sent_without_an_answer_is_unknown_and_sent_once(bench: Bench, fault: str) -> None:
    bench.fake.faults.append(fault)
    with pytest.raises(UnknownOutcome):
        await bench.stripe.open_checkout(an_order())
    assert len(bench.fake.seen) == 1


async def test_who_never_answers_is_not_waited_for_for_ever(bench: Bench) -> None:
    order = an_order()
    bench.stripe.wire.timeout = aiohttp.ClientTimeout(total=0.3)
    bench.fake.faults.append(SILENT)
    with pytest.raises(UnknownOutcome, match="did not answer to the end"):
        await bench.stripe.open_checkout(order)
    bench.stripe.wire.timeout = TIMEOUT
    await bench.stripe.open_checkout(order)
    assert bench.store.made() == 1


async def test_what_is_only_read_may_be_read_again_whatever_happens(bench: Bench) -> None:
    page = await bench.stripe.open_checkout(an_order())
    await bench.fake.close()
    with pytest.raises(TryAgain):
        await bench.stripe.fetch_payment(page.id)
    await bench.stripe.close()
    with pytest.raises(TryAgain, match="the policy has changed"):
        await bench.stripe.fetch_payment(page.id)


async def test_nobody_pays_with_what_a_stranger_keeps(bench: Bench) -> None:
    mine, theirs = await bench.customer("acct_1"), await bench.customer("acct_2")
    method = await bench.method(theirs)
    with pytest.raises(Declined, match="no such payment method"):
        await bench.stripe.charge(an_order(customer=mine), method)
    for token in (method, "pm_of_nobody"):
        with pytest.raises(InvalidInput, match="no such payment method"):
            await bench.stripe.attach_method(mine, token)
    again = await bench.stripe.attach_method(theirs, method)
    assert (again.id, bench.store.made()) == (method, 0)


async def test_ids_of_different_things_may_be_the_same(bench: Bench) -> None:
    customer = await bench.customer()
    method = await bench.method(customer)
    order = an_order(customer=customer)
    paid = await bench.stripe.charge(order, method)
    made = await bench.stripe.refund_payment(paid.id, Money(500, "USD"), order.id)
    assert (made.refund, made.amount) == (order.id, Money(500, "USD"))


async def test_an_error_that_the_key_repeats_stays_unknown_and_makes_nothing(bench: Bench) -> None:
    order = an_order()
    bench.fake.faults.append(BURNED)
    for _ in range(2):
        with pytest.raises(UnknownOutcome):
            await bench.stripe.open_checkout(order)
    assert (bench.store.made(), await bench.stripe.find_payment(order.id)) == (0, None)


async def test_where_nobody_listens_nothing_was_done() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        nowhere = f"http://127.0.0.1:{taken.getsockname()[1]}"
        async with a_bench(STRIPE_API_BASE=nowhere) as bench:
            with pytest.raises(TryAgain, match="cannot be reached"):
                await bench.stripe.open_checkout(an_order())
            health = await bench.stripe.health()
            assert (health.ok, "cannot be reached" in health.detail) == (False, True)


async def test_a_key_that_stripe_does_not_know_is_for_the_operator() -> None:
    async with a_bench(STRIPE_SECRET_KEY="sk_test_wrong") as bench:
        assert not (await bench.stripe.health()).ok
        with pytest.raises(Misconfigured, match="Invalid API Key"):
            await bench.stripe.open_checkout(an_order())


async def test_the_same_id_with_other_contents_is_not_taken_for_the_same(bench: Bench) -> None:
    order = an_order()
    await bench.stripe.open_checkout(order)
    with pytest.raises(UnknownOutcome, match="same parameters"):
        await bench.stripe.open_checkout(order._replace(amount=Money(1, "USD")))
    assert bench.store.made() == 1


async def test_an_account_that_changed_its_address_in_between_is_the_same_customer(bench: Bench) -> None:
    first = await bench.stripe.create_customer(Payer("acct_1", "old@example.com"))
    again = await bench.stripe.create_customer(Payer("acct_1", "new@example.com"))
    assert again.id == first.id


async def test_a_customer_is_found_again_after_a_day_too(bench: Bench) -> None:
    first = await bench.stripe.create_customer(Payer("it's \\ odd", "a@example.com"))
    bench.clock.advance(seconds=2 * 86_400)
    bench.fake._kept.clear()  # Stripe forgets keys after a day
    assert (await bench.stripe.create_customer(Payer("it's \\ odd"))).id == first.id
    assert len(bench.store.all("customer")) == 1


async def test_where_there_is_no_search_customers_are_made_and_payments_are_never_said_to_be_none(
    bench: Bench,
) -> None:
    bench.store.searches = False
    customer = await bench.customer()
    order = an_order(customer=customer)
    await bench.stripe.charge(order, await bench.method(customer))
    assert await bench.stripe.find_payment(order.id) is not None
    bench.clock.advance(seconds=86_400)
    with pytest.raises(Misconfigured, match="Search is not available"):
        await bench.stripe.find_payment(order.id)


async def test_two_services_share_an_account_at_stripe_and_meet_nowhere(bench: Bench) -> None:
    order = an_order()
    mine = await bench.stripe.open_checkout(order)
    async with a_bench(STRIPE_API_BASE=bench.fake.url, STRIPE_NAMESPACE="shop") as other:
        theirs = await other.stripe.open_checkout(order)
        assert theirs.id != mine.id
        assert await other.customer() != await bench.customer()
        await bench.pay(mine.url)
        seen = await other.stripe.fetch_payment(mine.id)
        assert seen is not None
        assert seen.order == ""
        assert (await bench.stripe.find_payment(order.id)) is not None


async def test_a_charge_whose_answer_was_lost_is_found_at_once_and_after_a_day(bench: Bench) -> None:
    customer = await bench.customer()
    method = await bench.method(customer)
    order = an_order(customer=customer)
    bench.fake.faults.append(UNANSWERED)
    with pytest.raises(UnknownOutcome):
        await bench.stripe.charge(order, method)
    for later in (0, 86_400):  # in the list at first, by the search afterwards
        bench.clock.advance(seconds=later)
        found = await bench.stripe.find_payment(order.id)
        assert found is not None
        assert (found.state, found.order) == (SUCCEEDED, order.id)


async def test_a_payment_is_found_among_hundreds(bench: Bench) -> None:
    customer = await bench.customer()
    method = await bench.method(customer)
    order = an_order(customer=customer)
    await bench.stripe.charge(order, method)
    for _ in range(230):
        bench.store.add("pi", "payment_intent", metadata={}, status="canceled")
    found = await bench.stripe.find_payment(order.id)
    assert found is not None
    assert found.state == SUCCEEDED


async def test_a_card_is_listed_among_hundreds(bench: Bench) -> None:
    """Who is not listed with it cannot let go of it."""
    customer = await bench.customer()
    oldest = await bench.method(customer)
    for _ in range(120):
        await bench.method(customer)
    listed = [each.id for each in await bench.stripe.list_methods(customer)]
    assert (len(set(listed)), oldest in listed) == (121, True)


async def test_a_bank_that_wants_to_be_asked_needs_an_address_to_send_the_payer_back_to() -> None:
    async with a_bench("", STRIPE_RETURN_URL="") as bench:
        customer = await bench.customer()
        method = await bench.method(customer, "pm_card_authenticationRequired")
        order = an_order(customer=customer)
        with pytest.raises(NeedsAction, match="Pay on a page") as asked:
            await bench.stripe.charge(order, method)
        assert asked.value.url == ""
        back = order._replace(id="pay-with-address", success_url="https://app.example.com/")
        for _ in range(2):  # and asked again it is the same payment
            with pytest.raises(NeedsAction) as asked:
                await bench.stripe.charge(back, method)
            assert asked.value.url.startswith(f"{bench.fake.url}/bank/")
        assert bench.store.made() == 2
        await ask("POST", asked.value.url)
        assert (await bench.stripe.charge(back, method)).state == SUCCEEDED


async def test_a_decline_is_repeated_by_its_id_and_is_a_failure_when_it_is_asked_for(bench: Bench) -> None:
    customer = await bench.customer()
    method = await bench.method(customer, "pm_card_chargeCustomerFail")
    order = an_order(customer=customer)
    for _ in range(2):
        with pytest.raises(Declined, match="Your card was declined"):
            await bench.stripe.charge(order, method)
    found = await bench.stripe.find_payment(order.id)
    assert found is not None
    assert (found.state, found.reason, bench.store.made()) == ("failed", "Your card was declined.", 1)


async def test_stablecoins_are_for_dollars(bench: Bench) -> None:
    await bench.stripe.open_checkout(an_order(options={"token": "usdc"}))
    [page] = bench.asked("/v1/checkout/sessions")
    assert page["allowed_payment_method_types"] == ["crypto"]
    for wrong in (an_order(options={"token": "DOGE"}), an_order(500, "EUR", options={"token": "USDC"})):
        with pytest.raises(InvalidInput, match="in USD with one of USDC"):
            await bench.stripe.open_checkout(wrong)


async def test_the_operator_says_which_methods_a_page_offers() -> None:
    async with a_bench(STRIPE_PAYMENT_METHODS="card, crypto") as bench:
        await bench.stripe.open_checkout(an_order())
        [page] = bench.asked("/v1/checkout/sessions")
        assert page["allowed_payment_method_types"] == ["card", "crypto"]


async def test_many_at_once_are_each_their_own(bench: Bench) -> None:
    orders = [an_order() for _ in range(20)]
    pages = await asyncio.gather(*(bench.stripe.open_checkout(order) for order in orders * 2))
    assert (len({page.id for page in pages}), bench.store.made()) == (20, 20)


async def test_a_page_without_an_address_to_come_back_to_is_told_with_the_settings_that_help() -> None:
    async with a_bench("", STRIPE_RETURN_URL="") as bench:
        with pytest.raises(
            Misconfigured, match="Set STRIPE_RETURN_URL, FRONTEND_URL or METERGATE_PUBLIC_URL"
        ):
            await bench.stripe.open_checkout(an_order())
        assert bench.asked("/v1/checkout/sessions") == []
        back = "https://app.example.com/"
        assert (await bench.stripe.open_checkout(an_order(success_url=back))).url
