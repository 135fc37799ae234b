"""Chains to test on, asked in the same JSON-RPC: an EVM in this process, and anvil where it is installed."""

import asyncio
import json
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Protocol

from eth_tester import EthereumTester, PyEVMBackend  # type: ignore[import-untyped]  # it tells no types
from eth_tester.exceptions import (  # type: ignore[import-untyped]  # as above
    BlockNotFound,
    TransactionNotFound,
)

from metergate.provider_port import TryAgain
from metergate.provider_port.http import ask
from tests.ports import free_port

ANVIL_KEYS = (
    "0xac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80",
    "0x59c6995e998f97a5a0044966f0945389dc9e86dae88c7a8412f4603b6b78690d",
    "0x5de4111afa1a4b94908f83103eb1f1706367c2e68ca870fc3fb9a804cdab365a",
)
"""Of the phrase that anvil makes its accounts of, which everybody knows."""


class NodeError(Exception):
    """What a node answers as an error."""


class Evm(Protocol):
    keys: tuple[str, ...]
    """Of its first accounts, which have what a transaction costs."""

    async def call(self, method: str, *params: Any) -> Any: ...


class InProcess:
    """py-evm, told of in the words of JSON-RPC; what eth-tester itself leaves to web3.py."""

    keys: tuple[str, ...] = tuple(f"0x{number:064x}" for number in (1, 2, 3))

    def __init__(self) -> None:
        self._evm = EthereumTester(PyEVMBackend())
        self._calls: Mapping[str, Callable[..., Any]] = {
            "eth_chainId": lambda: hex(self._evm.backend.chain.chain_id),
            "eth_accounts": lambda: list(self._evm.get_accounts()),
            "eth_getBlockByNumber": self._block,
            "eth_getTransactionReceipt": lambda tx: _receipt(self._evm.get_transaction_receipt(tx)),
            "eth_getTransactionByHash": lambda tx: {"hash": self._evm.get_transaction_by_hash(tx)["hash"]},
            "eth_getLogs": self._logs,
            "eth_call": self._call,
            "eth_sendTransaction": lambda tx: self._evm.send_transaction({**tx, "gas": int(tx["gas"], 16)}),
            "eth_sendRawTransaction": self._evm.send_raw_transaction,
            "eth_getTransactionCount": lambda who, _: hex(self._evm.get_nonce(who)),
            "evm_mine": lambda: self._evm.mine_blocks(1)[0],
            "evm_snapshot": lambda: hex(self._evm.take_snapshot()),
            "evm_revert": lambda which: self._evm.revert_to_snapshot(int(which, 16)),
            "evm_increaseTime": self._later,
        }

    async def call(self, method: str, *params: Any) -> Any:
        try:
            return self._calls[method](*params)
        except (BlockNotFound, TransactionNotFound):
            return None

    def _block(self, number: str, _whole: bool) -> Any:
        block = self._evm.get_block_by_number(int(number, 16) if number.startswith("0x") else number)
        return {
            "number": hex(block["number"]),
            "hash": block["hash"],
            "timestamp": hex(block["timestamp"]),
        }

    def _logs(self, wanted: Mapping[str, Any]) -> Any:
        newest = self._evm.get_block_by_number("latest")["number"]
        first, last = (min(int(wanted[name], 16), newest) for name in ("fromBlock", "toBlock"))
        found = self._evm.get_logs(first, last, wanted["address"], wanted["topics"])
        return [_log(each) for each in found]

    def _call(self, call: Mapping[str, Any], _block: str) -> Any:
        return self._evm.call({"from": self._evm.get_accounts()[0], "gas": 3_000_000, **call})

    def _later(self, seconds: int) -> None:
        self._evm.time_travel(self._evm.get_block_by_number("pending")["timestamp"] + seconds)


class Anvil:
    """A process of its own, with reorganisations, and blocks that are made long before they are final."""

    keys: tuple[str, ...] = ANVIL_KEYS

    def __init__(self, url: str) -> None:
        self.url = url

    async def call(self, method: str, *params: Any) -> Any:
        asked = {"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        headers = {"content-type": "application/json"}
        told = json.loads(
            (await ask("POST", self.url, headers=headers, body=json.dumps(asked).encode())).body
        )
        if "error" in told:
            raise NodeError(told["error"]["message"])
        return told["result"]


def anvil_program() -> str | None:
    """Where anvil is: on the PATH, where ANVIL says, or in this folder's node_modules."""
    local = Path("node_modules/.bin/anvil")
    return os.environ.get("ANVIL") or shutil.which("anvil") or (str(local) if local.exists() else None)


@asynccontextmanager
async def anvil(program: str) -> AsyncIterator[Anvil]:
    port = free_port()
    options = ("--host", "127.0.0.1", "--port", str(port), "--slots-in-an-epoch", "2", "--silent")
    # npm's anvil is a program that starts another one: they end together, as a group of their own.
    process = await asyncio.create_subprocess_exec(
        program, *options, stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
        start_new_session=True,
    )  # fmt: skip
    try:
        evm = Anvil(f"http://127.0.0.1:{port}")
        async with asyncio.timeout(30):
            while not await _listens(evm):
                assert process.returncode is None, "anvil ended before it listened"
                await asyncio.sleep(0.02)
        yield evm
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


async def _listens(evm: Anvil) -> bool:
    try:
        await evm.call("eth_chainId")
    except TryAgain:
        return False
    return True


def _log(told: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "address": told["address"],
        "topics": list(told["topics"]),
        "data": told["data"],
        "transactionHash": told["transaction_hash"],
        "blockHash": told["block_hash"],
        "blockNumber": hex(told["block_number"]),
        "logIndex": hex(told["log_index"]),
        "removed": False,
    }


def _receipt(told: Mapping[str, Any]) -> Mapping[str, Any]:
    return {
        "transactionHash": told["transaction_hash"],
        "blockHash": told["block_hash"],
        "blockNumber": hex(told["block_number"]),
        "contractAddress": told["contract_address"],
        "status": hex(told["status"]),
        "logs": [_log(each) for each in told["logs"]],
    }
