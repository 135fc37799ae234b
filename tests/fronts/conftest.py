from collections.abc import Iterator

import pytest

from tests.fronts.house import KINDS, Front, front, missing


@pytest.fixture(scope="module", params=KINDS)
def asking(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A front at work, of each kind that is installed."""
    reason = missing(request.param)
    if reason:
        pytest.skip(reason)
    with front(tmp_path_factory.mktemp(request.param), request.param) as made:
        yield made
