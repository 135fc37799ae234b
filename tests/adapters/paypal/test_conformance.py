"""The adapter for PayPal keeps the whole contract of a payment provider, through PayPal's own SDK."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metergate.testing.provider_conformance import ProviderContract
from tests.adapters.paypal.bench import PayPalBench, opened


class TestPayPal(ProviderContract):
    old_s = 5 * 86_400  # PayPal tries for three days to deliver

    @pytest.fixture
    async def bench(self, tmp_path: Path) -> AsyncIterator[PayPalBench]:
        async with opened(tmp_path) as made:
            yield made
