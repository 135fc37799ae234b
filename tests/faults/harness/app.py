"""The app behind a gate, and the upstream behind the proxy: both note every call before they serve it.

What they note is the proof from outside: the id that the gate gave the call, and its path.
"""

import json
import os
from pathlib import Path
from urllib.parse import parse_qs

from metergate import MeterGate, current
from metergate.asgi.types import Receive, Scope, Send

JSON = (b"content-type", b"application/json")
log = os.open(Path(os.environ.get("REACHED", os.devnull)), os.O_WRONLY | os.O_APPEND | os.O_CREAT)


async def serve(scope: Scope, receive: Receive, send: Send, request_id: str) -> None:
    if not scope["path"].startswith(("/public/", "/free/")):
        os.write(log, f"{request_id} {scope['path']}\n".encode())
    rows = parse_qs(scope["query_string"]).get(b"rows", [b"0"])[0]
    await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
    await send({"type": "http.response.body", "body": json.dumps({"rows": int(rows)}).encode()})


async def inside(scope: Scope, receive: Receive, send: Send) -> None:
    await serve(scope, receive, send, "" if scope["path"].startswith("/public/") else current.request_id)


async def upstream(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    await serve(scope, receive, send, dict(scope["headers"])[b"metergate-request-id"].decode())


app = MeterGate(inside, os.environ.get("METERGATE_POLICY") or {"metergate": 1})
