"""The end of the service is asked for: what runs may finish for a while, and everything is settled."""

import asyncio
import json
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import httpx2
import pytest
from websockets.asyncio.client import connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.exceptions import ConnectionClosed

from tests.cli.conftest import Shell
from tests.proxy.house import POLICY, Gateway, Line, Log, body, gateway, get, status
from tests.waiting import DEADLINE_S, until

NAMELESS = """\
metergate: 1
upstreams: {a: {url: "http://a"}}
routes:
  - {match: "* /a", free: true, upstream: a}
  - {match: "* /b", free: true}
"""
GOING = 1012
"""Of a service that will be back in a moment."""
STREAM = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Gateway]:
    with gateway(tmp_path, {**POLICY, "serve": {"grace": "2s"}}) as made:
        yield made


async def ended(proxy: Gateway) -> int:
    return await asyncio.to_thread(proxy.process.wait, DEADLINE_S)


async def test_a_call_that_runs_is_answered_to_its_end(proxy: Gateway) -> None:
    key = await proxy.customer("last")
    asked = asyncio.Event()

    async def script(line: Line) -> None:
        await line.head()
        await line.say(STREAM + b"5\r\nfirst\r\n")
        await asked.wait()
        await line.say(b"4\r\nlast\r\n0\r\n\r\n")

    async with proxy.upstream(script), proxy.dial() as client:
        await client.say(get("/bytes/a", key))
        await client.reader.readuntil(b"first")
        proxy.process.send_signal(signal.SIGTERM)
        await asyncio.sleep(0.5)
        with pytest.raises(ConnectionError):
            await proxy.say(get("/a", key))
        asked.set()
        assert (await client.closed()).endswith(b"4\r\nlast\r\n0\r\n\r\n")
        assert await ended(proxy) == 0
    assert proxy.rows_left_behind() == 1
    assert (await verified(proxy))["ok"]


async def test_a_call_that_does_not_end_is_cut_and_settled(proxy: Gateway) -> None:
    """When the grace is over; nothing waits for the next start."""
    key = await proxy.customer("endless")

    async def script(line: Line) -> None:
        await line.head()
        await line.say(STREAM)
        while True:
            await line.say(b"5\r\nagain\r\n")
            await asyncio.sleep(0.05)

    async with proxy.upstream(script), proxy.dial() as client:
        await client.say(get("/bytes/a", key))
        await client.reader.readuntil(b"again")
        proxy.process.send_signal(signal.SIGINT)
        answer = await client.closed()
        assert await ended(proxy) == 0
    assert not answer.endswith(b"0\r\n\r\n")
    assert proxy.rows_left_behind() == 1
    assert b"Traceback" not in proxy.log.read_bytes()
    assert (await verified(proxy))["ok"]


async def test_an_open_socket_is_closed_and_settled(proxy: Gateway) -> None:
    """Both sides hear that the service goes; what was said is charged."""
    key = await proxy.customer("talking")
    left: list[int | None] = []

    async def echo(socket: ServerConnection) -> None:
        with suppress(ConnectionClosed):
            async for message in socket:
                await socket.send(message)
        left.append(socket.close_code)

    async with asyncio.timeout(DEADLINE_S), serve(echo, "127.0.0.1", proxy.upstream_port):
        url = f"ws://127.0.0.1:{proxy.port}/ws/a"
        async with connect(url, additional_headers={"authorization": f"Bearer {key}"}) as client:
            for number in range(3):
                await client.send(str(number))
                assert await client.recv() == str(number)
            proxy.process.send_signal(signal.SIGTERM)
            with pytest.raises(ConnectionClosed) as closed:
                await client.recv()
            assert closed.value.rcvd is not None
            assert closed.value.rcvd.code == GOING
        await until(lambda: left == [GOING])
        assert await ended(proxy) == 0
    done = await asyncio.to_thread(
        Shell(proxy.folder).run, "credits show talking --json", METERGATE_DATA=str(proxy.data)
    )
    told = json.loads(done.stdout)
    assert (told["held"]["nanos"], told["balance"]["amount"]) == (0, "0.97")
    assert b"Traceback" not in proxy.log.read_bytes()
    assert (await verified(proxy))["ok"]


async def verified(proxy: Gateway) -> dict[str, object]:
    """What `metergate verify` says of the data folder that is left."""
    shell = Shell(proxy.folder)
    done = await asyncio.to_thread(shell.run, "verify --json", METERGATE_DATA=str(proxy.data))
    found: dict[str, object] = json.loads(done.stdout)
    return found


async def test_the_admin_side_tells_orchestrators_and_operators_alone(proxy: Gateway) -> None:
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{proxy.admin_port}") as admin:
        assert (await admin.get("/livez")).json() == {"state": "ok"}
        assert (await admin.get("/readyz")).status_code == 200
        assert (await admin.get("/admin/v1/accounts")).status_code == 401
        token = (proxy.data / "admin-token").read_text().strip()
        shown = {"authorization": f"Bearer {token}"}
        assert (await admin.get("/admin/v1/accounts", headers=shown)).json()["data"] == []
    log = Log()
    async with proxy.upstream(log):
        answer = await proxy.say(get("/admin/v1/accounts", token))
    assert status(answer) == 401
    assert log.heads == []


async def test_the_customers_side_is_on_the_data_port(proxy: Gateway) -> None:
    key = await proxy.customer("curious")
    answer = await proxy.say(get("/billing/v1/credits", key))
    assert json.loads(body(answer))["balance"]["amount"] == "1.00"


def test_several_workers_need_a_store_that_they_share(tmp_path: Path) -> None:
    shell = Shell(tmp_path)
    (tmp_path / "policy.yaml").write_text('metergate: 1\nupstream: {url: "http://127.0.0.1:1"}\n')
    said = shell.no("serve --workers 2")
    assert "store" in said and "--workers 1" in said


@pytest.mark.parametrize(
    ("policy", "sentence"),
    [
        ("metergate: 1\n", "Add upstream: {url: …}"),
        (NAMELESS, "Name an upstream in the route '* /b'"),
        ('metergate: 1\ndefault: free\nupstreams: {a: {url: "http://a"}}\n', "With default: free"),
        ('metergate: 1\nupstream: {url: "https://a", ca: nothing.pem}\n', "ca names no readable file"),
    ],
)
def test_a_policy_with_nowhere_to_forward_to_is_not_served(
    tmp_path: Path, policy: str, sentence: str
) -> None:
    shell = Shell(tmp_path)
    (tmp_path / "policy.yaml").write_text(policy)
    said = shell.no("serve --port 0 --admin-port 0", METERGATE_DATA=str(tmp_path / "data"))
    assert sentence in said
