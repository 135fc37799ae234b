"""Conversations with whoever says anything: a server that may be none, scripts, and clients of the office."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, cast

import pytest

from metergate.admin import VERBS
from metergate.core.budget import BALANCE, Draw
from metergate.errors import InvalidInput, MetergateError, StoreUnavailable
from metergate.ports import DONE, GRANTED, Hold, Settle
from metergate.testing.clock import FakeClock
from metergate.testing.conformance.bench import TERMS, an_event
from metergate.wire import decode_events
from metergate_redis.connection import Connection
from metergate_redis.link import Link
from metergate_redis.shard import Shard
from metergate_redis.template import Templates
from tests.adapters.redis.stores import a_hold, balance, held, know, now_us, stores
from tests.admin.bench import Bench, opened, sqlite
from tests.fuzz.mutation import mutated, tries

REPLIES = (
    b"$15\r\nK1 0 1\nD\nD\ng5,1\r\n",
    b"$2\r\nL1\r\n",
    b"*2\r\n$16\r\nK1 0 1\nD\nD\na\n\n\r\n$1\r\nx\r\n",
    b"-NOSCRIPT No matching script\r\n",
    b"-OOM command not allowed\r\n",
    b"-MOVED 1 127.0.0.1:1\r\n",
    b"+OK\r\n",
    b":12\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"$22\r\nK1 0 1\nD\nD\nd0 -5\ng\n\r\n",
    b"$3\r\nK\n\n\r\n",
    b"$18\r\nK1 0 1\n?\nU\ng1\n\r\n",
    b"%1\r\n+a\r\n:1\r\n",
    b"_\r\n",
    b"*1\r\n*1\r\n*1\r\n",
    b"$99999999\r\n",
)


class Wire(asyncio.Transport):
    """Where a connection writes to; nobody is there."""

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert data

    def abort(self) -> None:
        """There is nothing to end."""


class Place:
    """A shard at the end of a line on which anything may come back."""

    def __init__(self) -> None:
        self.connection: Connection | None = Connection(asyncio.get_running_loop(), 60, self._lost)
        self.connection.connection_made(Wire())
        self.run = self.why = ""
        self.shard = Shard("{mg}", 10, Templates("{mg}"), cast(Link, self))
        self.shard.enter("1", 0)

    def _lost(self, _connection: Connection, why: str) -> None:
        self.connection, self.why = None, why

    def leave(self, why: str) -> None:
        if self.connection is not None:
            self.connection.close(why)


def settle(op: str, path: str = "/x") -> Settle:
    return Settle(op, None, an_event(op, path))


async def test_whatever_a_server_answers_everybody_hears_of_it() -> None:
    """A call gets its verdict, or that the store cannot be used, and never waits for ever."""
    for count, chance in enumerate(tries("replies")):
        place = Place()
        line = place.connection
        assert line is not None
        hold = Hold("c", "ada", 1, (Draw(BALANCE, "credits:ada", 5, 0, 9),), 10**15, b"terms", "req_c")
        asked: list[asyncio.Future[Any]] = [
            asyncio.ensure_future(each)
            for each in (
                place.shard.settle([settle("a")], 1),
                place.shard.release(["b"], 1),
                place.shard.hold([hold], 1),
            )
        ]
        for _ in range(3):
            await asyncio.sleep(0)  # the turn of the loop in which it is sent
        said = REPLIES[count] if count < len(REPLIES) else mutated(REPLIES, (b"\r\n", b"K1 0 1\n"), chance)
        line.data_received(said)
        line.close("it is over")
        told = await asyncio.wait_for(asyncio.gather(*asked, return_exceptions=True), 10)
        strangers = [
            each for each in told if isinstance(each, Exception) and type(each) is not StoreUnavailable
        ]
        assert not strangers, (said, told)


NAMES = (
    "ada",
    'a"b',
    "a\\",
    "a b",
    "\0",
    "\x7f",
    "ä",
    "\u2028",
    "😀",
    "a'b",
    "]]",
    "{mg}",
    "a:b",
    "\r",
    "%s",
    "1e9",
    "-1",
)
NUMBERS = (0, 1, 2**31, 2**53 - 1, 2**53, 2**53 + 1, 4 * 10**15, 10**18, 2**62)


async def test_what_a_script_is_given_is_what_was_meant(valkey_url: str) -> None:
    """Names and numbers of any kind arrive as they were sent: a real server holds, settles and tells them."""
    async with stores(valkey_url) as make:
        store = await make(backlog=10**6)
        for count, chance in enumerate(tries("arguments")):
            account = f"{count}{chance.choice(NAMES)}{chance.choice(NAMES)}"
            number, left = chance.choice(NUMBERS), chance.choice(NUMBERS)
            await know(store, account, number + left)
            draw = Draw(BALANCE, f"credits:{account}", number, 0, 0)
            wanted = await a_hold(store, f"op{account}", draw, account=account)
            (told,) = await held(store, wanted._replace(terms=TERMS + account.encode()))
            assert (told.status, told.values) == (GRANTED, (left,))
            assert await balance(store, account) == left
            assert list(await store.settle([settle(f"op{account}", f"/{account}")], now_us())) == [DONE]
            [entry] = await store.drain(10)
            [event] = decode_events(entry.events)
            assert (event.op, event.path) == (f"op{account}", f"/{account}")
            await store.acknowledge([entry.id])


@pytest.fixture
async def bench(tmp_path: Path) -> AsyncIterator[Bench]:
    async with opened(sqlite(tmp_path), FakeClock()) as made:
        yield made


WORDS: tuple[object, ...] = (
    "ada",
    "",
    "\0",
    "'; DROP TABLE accounts; --",
    "\ud800",
    "a" * 300,
    "%",
    "_",
    "💶",
    "1",
    "-1",
    "9" * 40,
    "1e9",
    0,
    -1,
    2**63,
    10**400,
    1.5,
    float("nan"),
    True,
    None,
    [],
    {},
    ["a"],
    {"a": "b"},
    "5.00",
    "30d",
    "free",
    "requests",
    "2026-01-01T00:00:00Z",
    "../x",
    "\u202e",
    b"bytes",
    {"a": "\ud800"},
    [[]],
    {"": ""},
    "ada\n",
)
RELAYED = frozenset({"authz.ask"})
"""Only the admin side sends it, and never anything else than a request."""


async def test_whoever_asks_the_office_hears_a_sentence(bench: Bench) -> None:
    """Any verb with any values is done, or refused in one sentence; the books stay in order."""
    await bench.do("accounts.create", id="ada")
    verbs = sorted(VERBS.keys() - RELAYED)
    for chance in tries("office"):
        verb = chance.choice(verbs)
        known = VERBS[verb]
        names = [*known.required, *(name for name in known.optional if chance.random() < 0.3)]
        params = {name: chance.choice(WORDS) for name in names}
        try:
            told = json.dumps(await bench.office.do(verb, params), allow_nan=False, ensure_ascii=False)
        except MetergateError as error:
            told = str(error)
            assert "\n" not in told, (verb, params)
            assert len(told) < 2000, (verb, params)
        told.encode()
    assert (await bench.do("verify"))["ok"]
    with pytest.raises(InvalidInput):
        await bench.office.do("nothing", {})
