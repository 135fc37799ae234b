"""Stories of money in are told over SQLite; those of many at once over PostgreSQL too."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.billing.bench import Bench, opened
from tests.billing.usage_bench import Pushing


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(f"sqlite:///{tmp_path / 'ledger.sqlite'}") as made:
        yield made


@pytest.fixture(params=["sqlite", "postgresql"])
async def any_bench(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    url = f"sqlite:///{tmp_path / 'ledger.sqlite'}"
    if request.param == "postgresql":
        url = str(request.getfixturevalue("postgres_url"))
    async with opened(url) as made:
        yield made


@pytest.fixture
async def pushing(bench: Bench) -> Pushing:
    """Somebody whose usage is pushed, from a midnight on."""
    made = Pushing(bench)
    await made.meet()
    return made


@pytest.fixture
async def any_pushing(any_bench: Bench) -> Pushing:
    made = Pushing(any_bench)
    await made.meet()
    return made
