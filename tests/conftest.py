"""What every test may ask for."""

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
