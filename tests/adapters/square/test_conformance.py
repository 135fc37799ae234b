"""The adapter for Square keeps the whole contract of a payment provider, through Square's own SDK."""

from collections.abc import AsyncIterator

import pytest

from metergate.testing.provider_conformance import ProviderContract
from tests.adapters.square.bench import SquareBench, opened


class TestSquare(ProviderContract):
    old_s = 4 * 86_400  # Square tries for a day to deliver, and signs when something happened

    @pytest.fixture
    async def bench(self) -> AsyncIterator[SquareBench]:
        async with opened() as made:
            yield made
