"""A plain ASGI app, made paid by one line. The account can pay for three calls and asks for four."""

import asyncio
import os
import tempfile

from metergate import Gate, MeterGate
from metergate.testing.asgi import Receive, Scope, Send, fetch, lifespan

POLICY = {
    "metergate": 1,
    "meters": {"requests": {"count": "calls"}},
    "prices": {"requests": {"price": "0.01"}},
    "routes": [{"match": "GET /health", "public": True}, {"match": "* /**", "meter": "requests"}],
}


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "lifespan":
        for step in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{step}.complete"})
        return
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    await send({"type": "http.response.body", "body": b"Hello"})


async def main() -> None:
    app = MeterGate(hello, policy=POLICY)  # this is the line
    async with lifespan(app):
        # What `metergate accounts create`, `credits grant` and `keys create` do.
        office = app.engine.office
        await office.accounts.create("acme")
        await office.credits.grant("acme", "0.03")
        key = (await office.keys.create("acme"))["key"]

        print("without a key:", (await fetch(app, "GET", "/")).status)
        print("health, which is public:", (await fetch(app, "GET", "/health")).status)
        for _ in range(4):
            answer = await fetch(app, "GET", "/", headers={"authorization": f"Bearer {key}"})
            left = answer.header("metergate-balance") or answer.json()["detail"]
            print(f"GET / with the key: {answer.status}, {left}")

    async with Gate.open(POLICY) as gate:
        for total in (await gate.office.usage.totals("acme"))["data"]:
            print("used:", total["units"], total["meter"], "for", total["cost"]["amount"], "USD")
        print("the ledger adds up:", (await gate.office.books.verify())["ok"])


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["METERGATE_DATA"] = folder
        asyncio.run(main())
