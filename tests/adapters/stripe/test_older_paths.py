"""Stripe's news at the addresses of older systems, which `compat: true` keeps."""

from pathlib import Path

import pytest

from metergate.core.older_paths import STRIPE
from metergate.testing.asgi import fetch
from tests.adapters.stripe.house import HOOK, a_house


@pytest.mark.parametrize("path", STRIPE)
async def test_news_is_taken_where_older_systems_had_it_sent(tmp_path: Path, path: str) -> None:
    async with a_house(tmp_path, compat=True) as house:
        ada = await house.customer()
        await house.buys(ada, pack="small")
        for event in house.stripe.store.events:
            body = house.stripe.body(event)
            forged = await fetch(house.app, "POST", path, headers={"stripe-signature": "t=1,v1=0"}, body=body)
            assert forged.status == 400
            for address in (path, HOOK):  # both lead to one inbox
                told = await fetch(house.app, "POST", address, headers=house.stripe.signed(body), body=body)
                assert (told.status, told.json()["new"]) == (200, int(address == path))
            event["undelivered"] = False
        await house.handled()
        assert await house.credits(ada) == "6.00"


@pytest.mark.parametrize("path", STRIPE)
async def test_without_compat_they_are_the_apps(tmp_path: Path, path: str) -> None:
    async with a_house(tmp_path) as house:
        told = await fetch(house.app, "POST", path, body=b"{}")
        assert (told.status, told.json()["reason"]) == (401, "key_missing")
