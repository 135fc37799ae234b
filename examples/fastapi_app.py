"""FastAPI: features by plan, and a handler that counts more than the call itself."""

import asyncio
import os
import tempfile

from fastapi import FastAPI

from metergate import Gate, MeterGate, current
from metergate.testing.asgi import fetch, lifespan

POLICY = {
    "metergate": 1,
    "meters": {"requests": {"count": "calls"}, "images": {"count": "app"}},
    "prices": {"requests": {"price": "0.01"}, "images": {"price": "0.10"}},
    "plans": {
        "free": {"features": ["text"]},
        "growth": {"features": ["text", "images"]},
    },
    "default_plan": "free",
    "routes": [
        {"match": "GET /images", "meter": "requests", "feature": "images"},
        {"match": "* /**", "meter": "requests", "feature": "text"},
    ],
}

app = FastAPI()
app.add_middleware(MeterGate, policy=POLICY)


@app.get("/text")
async def text() -> dict[str, str]:
    return {"account": current.account, "plan": current.plan}


@app.get("/images")
async def images(count: int = 1) -> dict[str, int]:
    await current.charge("images", count)  # 402 if it does not fit: then nothing is drawn
    return {"drawn": count}


async def main() -> None:
    # A Gate over the same data folder shares the engine's store and ledger with the app.
    async with Gate.open(POLICY) as gate, lifespan(app):
        await gate.office.accounts.create("acme")
        await gate.office.credits.grant("acme", "0.50")
        key = (await gate.office.keys.create("acme"))["key"]

        async def get(path: str) -> None:
            answer = await fetch(app, "GET", path, headers={"x-api-key": key})
            told = answer.json() if answer.status == 200 else answer.json()["detail"]
            print(f"GET {path}: {answer.status} {told}")

        await get("/text")
        await get("/images?count=3")
        await gate.subscribe("acme", "growth")
        print("acme is on growth:", await gate.is_subscribed("acme", "growth"))
        await get("/images?count=3")
        await get("/images?count=3")

        for total in (await gate.office.usage.totals("acme"))["data"]:
            print("used:", total["units"], total["meter"], "for", total["cost"]["amount"], "USD")
        print("left:", (await gate.office.credits.show("acme"))["balance"]["amount"], "USD")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["METERGATE_DATA"] = folder
        asyncio.run(main())
