import pytest


@pytest.fixture(scope="session", params=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """The client promises the same on both event loops."""
    return "asyncio", {"use_uvloop": request.param == "uvloop"}
