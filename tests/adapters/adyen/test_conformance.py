"""The Adyen adapter keeps the contract of a payment provider, with Adyen's SDK, over HTTP."""

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import pytest

from metergate.testing.clock import FakeClock
from metergate.testing.provider_conformance import Delivery, ProviderContract
from tests.adapters.adyen.bench import AdyenBench, a_fake

CHANGES: Mapping[str, Any] = {
    "pspReference": "P000000000000099",
    "originalReference": "P000000000000001",
    "merchantAccountCode": "SomebodyElse",
    "merchantReference": "pay-another",
    "amount": {"value": 199900, "currency": "USD"},
    "eventCode": "CAPTURE",
    "success": "false",
}


def _with(body: bytes, **changes: Any) -> bytes:
    told = json.loads(body)
    told["notificationItems"][0]["NotificationRequestItem"] |= changes
    return json.dumps(told).encode()


class TestAdyen(ProviderContract):
    dated = False
    """Its signatures carry no time: what is old is known by its id, and grants nothing again."""

    def unsigned(self, delivery: Delivery) -> Delivery:
        told = json.loads(delivery.body)
        del told["notificationItems"][0]["NotificationRequestItem"]["additionalData"]["hmacSignature"]
        return Delivery(delivery.headers, json.dumps(told).encode())

    def changed(self, body: bytes) -> Sequence[bytes]:
        """Each field that is signed, changed by itself."""
        return [_with(body, **{name: value}) for name, value in CHANGES.items()]

    @pytest.fixture
    async def bench(self) -> AsyncIterator[AdyenBench]:
        clock = FakeClock()
        fake = a_fake(clock)
        await fake.server.start()
        bench = AdyenBench(fake, clock)
        yield bench
        await bench.provider.close()
        await fake.server.close()
