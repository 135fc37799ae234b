"""The contract of a payment provider, as tests that any adapter can run.

    class TestFoo(ProviderContract):
        @pytest.fixture
        async def bench(self) -> AsyncIterator[Bench]:
            async with a_fake_foo() as fake:
                yield MyBench(fake)

What the adapter is not able to do is skipped, and so is what the stand-in cannot play. The tests run on
asyncio with anyio's plugin, and every test gets a bench of its own.
"""

import pytest

PARTS = ("bench", "books", "charges", "news", "payments")
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in PARTS))

from metergate.testing.provider_conformance.bench import (  # noqa: E402  # asserts are rewritten first
    BROKEN,
    BUSY,
    UNANSWERED,
    Bench,
    Delivery,
    Renews,
    Transfers,
)
from metergate.testing.provider_conformance.books import BookTests  # noqa: E402
from metergate.testing.provider_conformance.charges import ChargeTests  # noqa: E402
from metergate.testing.provider_conformance.news import NewsTests  # noqa: E402
from metergate.testing.provider_conformance.payments import PaymentTests  # noqa: E402

__all__ = ["BROKEN", "BUSY", "UNANSWERED", "Bench", "Delivery", "ProviderContract", "Renews", "Transfers"]


class ProviderContract(PaymentTests, ChargeTests, NewsTests, BookTests):
    """Everything that a payment provider promises."""
