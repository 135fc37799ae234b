"""Paid over Adyen, from end to end: a metered app, its webhook address, and a stand-in of Adyen over HTTP."""

import json
import random
from collections.abc import AsyncIterator, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from metergate import MeterGate
from metergate.errors import ConfigurationError
from metergate.provider_port import Context, Forged, Money, Order, Payer, UnknownOutcome
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate_adyen import AdyenProvider, open_provider
from metergate_adyen.calls import Calls
from metergate_adyen.news import Reader
from tests.adapters.adyen.bench import AdyenBench, a_fake, settings
from tests.adapters.adyen.fake import API_KEY, HMAC_KEY, MERCHANT, OTHER_KEY, FakeAdyen, notification
from tests.adapters.faking import SILENT
from tests.adapters.shopping import Service, a_service
from tests.api.client import Client

PRICE = {"value": 1000, "currency": "USD"}
PAID = {
    "eventCode": "AUTHORISATION",
    "pspReference": "P000000000000123",
    "merchantAccountCode": MERCHANT,
    "merchantReference": "order-1",
    "amount": PRICE,
    "success": "true",
}


class House(Service):
    """A metered app that takes money over Adyen."""

    ada: Client

    def __init__(self, app: MeterGate, adyen: FakeAdyen) -> None:
        super().__init__(app, "adyen")
        self.adyen = adyen

    async def order(self, id: str = "order-1", **more: Any) -> dict[str, Any]:
        asked = {"account": "ada", "amount": "10.00", "id": id, **more}
        made: dict[str, Any] = await self.operator.ok("POST", "/admin/v1/payments", asked)
        assert made["url"].startswith("https://test.adyen.link/PL")
        return made

    async def hear(self, bodies: Iterable[bytes]) -> list[int]:
        """Notifications arrive, and are handled; the statuses of the answers."""
        answers = [(await self.tell(body)).status for body in bodies]
        await self.handled()
        return answers

    async def balance(self) -> str:
        return str((await self.ada.ok("GET", "/billing/v1/credits"))["balance"]["amount"])

    async def payment(self, id: str = "order-1") -> dict[str, Any]:
        found: dict[str, Any] = await self.operator.ok("GET", f"/admin/v1/payments/{id}")
        return found

    async def news(self) -> list[tuple[str, str | None]]:
        """What became of what we were told, the newest first."""
        told = (await self.operator.ok("GET", "/admin/v1/webhooks"))["data"]
        return [(each["state"], each["detail"]) for each in told]

    async def sound(self) -> bool:
        return bool((await self.app.engine.office.books.verify())["ok"])


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    adyen = FakeAdyen(lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    await adyen.server.start()
    async with a_service(tmp_path, "adyen", settings(adyen)) as service:
        house = House(service.app, adyen)
        house.ada = await house.customer()
        yield house
    await adyen.server.close()


async def test_what_was_paid_is_credited_once_however_often_it_is_told(house: House) -> None:
    made = await house.order()
    assert (await house.ada("GET", "/x")).status == 402
    house.adyen.pay(made["external_id"])
    assert await house.balance() == "0.00"  # nobody has told us, and there is nobody to ask
    assert await house.hear(house.adyen.sent * 5) == [200] * 5
    assert await house.balance() == "10.00"
    assert (await house.ada("GET", "/x")).status == 200
    assert (await house.payment())["method"] == {"type": "card", "brand": "visa", "last4": "1111"}
    assert [state for state, _ in await house.news()] == ["done"]
    assert await house.sound()


async def test_a_declined_attempt_is_followed_by_one_that_pays_in_whatever_order_they_are_told(
    house: House,
) -> None:
    for number, turn in enumerate((1, -1)):
        made = await house.order(f"order-{number}")
        house.adyen.sent.clear()
        house.adyen.pay(made["external_id"], declined=True)
        house.adyen.pay(made["external_id"])
        await house.hear(house.adyen.sent[::turn])
        shown = await house.payment(f"order-{number}")
        assert (shown["state"], shown["mismatch"]) == ("succeeded", None)
    assert await house.balance() == "20.00"


@pytest.mark.parametrize("seed", range(4))
async def test_a_whole_life_comes_to_the_same_in_any_order(house: House, seed: int) -> None:
    """Paid, a part refunded, a refund that fails late, charged back, reversed, and charged back again."""
    made = await house.order()
    psp = house.adyen.pay(made["external_id"])
    await house.hear(house.adyen.sent)
    await house.operator.ok("POST", "/admin/v1/refunds", {"payment": "order-1", "amount": "2.50", "id": "r1"})
    await house.operator.ok("POST", "/admin/v1/refunds", {"payment": "order-1", "amount": "1.00", "id": "r2"})
    assert await house.balance() == "10.00"  # received is not done
    failed = json.loads(house.adyen.sent[-1])["notificationItems"][0]["NotificationRequestItem"]
    house.adyen.say("REFUND_FAILED", failed["pspReference"], "r2", failed["amount"], original=psp)
    for code in ("NOTIFICATION_OF_CHARGEBACK", "CHARGEBACK", "CHARGEBACK_REVERSED"):
        house.adyen.chargeback(psp, code, named=code != "CHARGEBACK_REVERSED")
    shuffled = house.adyen.sent * 2
    random.Random(seed).shuffle(shuffled)
    await house.hear(shuffled)
    assert await house.balance() == "7.50"
    assert (await house.payment())["state"] == "succeeded"
    house.adyen.chargeback(psp, "SECOND_CHARGEBACK", named=False)
    await house.hear([*house.adyen.sent[-1:], *shuffled])
    assert await house.balance() == "0.00"
    assert (await house.payment())["state"] == "disputed"
    assert await house.sound()


async def test_a_refund_that_is_told_before_the_payment_is_taken_when_that_comes(house: House) -> None:
    made = await house.order()
    psp = house.adyen.pay(made["external_id"])
    part = {"value": 400, "currency": "USD"}
    house.adyen.say("REFUND", "P000000000000777", "order-1", part, original=psp)  # by hand, at Adyen
    await house.hear(house.adyen.sent[::-1])
    assert await house.balance() == "6.00"
    assert await house.sound()


async def test_authorised_money_is_credited_when_its_capture_is_done_and_not_when_it_is_received(
    house: House,
) -> None:
    made = await house.order(capture=False)
    house.adyen.pay(made["external_id"])
    await house.hear(house.adyen.sent)
    assert (await house.payment())["capturable"]
    asked = await house.operator.ok("POST", "/admin/v1/payments/order-1/capture", {"amount": "4.00"})
    assert (asked["state"], await house.balance()) == ("pending", "0.00")
    await house.hear(house.adyen.sent)
    assert (await house.payment())["state"] == "succeeded"
    assert await house.balance() == "4.00"
    assert await house.sound()


async def test_a_capture_that_failed_is_asked_for_once_more(house: House) -> None:
    made = await house.order(capture=False)
    house.adyen.pay(made["external_id"])
    await house.hear(house.adyen.sent)
    house.adyen.fails = True
    for worked in (False, True):
        await house.operator.ok("POST", "/admin/v1/payments/order-1/capture")
        await house.hear(house.adyen.sent * 2)
        assert (await house.payment())["capturable"] is not worked
    assert ((await house.payment())["state"], await house.balance()) == ("succeeded", "10.00")


async def test_authorised_money_is_let_go(house: House) -> None:
    made = await house.order(capture=False)
    house.adyen.pay(made["external_id"])
    await house.hear(house.adyen.sent)
    await house.operator.ok("POST", "/admin/v1/payments/order-1/cancel")
    await house.hear(house.adyen.sent[::-1])
    assert ((await house.payment())["state"], await house.balance()) == ("canceled", "0.00")


async def test_a_capture_that_failed_after_all_takes_the_credits_back(house: House) -> None:
    made = await house.order()
    psp = house.adyen.pay(made["external_id"])
    house.adyen.say("CAPTURE_FAILED", "P000000000000888", "order-1", PRICE, original=psp)
    await house.hear(house.adyen.sent)
    assert await house.balance() == "0.00"
    assert await house.sound()


async def test_ids_that_are_longer_than_adyens_references_are_understood(house: House) -> None:
    long, longer = "o" * 100, "r" * 120
    made = await house.order(long)
    house.adyen.pay(made["external_id"])
    await house.hear(house.adyen.sent)
    await house.operator.ok("POST", "/admin/v1/refunds", {"payment": long, "id": longer})
    await house.hear(house.adyen.sent)
    assert (await house.payment(long))["state"] == "refunded"
    assert await house.balance() == "0.00"


LIES: dict[str, tuple[dict[str, Any], str]] = {
    "under-paid": ({"amount": {"value": 999, "currency": "USD"}}, "Only 999 of 1000 was paid"),
    "wrong currency": ({"amount": {"value": 1000, "currency": "JPY"}}, "JPY, USD was asked for"),
    "foreign account": ({"merchantAccountCode": "SomebodyElse"}, "merchant account SomebodyElse"),
    "live": ({"live": "true"}, "not of test mode"),
    "foreign order": ({"merchantReference": "order-of-a-shop"}, "no payment of ours"),
}


@pytest.mark.parametrize("lie", LIES)
async def test_what_is_signed_and_not_what_was_asked_for_grants_nothing_and_is_visible(
    house: House, lie: str
) -> None:
    await house.order()
    changes, why = LIES[lie]
    item = {**PAID, **changes}
    body = notification(item, HMAC_KEY, item.pop("live", "false"))
    assert await house.hear([body]) == [200]
    [(state, detail)] = await house.news()
    assert state in ("refused", "ignored")
    assert why in (detail or "")
    assert await house.balance() == "0.00"
    assert (await house.payment())["state"] == "pending"


async def test_what_a_stranger_signs_is_refused_and_counted(house: House) -> None:
    await house.order()
    forged = notification(PAID, "AB" * 32)
    blank = forged.replace(
        json.loads(forged)["notificationItems"][0]["NotificationRequestItem"]["additionalData"][
            "hmacSignature"
        ].encode(),
        b"",
    )
    assert await house.hear([forged, blank, b"", b"{}"]) == [400] * 4
    assert await house.news() == []
    health = await house.operator.ok("GET", "/admin/v1/webhooks/health")
    assert health["data"][0]["forged"] == 4
    assert await house.balance() == "0.00"


async def test_what_is_paid_too_much_is_flagged(house: House) -> None:
    made = await house.order()
    house.adyen.pay(made["external_id"], value=1300)
    await house.hear(house.adyen.sent)
    assert (await house.payment())["overpaid"]["amount"] == "3.00"
    assert await house.balance() == "10.00"


async def test_either_key_proves_news_while_one_takes_the_place_of_the_other(house: House) -> None:
    for number, key in enumerate((HMAC_KEY, OTHER_KEY)):
        made = await house.order(f"order-{number}")
        house.adyen.hmac_key = key
        house.adyen.pay(made["external_id"])
    assert await house.hear(house.adyen.sent) == [200, 200]
    assert await house.balance() == "20.00"


@pytest.mark.parametrize("fault", ["busy", "broken", "unanswered"])
async def test_an_order_that_was_not_answered_is_asked_for_again_and_made_once(
    house: House, fault: str
) -> None:
    house.adyen.server.faults.append(fault)
    asked = {"account": "ada", "amount": "10.00", "id": "order-1"}
    assert (await house.operator("POST", "/admin/v1/payments", asked)).status >= 500
    made = await house.order()
    assert len(house.adyen.links) == 1
    house.adyen.pay(made["external_id"])
    await house.hear(house.adyen.sent)
    assert await house.balance() == "10.00"


@pytest.mark.parametrize("fault", ["busy", "broken", "unanswered"])
async def test_a_refund_that_was_not_answered_is_done_once(house: House, fault: str) -> None:
    made = await house.order()
    psp = house.adyen.pay(made["external_id"])
    await house.hear(house.adyen.sent)
    house.adyen.server.faults.append(fault)
    asked = {"payment": "order-1", "amount": "4.00", "id": "r1"}
    assert (await house.operator("POST", "/admin/v1/refunds", asked)).status >= 500
    await house.hear(house.adyen.sent)  # what was done without an answer is told
    await house.operator.ok("POST", "/admin/v1/refunds", asked)
    await house.hear(house.adyen.sent)
    assert house.adyen.payments[psp].refunded == 400
    assert await house.balance() == "6.00"
    assert await house.sound()


async def test_what_adyen_took_and_never_answered_is_unknown_and_done_once() -> None:
    clock = FakeClock()
    fake = a_fake(clock)
    await fake.server.start()
    bench, notes = AdyenBench(fake, clock), NotesInMemory()
    hasty = Calls(API_KEY, MERCHANT, fake.server.url, "", timeout_s=1)
    adyen = AdyenProvider(hasty, Reader(MERCHANT, (HMAC_KEY,), notes), notes, live=False)
    order = Order("order-1", Payer("ada"), Money(1999, "USD"))
    bench.next_request(SILENT)
    with pytest.raises(UnknownOutcome):
        await adyen.open_checkout(order)
    await bench.provider.open_checkout(order)
    assert bench.made() == 1
    await bench.provider.close()
    await fake.server.close()


@pytest.mark.parametrize("by_itself", [False, True])
async def test_a_page_that_nobody_paid_is_closed(house: House, *, by_itself: bool) -> None:
    link = house.adyen.links[(await house.order())["external_id"]]
    link.status = "expired" if by_itself else "active"
    await house.operator.ok("POST", "/admin/v1/payments/order-1/cancel")
    assert link.status == "expired"
    assert (await house.payment())["state"] == "canceled"


async def test_a_page_that_somebody_pays_at_is_not_closed(house: House) -> None:
    house.adyen.pay((await house.order())["external_id"])
    refused = await house.operator("POST", "/admin/v1/payments/order-1/cancel")
    assert (refused.status, b"wait for the news" in refused.body) == (400, True)
    await house.hear(house.adyen.sent)
    assert await house.balance() == "10.00"


def opened(**changes: str) -> AdyenProvider:
    environ = {**settings(FakeAdyen(str)), **changes}
    return open_provider(Context("adyen", FakeClock(), ask, NotesInMemory(), environ))


def test_a_currency_that_adyen_counts_in_other_units_is_not_taken() -> None:
    adyen = opened()
    assert "CLP" in adyen.objection(Money(1000, "CLP"))
    assert adyen.objection(Money(1000, "JPY")) == ""


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"ADYEN_HMAC_KEY": " "}, "ADYEN_HMAC_KEY"),
        ({"ADYEN_HMAC_KEY": "not hexadecimal"}, "hexadecimal"),
        ({"ADYEN_API_KEY": ""}, "ADYEN_API_KEY"),
        ({"ADYEN_MERCHANT_ACCOUNT": ""}, "ADYEN_MERCHANT_ACCOUNT"),
        ({"ADYEN_LIVE_PREFIX": "1797a841fbb37ca7-Shop"}, "not both"),
        ({"ADYEN_API_BASE": "http://adyen.example"}, "https"),
        ({"ADYEN_API_BASE": "", "ADYEN_LIVE_PREFIX": "https://1797a841fbb37ca7-Shop"}, "Customer Area"),
    ],
)
def test_a_missing_or_blank_setting_refuses_to_start(changes: dict[str, str], why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        opened(**changes)


def test_real_money_moves_at_the_address_of_the_company_alone() -> None:
    adyen = opened(ADYEN_API_BASE="", ADYEN_LIVE_PREFIX="1797a841fbb37ca7-Shop")
    links = adyen._calls.links
    where = links.client._determine_api_url(links.client.platform, links.baseUrl)
    assert adyen.live
    assert where == "https://1797a841fbb37ca7-Shop-checkout-live.adyenpayments.com/checkout/v72"


async def test_news_that_is_signed_with_another_key_later_has_the_id_that_it_had() -> None:
    clock = FakeClock()
    fake = a_fake(clock)
    bench = AdyenBench(fake, clock)
    ids = set()
    for key in (HMAC_KEY, OTHER_KEY):
        fake.hmac_key = key
        body = fake.say("AUTHORISATION", "P000000000000001", "order-1", PRICE)
        ids |= {event.id for event in await bench.provider.read_webhook({}, body)}
    assert len(ids) == 1


@pytest.mark.parametrize("field", ["pspReference", "originalReference", "eventCode", "merchantAccountCode"])
async def test_what_could_be_read_in_two_ways_is_refused_although_it_is_signed(field: str) -> None:
    clock = FakeClock()
    item = {**PAID, field: "P1:P2"}
    with pytest.raises(Forged):
        await AdyenBench(a_fake(clock), clock).provider.read_webhook({}, notification(item, HMAC_KEY))
