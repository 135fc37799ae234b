"""A server of the test's own, which it may treat badly."""

from collections.abc import Iterator

import pytest

from tests.valkey import Server, running, valkey_binary


@pytest.fixture
def server() -> Iterator[Server]:
    with running(valkey_binary()) as started:
        yield started
