from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metergate.testing.clock import FakeClock
from tests.admin.bench import Bench, opened, sqlite


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(sqlite(tmp_path), FakeClock()) as made:
        yield made
