"""How servers begin and end: graceful stops, second processes, and lifespans that never come."""

import asyncio
import gc
from pathlib import Path

import httpx2
import pytest
from starlette.testclient import TestClient

from metergate import MeterGate
from metergate.config.settings import Settings
from metergate.testing.asgi import lifespan
from tests.servers.fastapi_app import make
from tests.servers.serving import SERVERS, Server, command, ended, kill, serving, start
from tests.servers.shared import POLICY
from tests.waiting import DEADLINE_S

RAW = "tests.servers.raw_app:app"


class Load:
    """Eight clients that call one after the other until they are told to stop or the server is gone."""

    def __init__(self) -> None:
        self.answered = 0
        self.lost = 0
        """Calls whose answer the end of the server cut off; the app may have seen them."""
        self.enough = asyncio.Event()
        self.stopping = False

    async def call(self, client: httpx2.AsyncClient) -> None:
        while not self.stopping:
            try:
                answer = await client.get("/echo")
            except httpx2.ConnectError:
                return
            except httpx2.TransportError:
                self.lost += 1
                return
            assert answer.status_code == 218
            self.answered += 1
            if self.answered >= 100:
                self.enough.set()


@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize("kind", SERVERS)
async def test_a_graceful_stop_leaves_every_call_in_the_ledger(kind: str, busy: bool, tmp_path: Path) -> None:
    """As many as were answered, without another start, also when it comes under load."""
    load = Load()
    with serving(kind, RAW, tmp_path) as server:
        key = await server.customer("busy", "1000.00")
        async with server.client(key) as client, asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
            tasks = [group.create_task(load.call(client)) for _ in range(8)]
            await load.enough.wait()
            if not busy:
                load.stopping = True
                await asyncio.wait(tasks)
            await asyncio.to_thread(server.stop)
    rows = server.rows_left_behind()
    assert load.answered <= rows <= load.answered + load.lost
    assert busy or rows == load.answered
    app = MeterGate(make("after"), POLICY, settings=Settings(data=server.data))
    async with lifespan(app):
        assert (await app.engine.office.do("verify", {}))["differences"] == []
        (total,) = (await app.engine.office.do("usage.totals", {"account": "busy"}))["data"]
        assert total["units"] == rows


@pytest.mark.parametrize("kind", SERVERS)
def test_a_second_server_over_the_same_data_folder_says_what_to_do(kind: str, tmp_path: Path) -> None:
    """And ends; the first one does not notice."""
    with serving("uvicorn", RAW, tmp_path) as first:
        second = start(command(kind, RAW, 0), tmp_path)
        try:
            assert ended(second, within=DEADLINE_S), "The second server stays up."
        finally:
            kill(second)
        assert f"The data folder {first.data} is in use by another process." in first.log.read_text()
        assert "give all processes one store (store: redis://…)" in first.log.read_text()
        assert httpx2.get(f"{first.url}/public/seen").status_code == 200


async def one_call_and_its_ledger(server: Server, path: str) -> None:
    """A call is paid for and in the ledger while the server runs."""
    key = await server.customer("early")
    async with server.client(key) as client:
        answer = await client.get(path)
        assert answer.is_success
        assert answer.headers["metergate-balance"] == "0.99"
    (row,) = await server.rows("early", at_least=1)
    assert row["path"] == path


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_mounted_app_hears_of_no_lifespan(kind: str, tmp_path: Path) -> None:
    """It begins with its first request, sees the whole path, and loses nothing when the server ends."""
    app = "tests.servers.mounted_app:app"
    with serving(kind, app, tmp_path) as server:
        async with server.client() as client:
            assert (await client.get("/paid/who")).status_code == 401
        await one_call_and_its_ledger(server, "/paid/who")
        async with server.client(await server.key("early")) as client:
            assert (await client.get("/paid/who")).text == "early"
    with serving(kind, app, tmp_path) as again:
        async with again.client() as client:
            assert (await client.get("/paid/who")).status_code == 401
        assert len(await again.rows("early", at_least=2)) == 2
        assert await again.balance("early") == "0.98"


async def test_a_server_without_lifespan(tmp_path: Path) -> None:
    """The first request starts the gate; the next process takes over what was not yet in the ledger."""
    with serving("uvicorn", RAW, tmp_path, "--lifespan", "off") as server:
        await one_call_and_its_ledger(server, "/echo")
        async with server.client(await server.key("early")) as client:
            assert (await client.get("/echo")).is_success
    with serving("uvicorn", RAW, tmp_path, "--lifespan", "off") as again:
        assert len(await again.rows("early", at_least=2)) == 2
        assert await again.balance("early") == "0.98"


def test_starlettes_test_client_with_its_lifespan(tmp_path: Path) -> None:
    """The gate starts before the app and stops after it, every time."""
    gate = MeterGate(make("tested"), POLICY, settings=Settings(data=tmp_path / "data"))
    key = ""
    for left in ("0.99", "0.98"):
        with TestClient(gate) as client:
            assert client.portal is not None
            key = key or client.portal.call(customer, gate)
            answer = client.get("/x", headers={"x-api-key": key})
            assert (answer.status_code, answer.headers["metergate-balance"]) == (200, left)
        assert gate.engine.serving is None


def test_starlettes_test_client_without_its_lifespan(tmp_path: Path) -> None:
    """Each request has an event loop of its own then; accounts and balances stay the same."""
    settings = Settings(data=tmp_path / "data")
    key = asyncio.run(customer_of_a_folder(settings))
    gate = MeterGate(make("tested"), POLICY, settings=settings)
    client = TestClient(gate)
    for left in ("0.99", "0.98", "0.97"):
        answer = client.post("/free/go/x", headers={"x-api-key": key})
        assert answer.status_code == 200
        answer = client.post("/echo", headers={"x-api-key": key})
        assert (answer.status_code, answer.headers["metergate-balance"]) == (218, left)
    with client:
        assert client.post("/echo").status_code == 401
    gc.collect()  # an unclosed socket would warn here, and warnings are errors


async def customer(gate: MeterGate) -> str:
    office = gate.engine.office
    await office.accounts.create("acct")
    await office.credits.grant("acct", "1.00")
    return str((await office.keys.create("acct"))["key"])


async def customer_of_a_folder(settings: Settings) -> str:
    gate = MeterGate(make("before"), POLICY, settings=settings)
    await gate.engine.start()
    try:
        return await customer(gate)
    finally:
        await gate.engine.stop()
