"""The apps under test as processes: `python -m benchmarks.apps raw 9000 [metered]`.

Where a metered one keeps its counters and its ledger is in the environment.
"""

import sys
from collections.abc import Callable, Sequence

import uvicorn
from fastapi import FastAPI

from metergate.asgi.types import ASGIApp, Receive, Scope, Send
from metergate.bootstrap import MeterGate

PRICE_NANOS = 2000
POLICY = {
    "metergate": 1,
    "meters": {"requests": {"count": "calls"}},
    "prices": {"requests": {"price": "0.000002"}},
    "routes": [{"match": "* /**", "meter": "requests"}],
}
HEADERS = [(b"content-type", b"text/plain"), (b"content-length", b"23")]


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    """The least that an ASGI app can do."""
    if scope["type"] == "lifespan":
        await _lifespan(receive, send)
        return
    await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
    await send({"type": "http.response.body", "body": b"hello hello hello hello"})


async def _lifespan(receive: Receive, send: Send) -> None:
    kind = ""
    while kind != "lifespan.shutdown":
        kind = (await receive())["type"]
        await send({"type": f"{kind}.complete"})


def raw(metered: bool) -> ASGIApp:
    return MeterGate(hello, POLICY) if metered else hello


def fastapi(metered: bool) -> ASGIApp:
    app = FastAPI()

    @app.get("/hello")
    async def hello() -> dict[str, str]:
        return {"hello": "hello"}

    if metered:
        app.add_middleware(MeterGate, policy=POLICY)
    return app


def command(kind: str, *, metered: bool) -> Callable[[int], Sequence[str]]:
    """How a process of it is started on a port."""
    return lambda port: [sys.executable, "-m", __name__, kind, str(port), *["metered"][: int(metered)]]


KINDS: dict[str, Callable[[bool], ASGIApp]] = {"raw": raw, "fastapi": fastapi}


def main(kind: str, port: str, metered: str = "") -> None:
    app = KINDS[kind](bool(metered))
    uvicorn.run(app, port=int(port), access_log=False, log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
