"""What the number of active accounts does to a call over Valkey: the store alone, driven as by a gate."""

import random
import time
from collections.abc import Sequence
from itertools import count
from typing import NamedTuple

import uvloop

from benchmarks import cores
from benchmarks.servers import cpu_ns
from metergate.core.budget import BALANCE, COST, Draw
from metergate.core.facts import AccountFacts, Caller
from metergate.core.hold import Outcome, Terms
from metergate.ports import GRANTED, AskAccount, Hold, PutAccount, Settle
from metergate.wire import encode_outcome, encode_terms, raw_terms
from metergate_redis import RedisStore
from metergate_redis.address import parse
from tests.valkey import running, valkey_binary

MANY = 10_000
TURN = 64
CALLS = 200 * TURN
BALANCE_NANOS = 10**12
TOLD_AT_ONCE = 1000


class Accounts(NamedTuple):
    gate_us: float
    """CPU per call of the process that asks: hold, settle and event, without any HTTP."""
    store_us: float


class Payer(NamedTuple):
    """An account, and what all its calls have in common."""

    draws: tuple[Draw, ...]
    generation: int
    account: str
    terms: bytes
    outcome: bytes


def measure(tries: int) -> dict[int, Accounts]:
    with running(valkey_binary()) as valkey:
        assert valkey.process is not None
        cores.pin(cores.CLIENT, valkey.process.pid)
        cores.pin(cores.SERVER)
        try:
            return uvloop.run(_measure(valkey.url, valkey.process.pid, tries))
        finally:
            cores.pin(cores.CLIENT)


async def _measure(url: str, pid: int, tries: int) -> dict[int, Accounts]:
    store = RedisStore(parse(url), backlog=100 * CALLS)
    await store.connect()
    await store.begin("bench")
    await store.reopen("bench")
    store.enter("bench")
    payers = await _payers(store)
    ops = count(1)
    found: dict[int, list[Accounts]] = {1: [], MANY: []}
    for _ in range(tries):
        for accounts, taken in found.items():
            taken.append(await _drive(store, payers[:accounts], ops, pid))
    await store.close()
    return {
        accounts: Accounts(min(t.gate_us for t in taken), min(t.store_us for t in taken))
        for accounts, taken in found.items()
    }


async def _payers(store: RedisStore) -> Sequence[Payer]:
    names = [f"acct-{number}" for number in range(MANY)]
    payers: list[Payer] = []
    for start in range(0, MANY, TOLD_AT_ONCE):
        some = names[start : start + TOLD_AT_ONCE]
        await store.sync([PutAccount(AccountFacts(name), BALANCE_NANOS) for name in some], _now_us())
        for told in await store.state([AskAccount(name) for name in some]):
            assert isinstance(told, Caller)
            payers.append(_payer(told.account.id, told.generation))
    return payers


def _payer(account: str, generation: int) -> Payer:
    draws = (Draw(BALANCE, f"credits:{account}", 2000, 0, 0, 0, COST),)
    terms = encode_terms(Terms(account, "kid", "", "policy", "", "* /**", "requests", "USD", draws))
    outcome = encode_outcome(Outcome(1, (), 2000, "measured", (2000,), raw_terms(terms)))
    return Payer(draws, generation, account, terms, outcome)


async def _drive(store: RedisStore, payers: Sequence[Payer], ops: "count[int]", pid: int) -> Accounts:
    began, store_began = time.process_time_ns(), cpu_ns(pid)
    for _ in range(CALLS // TURN):
        now_us = _now_us()
        called = [(f"op-{next(ops)}", random.choice(payers)) for _ in range(TURN)]
        holds = [
            Hold(op, who.account, who.generation, who.draws, now_us + 10**9, who.terms, op, None, True)
            for op, who in called
        ]
        held = await store.hold(holds, now_us)
        assert all(each.status == GRANTED for each in held), held
        await store.settle(
            [Settle(op, None, (op, op, now_us, "/hello", who.outcome, None, None)) for op, who in called],
            now_us,
        )
    spent, store_spent = time.process_time_ns() - began, cpu_ns(pid) - store_began
    return Accounts(spent / CALLS / 1000, store_spent / CALLS / 1000)


def _now_us() -> int:
    return time.time_ns() // 1000
