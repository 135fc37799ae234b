from collections.abc import Iterator

import pytest

from tests.proxy.house import Gateway, gateway


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    with gateway(tmp_path_factory.mktemp("proxy")) as made:
        yield made
