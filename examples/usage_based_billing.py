"""Usage-based billing: several services report what their users used; the bill adds up each meter.

The services send batches to `POST /admin/v1/usage`. A batch that is sent again, because nobody knows whether
the first one arrived, is counted once.
"""

import asyncio
import json
import os
import tempfile
from typing import Any

from metergate import Gate, admin_app
from metergate.testing.asgi import fetch

POLICY = {
    "metergate": 1,
    "currency": "EUR",
    "meters": {"requests": {"count": "app"}, "gigabytes": {"count": "app"}, "minutes": {"count": "app"}},
    "prices": {
        "requests": {"tiers": [{"up_to": 1000, "price": "0.001"}, {"price": "0.0005"}]},
        "gigabytes": {"price": "0.02"},
        "minutes": {"package": {"units": 60, "price": "0.30"}},
    },
    "plans": {"postpaid": {"credit_limit": "1000.00"}},
    "default_plan": "postpaid",
}
TOKEN = "only-for-this-example"  # noqa: S105 - a real one is made by metergate and kept in its data folder
REPORTS: dict[str, list[dict[str, Any]]] = {
    "search": [
        {"account": "acme", "meter": "requests", "units": 800},
        {"account": "acme", "meter": "requests", "units": 700},
        {"account": "globex", "meter": "requests", "units": 10},
    ],
    "storage": [{"account": "acme", "meter": "gigabytes", "units": 50}],
    "video": [
        {"account": "globex", "meter": "minutes", "units": 61},
        {"account": "globex", "meter": "seats", "units": 2, "cost": "4.00"},
    ],
}


async def main() -> None:
    app = admin_app(POLICY)

    async def ask(method: str, path: str, body: object = None, **headers: str) -> Any:
        headers |= {"authorization": f"Bearer {TOKEN}", "content-type": "application/json"}
        sent = b"" if body is None else json.dumps(body).encode()
        headers["content-length"] = str(len(sent))
        return (await fetch(app, method, path, headers=headers, body=sent)).json()

    async with Gate.open(POLICY):  # the service that owns the data folder; the admin side asks it
        for account in ("acme", "globex"):
            await ask("POST", "/admin/v1/accounts", {"id": account})
        for service, rows in REPORTS.items():
            batch = [{**row, "service": service} for row in rows]
            for attempt in ("sent", "sent again"):
                done = await ask("POST", "/admin/v1/usage", batch, **{"idempotency-key": f"{service}-may"})
                replayed = sum(row["replayed"] for row in done["data"])
                print(f"{service} {attempt}: {done['recorded']} rows, {replayed} of them known before")

        for account in ("acme", "globex"):
            print(f"\n{account}")
            for line in (await ask("GET", f"/admin/v1/usage/totals?account={account}"))["data"]:
                print(f"  {line['meter']:<10}{line['units']:>6} units {line['cost']['amount']:>10} EUR")
            owed = await ask("GET", f"/admin/v1/accounts/{account}/credits")
            print(f"  balance {owed['balance']['amount']} EUR")
        print("\nthe ledger adds up:", (await ask("GET", "/admin/v1/verify"))["ok"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ |= {"METERGATE_DATA": folder, "METERGATE_ADMIN_TOKEN": TOKEN}
        asyncio.run(main())
