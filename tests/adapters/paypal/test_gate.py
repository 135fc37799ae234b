"""A metered app that is paid for through PayPal, from the 402 to the next 200."""

import random
import time
from pathlib import Path

from metergate.provider_port.http import ask
from tests.adapters.paypal.bench import settings
from tests.adapters.paypal.fake import FakePayPal
from tests.adapters.paypal.signing import Signer
from tests.adapters.shopping import a_service


async def test_a_402_leads_to_paypal_and_an_approval_to_a_200(tmp_path: Path) -> None:
    fake = FakePayPal(lambda: time.time_ns() // 1000)
    await fake.server.start()
    async with a_service(tmp_path, "paypal", settings(fake, tmp_path)) as service:
        ada = await service.customer()
        refused = await ada("GET", "/x")
        assert refused.status == 402
        bought = await ada.ok("POST", refused.json()["top_up_url"], {"amount": "19.99"})
        assert (await ask("GET", bought["url"])).status == 200
        [order] = fake.orders.values()
        assert order["purchase_units"][0]["amount"] == {"currency_code": "USD", "value": "19.99"}

        [approved] = fake.events
        stranger = Signer(fake.clock, "WH-OTHER", ca="a stranger").headers(approved, fake.server.url)
        assert (await service.tell(approved, stranger)).status == 400
        assert (await ada("GET", "/x")).status == 402

        for body in [approved, approved]:
            assert (await service.tell(body, fake.signer.headers(body, fake.server.url))).status == 200
        await service.handled()
        news = [*fake.events, *fake.events]
        random.Random(7).shuffle(news)
        for body in news:
            assert (await service.tell(body, fake.signer.headers(body, fake.server.url))).status == 200
        await service.handled()

        assert (fake.captured, (await ada("GET", "/x")).status) == (1, 200)
        told = await ada.ok("GET", f"/billing/v1/payments/{bought['id']}")
        assert (told["state"], told["amount"]["amount"]) == ("succeeded", "19.99")
        assert (await ada.ok("GET", "/billing/v1/credits"))["balance"]["amount"] == "18.99"
        verified = await service.operator.ok("GET", "/admin/v1/verify")
        assert verified["ok"]
    await fake.server.close()


async def test_who_comes_back_from_venmo_before_any_news_is_captured_and_served(tmp_path: Path) -> None:
    fake = FakePayPal(lambda: time.time_ns() // 1000)
    await fake.server.start()
    async with a_service(tmp_path, "paypal", settings(fake, tmp_path)) as service:
        ada = await service.customer()
        bought = await ada.ok("POST", "/billing/v1/checkout", {"amount": "5.00", "wallet": "venmo"})
        await ask("GET", bought["url"])
        assert (await ada.ok("GET", f"/billing/v1/payments/{bought['id']}"))["state"] == "succeeded"
        assert (fake.captured, (await ada("GET", "/x")).status) == (1, 200)
    await fake.server.close()
