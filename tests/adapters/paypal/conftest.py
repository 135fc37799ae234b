from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.paypal.bench import PayPalBench, Shop, a_shop, opened


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[PayPalBench]:
    async with opened(tmp_path) as made:
        yield made


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with a_shop(tmp_path) as made:
        yield made
