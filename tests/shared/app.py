"""The app that several processes serve: it counts what reaches it, and beside it stands a naive gate.

Every call leaves its path in a file that all processes add to, so that it is known what they saw together,
whatever becomes of them.
"""

import asyncio
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from metergate import MeterGate
from metergate.asgi.types import ASGIApp, Receive, Scope, Send

POLICY: dict[str, Any] = {
    "metergate": 1,
    "meters": {
        "requests": {"count": "calls"},
        "ones": {"count": "calls"},
        "sevens": {"count": "calls"},
        "rows": {"count": "json", "path": "$.rows"},
    },
    "prices": {
        "requests": {"price": "0.01"},
        "ones": {"price": "1"},
        "sevens": {"price": "7"},
        "rows": {"price": "1"},
    },
    "plans": {"bounded": {"concurrency": [{"held": "20.00"}]}},
    "routes": [
        {"match": "* /public/**", "public": True},
        {"match": "* /free/**", "free": True},
        {"match": "* /ones/**", "meter": "ones"},
        {"match": "* /sevens/**", "meter": "sevens"},
        {"match": "* /rows/**", "meter": "rows", "hold": {"units": 5}},
        {"match": "* /brief/**", "meter": "ones", "hold_for": "2s", "on_unknown_outcome": "minimum"},
        {"match": "* /**", "meter": "requests"},
    ],
}
DATABASE_S = 0.01
"""How long such a gate has to do with its own database in between."""
JSON = (b"content-type", b"application/json")
log = os.open(Path(os.environ.get("REACHED", os.devnull)), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


async def bare(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    path: str = scope["path"]
    if not path.startswith("/public/"):
        os.write(log, f"{path}\n".encode())
    asked = dict(parse_qsl(scope["query_string"].decode(), keep_blank_values=True))
    await asyncio.sleep(float(asked.get("wait", 0)))
    if "fail" in asked:
        await send({"type": "http.response.start", "status": 500, "headers": [JSON]})
        await send({"type": "http.response.body", "body": b"{}"})
        return
    told = {"pid": os.getpid(), "rows": int(asked.get("rows", 0))}
    body = json.dumps(told).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
    await send({"type": "http.response.body", "body": body})


def beside(metered: ASGIApp) -> ASGIApp:
    """Under /naive: look at the shared balance, and take from it a moment later."""

    async def naive(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith("/naive/"):
            await metered(scope, receive, send)
            return
        name = scope["path"].replace("/", ":")
        status = 402
        if int(await valkey("GET", name) or 0) >= 7:
            await asyncio.sleep(DATABASE_S)
            os.write(log, f"{scope['path']}\n".encode())
            await valkey("DECRBY", name, "7")
            status = 200
        await send({"type": "http.response.start", "status": status, "headers": [JSON]})
        await send({"type": "http.response.body", "body": b""})

    return naive


async def valkey(*words: str) -> str:
    """One command of the server that is the store too."""
    reader, writer = await asyncio.open_unix_connection(os.environ["METERGATE_STORE"].partition("//")[2])
    writer.write(f"{' '.join(words)}\r\n".encode())
    line = await reader.readline()
    text = await reader.readline() if line.startswith(b"$") and line != b"$-1\r\n" else line[1:]
    writer.close()
    return text.decode().strip()


app = beside(MeterGate(bare, os.environ.get("METERGATE_POLICY") or POLICY))
