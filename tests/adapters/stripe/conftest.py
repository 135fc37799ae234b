"""What the stories of Stripe begin with."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.stripe.bench import Bench, a_bench
from tests.adapters.stripe.house import House, a_house


@pytest.fixture
async def house(tmp_path: Path) -> AsyncIterator[House]:
    async with a_house(tmp_path) as made:
        yield made


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    async with a_bench() as made:
        yield made
