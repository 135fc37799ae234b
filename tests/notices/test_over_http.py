"""The whole way: a customer's wish, calls that use up the credits, a payment by itself, and who is told."""

import time
from pathlib import Path

import pytest

from tests.api.client import problem
from tests.billing.test_over_http import a_house
from tests.notices.receiver import Receiver
from tests.waiting import until


async def test_credits_that_run_low_are_bought_by_themselves_and_everybody_hears_of_it(
    tmp_path: Path,
) -> None:
    receiver = Receiver(lambda: time.time_ns() // 1000)
    await receiver.start()
    async with a_house(tmp_path, alerts={"balance": ["2.00"]}) as house:
        made = await house.operator.ok("POST", "/admin/v1/endpoints", {"url": receiver.url})
        receiver.secrets.append(made["secret"])
        ada = await house.customer()
        grant = {"account": "ada", "amount": "4.00", "id": "first"}
        await house.operator.ok("POST", "/admin/v1/grants", grant)
        await ada.ok("POST", "/billing/v1/payment-methods", {"token": "tok_visa"})
        wish = {"threshold": "3.00", "amount": "10.00", "monthly_cap": "50.00"}
        assert (await ada.ok("PUT", "/billing/v1/top-up", wish))["state"] == "on"
        assert [each["amount"] for each in (await ada.ok("GET", "/billing/v1/alerts"))["balance"]] == ["2.00"]
        await ada.ok("PUT", "/billing/v1/alerts", {"spend": [{"amount": "2.00", "every": "day"}]})
        for _ in range(2):
            assert (await ada("GET", "/x")).status == 200
        wanted = {"credits.granted", "topup.started", "payment.succeeded", "spend.threshold"}
        await until(lambda: wanted <= set(receiver.types), "not everything was told")
        assert (await ada.ok("GET", "/billing/v1/credits"))["balance"]["amount"] == "12.00"
        shown = await ada.ok("GET", "/billing/v1/top-up")
        assert (shown["spent_this_month"]["amount"], shown["in_flight"]) == ("10.00", None)
        listed = (await house.operator.ok("GET", "/admin/v1/deliveries?state=delivered"))["data"]
        one = await house.operator.ok("GET", f"/admin/v1/deliveries/{listed[0]['id']}")
        assert one["attempts"][-1]["status"] == 200
        assert (await house.operator.ok("GET", "/admin/v1/top-ups?state=on"))["data"][0]["account"] == "ada"
        assert (await ada.ok("DELETE", "/billing/v1/top-up"))["state"] == "off"
        refused = await house.operator("POST", "/admin/v1/endpoints", {"url": "http://example.com/"})
        assert problem(refused)["detail"] == "Use https; http is for loopback only."
        replayed = await house.operator.ok("POST", "/admin/v1/deliveries/replay", {"id": listed[0]["id"]})
        assert replayed == {"replayed": 1}
        await until(lambda: receiver.ids[listed[0]["notice"]] == 2)
    assert receiver.forged == []
    await receiver.stop()


@pytest.mark.parametrize("path", ["/billing/v1/top-up", "/billing/v1/alerts"])
async def test_nobody_sets_anything_without_a_key(tmp_path: Path, path: str) -> None:
    async with a_house(tmp_path) as house:
        house.operator.secret = ""
        assert (await type(house.operator)(house.app, "")("PUT", path, {})).status == 401
