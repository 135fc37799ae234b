"""What every test may ask for."""

import sys

import pytest
from hypothesis import settings

# A shared machine may stall for longer than any deadline that would catch slow code.
settings.register_profile("house", deadline=None)
settings.load_profile("house")

pytest_plugins = ["tests.postgres", "tests.valkey"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    """metergate runs on asyncio; async tests and fixtures are collected by anyio's own plugin."""
    return "asyncio"


DEEPEST = sys.getrecursionlimit()


def pytest_runtest_setup() -> None:
    """The EVM that some stories bring lets Python recurse until the stack overflows; no story may."""
    sys.setrecursionlimit(DEEPEST)
