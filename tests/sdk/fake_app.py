"""The fake AI API by itself, and the same behind MeterGate: two apps that an SDK must not tell apart."""

from typing import Any

from metergate import MeterGate
from metergate.asgi.types import Receive, Scope, Send
from metergate.testing.fake_ai import FakeAI

POLICY: dict[str, Any] = {
    "metergate": 1,
    "meters": {"tokens": {"count": "llm"}},
    "prices": {
        "tokens": [
            {"when": {"kind": "input"}, "price": "2.00", "per": 1_000_000},
            {"when": {"kind": "output"}, "price": "10.00", "per": 1_000_000},
        ]
    },
    "top_up_url": "https://pay.example/top-up",
    "routes": [
        {"match": "GET /public/seen", "public": True},
        {"match": "GET /v1/models", "free": True},
        {
            "match": "POST /dry/**",
            "meter": "tokens",
            "hold": {"output_cap": 256, "grow": True},
            "on_dry": "stop",
        },
        {"match": "POST /**", "meter": "tokens"},
    ],
}


class Seen:
    """A fake that can be asked whether it is up, and how often it was asked."""

    def __init__(self) -> None:
        self._fake = FakeAI()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] != "/public/seen":
            await self._fake(scope, receive, send)
            return
        body = b'{"asked":%d,"served":%d}' % (len(self._fake.journal), self._fake.served)
        headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})


direct = Seen()
metered = MeterGate(Seen(), POLICY)
