"""Tools over streamable HTTP, called and served with the official SDK of MCP, priced by method and tool."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest
import yaml
from mcp import Client, MCPError
from mcp.client.streamable_http import streamable_http_client
from mcp.server import MCPServer

from metergate.config import locate
from metergate.testing.asgi import App, lifespan
from tests.proxy.house import gateway
from tests.server import house
from tests.shell import Shell, metered

SEARCH, OTHER = 10_000_000, 2_000_000
"""Nanos, as policies/mcp.yaml has them."""
RULES = yaml.safe_load(locate.template("mcp").read_text(encoding="utf-8"))


def tools() -> App:
    server = MCPServer("tools")

    @server.tool()
    def search(query: str) -> str:
        """Find something."""
        return f"found {query}"

    @server.tool()
    def add(a: int, b: int) -> int:
        """Add two numbers."""
        return a + b

    @server.tool()
    def fail() -> str:
        """Fail as tools do."""
        raise ValueError("no luck")

    return server.streamable_http_app()


@asynccontextmanager
async def served(folder: Path) -> AsyncIterator[Shell]:
    app = tools()
    async with lifespan(app), metered(app, folder, locate.template("mcp")) as shell:
        yield shell


@asynccontextmanager
async def calling(shell: Shell, key: str, mode: str) -> AsyncIterator[Client]:
    transport = httpx2.ASGITransport(app=shell.app)
    async with dialled("http://127.0.0.1:8000", key, mode, transport) as client:
        yield client


@asynccontextmanager
async def dialled(
    url: str, key: str, mode: str, transport: httpx2.AsyncBaseTransport | None = None
) -> AsyncIterator[Client]:
    headers = {"authorization": f"Bearer {key}"}
    async with (
        httpx2.AsyncClient(transport=transport, headers=headers, timeout=10) as http,
        Client(streamable_http_client(f"{url}/mcp", http_client=http), mode=mode) as client,
    ):
        yield client


MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])
"""The protocol of today, and the one with a handshake and a session."""


@MODES
async def test_a_call_costs_what_its_tool_costs(tmp_path: Path, mode: str) -> None:
    """Handshakes and lists are free, and a tool that fails has worked."""
    async with served(tmp_path) as shell:
        async with calling(shell, shell.key, mode) as client:
            assert {tool.name for tool in (await client.list_tools()).tools} == {"search", "add", "fail"}
            assert said(await client.call_tool("search", {"query": "it"})) == "found it"
            assert said(await client.call_tool("add", {"a": 1, "b": 2})) == "3"
            assert (await client.call_tool("fail", {})).is_error
        costs = {row["dimensions"].get("tool"): row["cost"]["nanos"] for row in await shell.rows()}
        assert costs == {None: 0, "search": SEARCH, "add": OTHER, "fail": OTHER}
        assert await shell.settled() == 10**9 - SEARCH - 2 * OTHER


def said(result: Any) -> str:
    return str(result.content[0].text)


@MODES
async def test_what_the_server_cannot_do_costs_nothing(tmp_path: Path, mode: str) -> None:
    """An error of the protocol is no answer of a tool."""
    async with served(tmp_path) as shell:
        async with calling(shell, shell.key, mode) as client:
            with pytest.raises(MCPError):
                await client.read_resource("none://there")
        assert await shell.settled() == 10**9


@MODES
async def test_who_cannot_pay_is_refused(tmp_path: Path, mode: str) -> None:
    """And may still ask what there is."""
    async with served(tmp_path) as shell:
        poor = await shell.customer("poor", "0.003")
        async with calling(shell, poor, mode) as client:
            assert said(await client.call_tool("add", {"a": 1, "b": 2})) == "3"
            with pytest.raises((MCPError, httpx2.HTTPStatusError)):
                await client.call_tool("search", {"query": "it"})
            assert len((await client.list_tools()).tools) == 3
        assert await shell.settled("poor") == 10**6


@MODES
async def test_behind_the_proxy_it_is_the_same(tmp_path: Path, mode: str) -> None:
    """Over two connections, with sessions and streams of the server's own between them."""
    async with house.served(tools()) as upstream:
        url = f"http://127.0.0.1:{upstream.port}"
        with gateway(tmp_path, {**RULES, "upstream": {"url": url}}) as proxy:
            key = await proxy.customer("caller")
            async with dialled(proxy.url, key, mode) as client:
                assert len((await client.list_tools()).tools) == 3
                assert said(await client.call_tool("search", {"query": "it"})) == "found it"
                assert said(await client.call_tool("add", {"a": 1, "b": 2})) == "3"
                with pytest.raises(MCPError):
                    await client.read_resource("none://there")
            poor = await proxy.customer("poor", "0.003")
            async with dialled(proxy.url, poor, mode) as client:
                with pytest.raises((MCPError, httpx2.HTTPStatusError)):
                    await client.call_tool("search", {"query": "it"})
            rows = await proxy.rows("caller", at_least=3)
            costs = {row["dimensions"].get("tool"): row["cost"]["nanos"] for row in rows}
            assert costs == {None: 0, "search": SEARCH, "add": OTHER}
            assert await proxy.balance("poor") == "0.003000"
