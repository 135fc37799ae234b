"""A raw ASGI app that knows no lifespan, behind MeterGate."""

import asyncio
import json
import time

from metergate import MeterGate
from metergate.asgi.types import Receive, Scope, Send
from tests.servers import naive
from tests.servers.shared import POLICY, beside_itself, chunks, reached, signals

TEXT = (b"content-type", b"text/plain")


async def raw(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] in ("http", "websocket")
    if scope["type"] == "websocket":
        await echo_messages(receive, send)
        return
    path = scope["path"]
    _, first, *rest = path.split("/")
    reached[path] += 1
    if first == "stream":
        await stream(rest[0], receive, send)
    elif path == "/public/seen":
        await answer(send, json.dumps(reached).encode())
    elif path.startswith("/free/go/"):
        signals[rest[1]].set()
        await answer(send, b"")
    elif first == "waiting":
        await signals[rest[0]].wait()
        await answer(send, b"done")
    elif first == "clock":
        reached["/clock/ns"] = time.monotonic_ns()
        await answer(send, b"")
    else:
        await echo(scope, receive, send)


async def answer(send: Send, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [TEXT]})
    await send({"type": "http.response.body", "body": body})


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Tells what it got, in two parts and with headers that a middleware likes to lose."""
    body, more = b"", True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [TEXT, (b"set-cookie", b"a=1"), (b"x-twice", b"1"), (b"set-cookie", b"b=2"), (b"x-twice", b"2")]
    told = repr((scope["method"], scope["path"], scope["query_string"], body)).encode()
    await send({"type": "http.response.start", "status": 218, "headers": headers})
    await send({"type": "http.response.body", "body": told[:7], "more_body": True})
    await send({"type": "http.response.body", "body": told[7:]})


async def stream(name: str, receive: Receive, send: Send) -> None:
    """Stops when the client leaves."""
    await send({"type": "http.response.start", "status": 200, "headers": [TEXT]})
    sending = asyncio.create_task(send_chunks(name, send))
    leaving = asyncio.create_task(gone(receive))
    await asyncio.wait((sending, leaving), return_when=asyncio.FIRST_COMPLETED)
    if sending.done():
        await send({"type": "http.response.body", "body": b""})
    for task in (sending, leaving):
        task.cancel()


async def send_chunks(name: str, send: Send) -> None:
    async for chunk in chunks(name):
        await send({"type": "http.response.body", "body": chunk, "more_body": True})


async def gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


async def echo_messages(receive: Receive, send: Send) -> None:
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        await send({"type": "websocket.send", "text": message["text"]})


app = naive.beside(beside_itself(MeterGate(raw, POLICY), raw))
