"""An upstream proves who it is, or gets no request."""

import ssl
from pathlib import Path

import pytest
import trustme

from metergate.errors import ConfigurationError
from metergate.upstream import UpstreamError
from tests.upstream.house import ask, repeating, rest, serving


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certificate(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


def file_of(authority: trustme.CA, folder: Path) -> str:
    authority.cert_pem.write_to_path(folder / "ca.pem")
    return str(folder / "ca.pem")


async def test_a_certificate_of_a_trusted_authority_is_believed(
    authority: trustme.CA, tmp_path: Path
) -> None:
    async with serving(repeating(), certificate(authority, "localhost")) as served:
        pool = served.pool(scheme="https", ca=file_of(authority, tmp_path))
        for _ in range(3):
            assert await rest(await ask(pool)) == b"ok"
        assert len(served.lines) == 1


async def test_nobody_else_is_believed(authority: trustme.CA) -> None:
    async with serving(repeating(), certificate(authority, "localhost")) as served:
        with pytest.raises(UpstreamError) as error:
            await ask(served.pool(scheme="https"))
        assert error.value.reason == "upstream_unreachable"


async def test_the_name_must_be_right(authority: trustme.CA, tmp_path: Path) -> None:
    async with serving(repeating(), certificate(authority, "elsewhere.example")) as served:
        with pytest.raises(UpstreamError) as error:
            await ask(served.pool(scheme="https", ca=file_of(authority, tmp_path)))
        assert error.value.reason == "upstream_unreachable"


async def test_authorities_that_cannot_be_read_are_a_mistake_of_the_operator(tmp_path: Path) -> None:
    async with serving(repeating()) as served:
        with pytest.raises(ConfigurationError, match="ca names no readable file"):
            served.pool(scheme="https", ca=str(tmp_path / "nothing.pem"))
