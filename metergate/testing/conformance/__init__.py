"""The contract of a counter store, as tests that any implementation can run.

    class TestMyStore(CounterStoreContract):
        @pytest.fixture
        def make_store(self) -> MakeStore:
            return lambda backlog: MyStore(..., backlog=backlog)

Every test asks for a fresh, empty store. A store may answer with lists or with awaitables of them, and so may
`make_store`; what has to be closed is closed by the fixture. The tests run on asyncio with anyio's plugin.
"""

import pytest

from metergate.ports import answered

PARTS = ("bench", "budgets", "ends", "facts", "holds", "outbox", "twins")
pytest.register_assert_rewrite(*(f"{__name__}.{part}" for part in PARTS))

from metergate.testing.conformance.bench import MakeStore  # noqa: E402  # asserts are rewritten first
from metergate.testing.conformance.budgets import BudgetTests  # noqa: E402
from metergate.testing.conformance.ends import EndTests  # noqa: E402
from metergate.testing.conformance.facts import FactTests  # noqa: E402
from metergate.testing.conformance.holds import HoldTests  # noqa: E402
from metergate.testing.conformance.outbox import OutboxTests  # noqa: E402
from metergate.testing.conformance.twins import TwinTests  # noqa: E402

__all__ = ["CounterStoreContract", "MakeStore", "answered"]


class CounterStoreContract(HoldTests, BudgetTests, EndTests, OutboxTests, FactTests, TwinTests):
    """Everything that a counter store promises."""
