"""Starlette: the answer is the meter. Tokens are read out of the JSON, a stream passes through unbuffered."""

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route

from metergate import Gate, MeterGate
from metergate.testing import asgi

POLICY = {
    "metergate": 1,
    "meters": {
        "tokens": {"count": "json", "path": "$.usage.total_tokens"},
        "streams": {"count": "calls"},
    },
    "prices": {"tokens": {"price": "2.00", "per": 1000}, "streams": {"price": "0.01"}},
    "plans": {"hobby": {"limits": [{"rate": 3, "per": "hour"}]}},
    "default_plan": "hobby",
    "routes": [
        {"match": "POST /chat", "meter": "tokens", "hold": {"units": 100}},
        {"match": "GET /stream", "meter": "streams"},
    ],
}

wanted = asyncio.Semaphore(1)  # the app makes a word when the client has the one before


async def chat(request: Request) -> JSONResponse:
    return JSONResponse({"text": "Hello", "usage": {"total_tokens": 42}})


async def stream(request: Request) -> StreamingResponse:
    async def words() -> AsyncIterator[str]:
        for word in ("one", "two", "three"):
            await wanted.acquire()
            print("  the app makes", word)
            yield word

    return StreamingResponse(words(), media_type="text/event-stream")


app = Starlette(routes=[Route("/chat", chat, methods=["POST"]), Route("/stream", stream)])
app.add_middleware(MeterGate, policy=POLICY)


async def main() -> None:
    async with Gate.open(POLICY) as gate, asgi.lifespan(app):
        await gate.office.accounts.create("acme")
        await gate.office.credits.grant("acme", "1.00")
        headers = {"authorization": "Bearer " + (await gate.office.keys.create("acme"))["key"]}

        answer = await asgi.fetch(app, "POST", "/chat", headers=headers)
        balance = await gate.balance("acme") / 10**9
        print(f"POST /chat: {answer.status}, 100 tokens held, 42 used, {balance:.3f} USD left")

        print("GET /stream:")
        async with asgi.Request(app, "GET", "/stream", headers=headers) as request:
            while part := await request.chunk():
                print("  the client has", part.decode())
                wanted.release()

        await asgi.fetch(app, "POST", "/chat", headers=headers)
        answer = await asgi.fetch(app, "POST", "/chat", headers=headers)
        print(f"the fourth call of the hour: {answer.status} {answer.json()['reason']}")
        answer = await asgi.fetch(app, "GET", "/elsewhere", headers=headers)
        print(f"a path that is not offered: {answer.status} {answer.json()['reason']}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        os.environ["METERGATE_DATA"] = folder
        asyncio.run(main())
