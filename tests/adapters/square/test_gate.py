"""A metered app that is paid for through Square, from the 402 to the next 200."""

import random
import time
from pathlib import Path

from metergate.provider_port.http import ask
from tests.adapters.shopping import a_service
from tests.adapters.square.bench import settings
from tests.adapters.square.fake import GOOD, FakeSquare


async def test_a_402_leads_to_square_and_paying_to_a_200(tmp_path: Path) -> None:
    fake = FakeSquare(lambda: time.time_ns() // 1000)
    await fake.server.start()
    environ = {**settings(fake), "SQUARE_WEBHOOK_URL": ""}  # the service's own address is what is signed
    async with a_service(tmp_path, "square", environ) as service:
        ada = await service.customer()
        refused = await ada("GET", "/x")
        assert refused.status == 402
        bought = await ada.ok("POST", refused.json()["top_up_url"], {"amount": "19.99"})
        assert (await ask("GET", bought["url"])).status == 200

        body = fake.events[0]
        assert (await service.tell(body, fake.headers(body, key="a stranger's"))).status == 400
        assert (await ada("GET", "/x")).status == 402

        news = [*fake.events, *fake.events]
        random.Random(7).shuffle(news)
        for body in news:
            assert (await service.tell(body, fake.headers(body))).status == 200
        await service.handled()

        assert (await ada("GET", "/x")).status == 200
        told = await ada.ok("GET", f"/billing/v1/payments/{bought['id']}")
        assert (told["state"], told["amount"]["amount"]) == ("succeeded", "19.99")
        assert (await ada.ok("GET", "/billing/v1/credits"))["balance"]["amount"] == "18.99"
        assert (await service.operator.ok("GET", "/admin/v1/verify"))["ok"]
    await fake.server.close()


async def test_a_card_is_kept_and_charged_by_the_operator(tmp_path: Path) -> None:
    fake = FakeSquare(lambda: time.time_ns() // 1000)
    await fake.server.start()
    async with a_service(tmp_path, "square", settings(fake)) as service:
        ada = await service.customer()
        kept = await ada.ok("POST", "/billing/v1/payment-methods", {"token": GOOD})
        assert (kept["type"], kept["brand"], kept["last4"]) == ("card", "visa", "1111")
        charge = {"account": "ada", "amount": "5.00", "method": kept["id"], "id": "job-1"}
        for _ in range(2):
            assert (await service.operator.ok("POST", "/admin/v1/payments", charge))["state"] == "succeeded"
        assert (len(fake.payments), (await ada("GET", "/x")).status) == (1, 200)
    await fake.server.close()
