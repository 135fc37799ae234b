"""Calls whose units are known when they end, under a price that depends on the units of the period."""

import asyncio
import json
from typing import Any

from metergate.bootstrap import open_office
from tests.shared.app import POLICY
from tests.shared.house import Desk, Place, processes

CALLS, ROWS = 10, 2
PLAN = {"included": {"rows": {"units": CALLS * ROWS, "every": "month"}}, "on_exceed": "overage"}
ALLOWING: dict[str, Any] = {**POLICY, "plans": {"some": {**PLAN, "overage": {"rows": {"price": "1"}}}}}


async def test_calls_that_run_together_share_an_allowance_by_what_they_use(place: Place) -> None:
    """They hold more than twice the allowance together, use all of it, and pay nothing; the next one pays."""
    policy = place.data / "allowing.json"
    place.data.mkdir(parents=True, exist_ok=True)
    policy.write_text(json.dumps(ALLOWING))
    async with open_office(ALLOWING, place.settings(worker=False)) as office:
        desk = Desk(office.do)
        with processes(place, 1, METERGATE_POLICY=str(policy)) as (server,):
            key = await desk.customer("sharing", plan="some")
            async with server.client(key) as client:
                path = f"/rows/x?rows={ROWS}"
                answers = await asyncio.gather(*[client.get(f"{path}&wait=1") for _ in range(CALLS)])
                assert [each.status_code for each in answers] == [200] * CALLS
                assert await desk.balance("sharing") == "1000.00"
                assert (await client.get(path)).status_code == 200
                assert await desk.balance("sharing") == f"{1000 - ROWS}.00"
        await desk.has_used("sharing", (CALLS + 1) * ROWS)
        await desk.proven()
