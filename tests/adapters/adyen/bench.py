"""The adapter on a stand-in of Adyen."""

from collections.abc import Sequence
from datetime import UTC, datetime

from metergate.provider_port import Checkout, Context
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate.testing.provider_conformance import Delivery
from metergate_adyen import open_provider
from tests.adapters.adyen.fake import API_KEY, HMAC_KEY, MERCHANT, OTHER_KEY, FakeAdyen


def settings(fake: FakeAdyen) -> dict[str, str]:
    return {
        "ADYEN_API_BASE": fake.server.url or "http://127.0.0.1:9",
        "ADYEN_API_KEY": API_KEY,
        "ADYEN_MERCHANT_ACCOUNT": MERCHANT,
        "ADYEN_HMAC_KEY": f"{OTHER_KEY},{HMAC_KEY}",
    }


def a_fake(clock: FakeClock) -> FakeAdyen:
    return FakeAdyen(lambda: datetime.fromtimestamp(clock() // 10**6, UTC).isoformat())


class AdyenBench:
    def __init__(self, fake: FakeAdyen, clock: FakeClock) -> None:
        self.fake = fake
        self.clock = clock
        self.notes = NotesInMemory()
        self.provider = open_provider(Context("adyen", clock, ask, self.notes, settings(fake)))

    async def pay(self, checkout: Checkout, *, declined: bool = False) -> None:
        self.fake.pay(checkout.id, declined=declined)

    async def dispute(self, payment: str) -> None:
        self.fake.chargeback(payment, "NOTIFICATION_OF_CHARGEBACK")
        self.fake.chargeback(payment)

    async def news(self) -> Sequence[Delivery]:
        return [Delivery({"content-type": "application/json"}, body) for body in self.fake.sent]

    def next_request(self, kind: str) -> None:
        self.fake.server.faults.append(kind)

    def made(self) -> int:
        return len(self.fake.links)

    def method_token(self, *, declined: bool = False) -> str:
        raise NotImplementedError
