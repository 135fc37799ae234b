"""Ledger first, then the store: whatever happens in between, both come to say the same."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from metergate.errors import StoreUnavailable
from metergate.ledger import accounts, balances
from metergate.ports import AskAccount, Change
from metergate.store.embedded import EmbeddedStore
from metergate.testing.clock import FakeClock
from tests.admin.bench import Bench, opened, sqlite


class StoreOutOfReach(EmbeddedStore):
    """A store behind a network that breaks now and then."""

    away = False

    def sync(self, changes: Sequence[Change], now_us: int) -> Sequence[str]:
        if self.away:
            raise StoreUnavailable("The counter store cannot be reached; try again in a moment.")
        return super().sync(changes, now_us)


async def agree(bench: Bench, account: str) -> bool:
    """Whether store and ledger say the same of an account that is at rest."""
    known = await bench.ledger.read(lambda tx: accounts.known(tx, account))
    balance = await bench.ledger.read(lambda tx: balances.balance(tx, account))
    [caller] = bench.store.state((AskAccount(account),))
    assert caller is not None
    assert not isinstance(caller, int)
    return caller.account == known.facts and bench.balance(account) == balance


async def test_a_change_that_the_store_missed_is_mended_by_doing_it_again(tmp_path: Path) -> None:
    """Account, trial, grant and key were committed while the store was away: repeated, each is there once."""
    async with opened(sqlite(tmp_path), FakeClock()) as bench:
        store = StoreOutOfReach(None)
        bench.use(store)
        steps: list[tuple[str, dict[str, object]]] = [
            ("accounts.create", {"id": "ada", "plan": "growth"}),
            ("credits.grant", {"account": "ada", "amount": "5", "id": "g1"}),
            ("accounts.suspend", {"id": "ada"}),
        ]
        for verb, params in steps:
            store.away = True
            with pytest.raises(StoreUnavailable):
                await bench.office.do(verb, params)
            store.away = False
            for _ in range(2):
                await bench.office.do(verb, params)
            assert await agree(bench, "ada")
        assert bench.balance("ada") == 8 * 10**9


async def test_a_key_whose_revocation_the_store_missed_is_revoked_by_doing_it_again(tmp_path: Path) -> None:
    async with opened(sqlite(tmp_path), FakeClock()) as bench:
        store = StoreOutOfReach(None)
        bench.use(store)
        await bench.do("accounts.create", id="ada")
        await bench.do("credits.grant", account="ada", amount="5")
        key = await bench.do("keys.create", account="ada")
        store.away = True
        with pytest.raises(StoreUnavailable):
            await bench.do("keys.revoke", kid=key["kid"])
        store.away = False
        await bench.do("keys.revoke", kid=key["kid"])
        assert await bench.spend(key["key"]) == "key_revoked"


async def test_a_client_that_leaves_does_not_tear_a_change_apart(bench: Bench) -> None:
    """Cancelled at any moment, a change is either whole or not there."""
    await bench.do("accounts.create", id="ada")
    for n in range(20):
        asked = asyncio.ensure_future(bench.do("credits.grant", account="ada", amount="1", id=f"g{n}"))
        for _ in range(n):
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.wait([asked])
    await asyncio.gather(*bench.office.desk._running)
    assert await agree(bench, "ada")


async def test_changes_at_once_reach_the_store_in_the_ledgers_order(bench: Bench) -> None:
    """Of many hands on one account, the last in the ledger is the last in the store."""
    await bench.do("accounts.create", id="ada")
    work = [
        bench.do("accounts.update", id="ada", suspended=n % 3 == 0, plan="growth" if n % 2 else "free")
        for n in range(30)
    ]
    grants = [bench.do("credits.grant", account="ada", amount="1", id=f"g{n % 10}") for n in range(30)]
    await asyncio.gather(*work, *grants)
    assert await agree(bench, "ada")
    assert bench.balance("ada") == 13 * 10**9
