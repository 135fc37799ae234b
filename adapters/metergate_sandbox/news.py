"""Signed webhooks: how they are signed, proven and delivered, also badly where that is wanted."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from metergate.errors import ProviderError
from metergate.provider_port import Forged, Http, ProviderEvent
from metergate_sandbox.shapes import from_json, to_json

SIGNATURE: Final = "sandbox-signature"
TOLERANCE_S: Final = 300
DUPLICATE, SHUFFLED, LATE = "duplicate", "shuffled", "late"
_PAUSES_S: Final = (0.1, 0.3, 1, 3, 10, 30)


def signed(body: bytes, secret: str, now_us: int) -> dict[str, str]:
    at = now_us // 10**6
    return {SIGNATURE: f"t={at},v1={_mac(body, secret, str(at))}", "content-type": "application/json"}


def proven(headers: Mapping[str, str], body: bytes, secrets: Sequence[str], now_us: int) -> ProviderEvent:
    """The event of a body that somebody signed who knows one of the secrets."""
    parts = dict(part.partition("=")[::2] for part in headers.get(SIGNATURE, "").split(","))
    at, told = parts.get("t", ""), parts.get("v1", "")
    if not at.isascii() or not at.isdigit() or len(at) > 12:
        raise Forged("The signature is missing or cannot be read.")
    known = [hmac.compare_digest(_mac(body, secret, at).encode(), told.encode()) for secret in secrets]
    if not any(known):
        raise Forged("The signature is not the sandbox's.")
    if abs(now_us // 10**6 - int(at)) > TOLERANCE_S:
        raise Forged("The signature is too old.")
    return from_json(ProviderEvent, json.loads(body))


def _mac(body: bytes, secret: str, at: str) -> str:
    return hmac.new(secret.encode(), at.encode() + b"." + body, hashlib.sha256).hexdigest()


class News:
    """Sends what happened to whoever wants to hear it, until they say that they have it."""

    def __init__(self, http: Http, secret: str, clock: Callable[[], int]) -> None:
        self.sent: list[bytes] = []
        """Every body, in the order in which things happened."""
        self.fault = ""
        self._http = http
        self._secret = secret
        self._clock = clock
        self._held: list[tuple[str, bytes]] = []
        self._running: set[asyncio.Task[None]] = set()

    def say(self, address: str, event: ProviderEvent) -> None:
        body = json.dumps(to_json(event)).encode()
        self.sent.append(body)
        if not address:
            return
        if self.fault in (SHUFFLED, LATE):
            self._held.append((address, body))
            return
        for _ in range(2 if self.fault == DUPLICATE else 1):
            self._begin(address, body)

    def release(self) -> None:
        """Send what was held back, in an order of its own where they are to be shuffled."""
        held, self._held = self._held, []
        if self.fault == SHUFFLED:
            random.Random(len(held)).shuffle(held)  # noqa: S311 - it hides nothing
        for address, body in held:
            self._begin(address, body)

    async def close(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    def headers(self, body: bytes) -> dict[str, str]:
        return signed(body, self._secret, self._clock())

    def _begin(self, address: str, body: bytes) -> None:
        task = asyncio.ensure_future(self._deliver(address, body))
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    async def _deliver(self, address: str, body: bytes) -> None:
        for pause_s in _PAUSES_S:
            with contextlib.suppress(ProviderError):
                answer = await self._http("POST", address, headers=self.headers(body), body=body)
                if answer.status // 100 == 2:
                    return
            await asyncio.sleep(pause_s)
