from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.adapters.square.bench import Shop, SquareBench, a_shop, opened


@pytest.fixture
async def bench() -> AsyncIterator[SquareBench]:
    async with opened() as made:
        yield made


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with a_shop(tmp_path) as made:
        yield made
