"""nginx in front of an app whose server knows no bounds, configured as in deploy/: each bound holds."""

import asyncio
import shutil
import socket
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest
import trustme

from tests.fronts.house import nginx
from tests.house.rules import ROOT
from tests.ports import free_port
from tests.proxy.house import Line, Log, get, header, status
from tests.proxy.test_limits import drip
from tests.servers.serving import kill
from tests.upstream.house import serving
from tests.waiting import DEADLINE_S

HOST = "api.example.com"
SHORTER = {
    "client_header_timeout 10s": "client_header_timeout 1s",
    "client_body_timeout   30s": "client_body_timeout   1s",
    "client_max_body_size  64m": "client_max_body_size  1k",
    "send_timeout          60s": "send_timeout          1s",
    "limit_conn metergate  512": "limit_conn metergate  5",
}
"""What would take a test too long to reach."""


class Front(NamedTuple):
    port: int
    app_port: int
    trust: ssl.SSLContext

    @asynccontextmanager
    async def dial(self) -> AsyncIterator[Line]:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=self.trust, server_hostname=HOST, limit=1 << 24
        )
        try:
            async with asyncio.timeout(DEADLINE_S):
                yield Line(reader, writer)
        finally:
            writer.transport.abort()

    async def say(self, request: bytes) -> bytes:
        async with self.dial() as line:
            await line.say(request)
            return await line.closed()


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    if not shutil.which("nginx"):
        pytest.skip("nginx is not installed here.")
    folder = tmp_path_factory.mktemp("nginx")
    authority = trustme.CA()
    certificate = authority.issue_cert(HOST)
    certificate.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    certificate.private_key_pem.write_to_path(folder / "key.pem")
    trust = ssl.create_default_context()
    authority.configure_trust(trust)
    made = Front(free_port(), free_port(), trust)
    places = {
        "listen 443 ssl;": f"listen 127.0.0.1:{made.port} ssl;",
        "/etc/ssl/api.example.com.pem": str(folder / "cert.pem"),
        "/etc/ssl/api.example.com.key": str(folder / "key.pem"),
        "http://127.0.0.1:8000": f"http://127.0.0.1:{made.app_port}",
    }
    text = (ROOT / "deploy" / "nginx-front.conf").read_text(encoding="utf-8")
    for here, there in {**places, **SHORTER}.items():
        assert here in text
        text = text.replace(here, there)
    with (folder / "front.log").open("wb") as log:
        process = subprocess.Popen(nginx(text, folder), stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(made.port, folder / "front.log")
        yield made
    finally:
        kill(process)


def _wait(port: int, log: Path) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        with socket.socket() as attempt:
            if attempt.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize(
    ("request_bytes", "expected"),
    [
        (get("/a"), 200),
        (get("/" + "a" * 15_000), 200),
        (get("/" + "a" * 17_000), 414),
        (get("/a", "", "x-a: " + "b" * 17_000), 431),
        (get("/a", "", *["x-a: " + "b" * 10_000] * 8), 431),
        (get("/a", "", "content-length: 1000", method="POST") + b"x" * 1000, 200),
        (get("/a", "", "content-length: 1025", method="POST"), 413),
    ],
)
async def test_what_is_too_large_is_refused(front: Front, request_bytes: bytes, expected: int) -> None:
    log = Log()
    async with serving(log, port=front.app_port):
        answer = await front.say(request_bytes)
    assert status(answer) == expected
    assert len(log.heads) == (expected == 200)


async def test_a_slow_head_is_hung_up_on(front: Front) -> None:
    """However steadily it drips."""
    async with front.dial() as line:
        dripping = asyncio.ensure_future(drip(line, get("/a", "", "x-a: " + "b" * 500)))
        assert await line.closed() == b""
        dripping.cancel()
        await asyncio.gather(dripping, return_exceptions=True)


async def test_a_slow_body_is_hung_up_on_and_the_app_hears_of_it(front: Front) -> None:
    left = asyncio.Event()

    async def app(line: Line) -> None:
        assert header(await line.head(), "content-length") == "500"
        assert len(await line.closed()) == 100
        left.set()

    async with serving(app, port=front.app_port), front.dial() as line:
        await line.say(get("/a", "", "content-length: 500", method="POST") + b"x" * 100)
        assert await line.closed() == b""
        await left.wait()


async def test_who_takes_nothing_of_an_answer_is_hung_up_on(front: Front) -> None:
    stopped = asyncio.Event()

    async def app(line: Line) -> None:
        await line.head()
        await line.say(b"HTTP/1.1 200 OK\r\n\r\n")
        try:
            while True:
                await line.say(b"x" * 65_536)
        finally:
            stopped.set()

    async with serving(app, port=front.app_port), front.dial() as line:
        line.writer.transport.pause_reading()  # type: ignore[attr-defined]  # any transport of a stream can
        await line.say(get("/a"))
        await stopped.wait()


async def test_an_address_has_so_many_connections(front: Front) -> None:
    """One more hears 429; when one ends, there is room again."""
    heard, going = asyncio.Semaphore(0), asyncio.Event()

    async def app(line: Line) -> None:
        await line.head()
        heard.release()
        await going.wait()
        await line.say(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with serving(app, port=front.app_port):
        waiting = [asyncio.ensure_future(front.say(get("/a"))) for _ in range(5)]
        for _ in waiting:
            await heard.acquire()
        assert status(await front.say(get("/a"))) == 429
        going.set()
        assert [status(answer) for answer in await asyncio.gather(*waiting)] == [200] * 5
        assert status(await front.say(get("/a"))) == 200


async def test_the_app_is_told_who_asks_and_for_what_as_it_was_sent(front: Front) -> None:
    log = Log()
    async with serving(log, port=front.app_port):
        for target in ("/a//b/../c%2Fd?e=%2F", "/%61"):
            sent = get(target, "", "x-forwarded-for: 6.6.6.6", "x_api_key: forged")
            assert status(await front.say(sent)) == 200
    assert log.lines == [b"GET /a//b/../c%2Fd?e=%2F HTTP/1.1", b"GET /%61 HTTP/1.1"]
    for head in log.heads:
        assert (header(head, "x-forwarded-for"), header(head, "x-forwarded-proto")) == ("127.0.0.1", "https")
        assert b"6.6.6.6" not in head
        assert b"forged" not in head
