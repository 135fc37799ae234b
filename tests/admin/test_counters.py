"""`verify` compares the counters with the ledger, also while calls are held."""

from dataclasses import replace

import pytest

from metergate.core.budget import BALANCE, COST, UNBOUNDED, Draw
from metergate.core.facts import KeyFacts
from metergate.ports import Adjust, Hold, PutKey
from tests.admin.bench import Bench


async def found(bench: Bench) -> list[tuple[str, str, str, str]]:
    told = await bench.office.do("verify", {})
    assert told["ok"] is not bool(told["differences"])
    return [
        (each["subject"], each["figure"], each["expected"], each["found"]) for each in told["differences"]
    ]


async def a_customer(bench: Bench) -> str:
    await bench.office.do("accounts.create", {"id": "ada"})
    await bench.office.do("credits.grant", {"account": "ada", "amount": "5.00"})
    return str((await bench.office.do("keys.create", {"account": "ada"}))["kid"])


async def test_credits_that_only_the_counters_know_are_found(bench: Bench) -> None:
    await a_customer(bench)
    assert await found(bench) == []
    bench.store.sync([Adjust("planted", "ada", 7)], bench.clock())
    assert await found(bench) == [("ada", "spendable", "5000000000", "5000000007")]


async def test_what_is_held_is_no_difference(bench: Bench) -> None:
    await a_customer(bench)
    await bench.office.do("usage.record", {"account": "ada", "meter": "requests", "units": 1})
    generation = bench.store._generations["ada"]
    draw = Draw(BALANCE, "credits:ada", 10**9, 0, UNBOUNDED, 0, COST)
    until_us = bench.clock() + 10**6
    desk = bench.office.desk
    bench.office._sit_down(replace(desk, hooks=replace(desk.hooks, held=bench.store.held)))
    [held] = bench.store.hold([Hold("op", "ada", generation, (draw,), until_us, b"", "op")], bench.clock())
    assert held.status == "granted"
    assert await found(bench) == []
    bench.store.sync([Adjust("planted", "ada", -1)], bench.clock())
    assert await found(bench) == [("ada", "spendable", "3000000000", "2999999999")]


async def test_a_revoked_key_that_the_counters_would_admit_is_found(bench: Bench) -> None:
    kid = await a_customer(bench)
    await bench.office.do("keys.revoke", {"kid": kid})
    assert await found(bench) == []
    bench.store.sync([PutKey(KeyFacts(kid, "ada", "digest"))], bench.clock())
    assert await found(bench) == [(kid, "revoked", "yes", "no")]


async def test_a_window_that_was_set_back_is_found(bench: Bench) -> None:
    await a_customer(bench)
    await bench.office.do("usage.record", {"account": "ada", "meter": "images", "units": 3})
    assert await found(bench) == []
    [name] = [name for name in bench.store._budgets if "images" in name]
    bench.store._budgets[name] = 1
    assert await found(bench) == [(name, "used", "3", "1")]


async def test_a_difference_is_an_alarm(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    await a_customer(bench)
    await found(bench)
    assert (caplog.text, bench.ledger.differences) == ("", 0)
    bench.store.sync([Adjust("planted", "ada", 7)], bench.clock())
    await found(bench)
    assert "verify found 1 differences. See docs/runbook.md#verify-found-a-difference." in caplog.text
    assert bench.ledger.differences == 1
