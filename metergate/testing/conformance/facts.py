"""Accounts and keys: what the ledger's side tells the store, and how every call notices a change."""

import pytest

from metergate.core.facts import AccountFacts, Caller, KeyFacts
from metergate.core.money import MAX
from metergate.ports import (
    CONFLICT,
    DONE,
    GRANTED,
    STALE,
    UNKNOWN,
    Adjust,
    Ask,
    AskAccount,
    AskBudget,
    AskKey,
    Change,
    PutAccount,
    PutKey,
    Told,
    answered,
)
from metergate.testing.conformance.bench import Bench, OnBench, money

ACCOUNT = AccountFacts("acct", "growth", 1_700_000_000_000_001, True)
KEY = KeyFacts(
    "kid0000001", "acct", "ab" * 32, 3, "test", ("read", "write"), True, 1_800_000_000_000_001, MAX, "day"
)


async def told(bench: Bench, kid: str = KEY.kid) -> tuple[Told, Told]:
    account, key = await answered(bench.store.state((AskAccount("acct"), AskKey(kid))))
    return account, key


class FactTests(OnBench):
    async def test_what_was_put_is_told_whole(self, bench: Bench) -> None:
        assert await bench.know(PutAccount(ACCOUNT, 5), PutKey(KEY)) == [DONE, DONE]
        generation = await bench.generation()
        assert await told(bench) == (Caller(ACCOUNT, None, generation), Caller(ACCOUNT, KEY, generation))

    async def test_what_is_not_known_is_told_as_such_and_never_as_zero(self, bench: Bench) -> None:
        asks = (AskAccount("acct"), AskKey("kid"), AskBudget("credits:acct"), AskBudget("used:acct:m:day"))
        assert list(await answered(bench.store.state(asks))) == [None] * 4
        assert list(await answered(bench.store.state(()))) == []

    async def test_a_key_without_its_account_belongs_to_nobody(self, bench: Bench) -> None:
        await bench.know(PutKey(KEY))
        assert await told(bench) == (None, None)
        await bench.know(PutAccount(ACCOUNT))
        assert (await told(bench))[1] == Caller(ACCOUNT, KEY, await bench.generation())

    async def test_answers_come_in_the_order_of_the_questions(self, bench: Bench) -> None:
        await bench.account("a", balance=1)
        await bench.account("b", balance=2)
        asks: list[Ask] = [AskBudget("credits:b"), AskAccount("a"), AskBudget("credits:a"), AskAccount("c")]
        second, caller, first, nobody = await answered(bench.store.state(asks))
        assert (second, first, nobody) == (2, 1, None)
        assert isinstance(caller, Caller)
        assert caller.account.id == "a"

    async def test_a_balance_counts_only_where_the_account_is_new(self, bench: Bench) -> None:
        await bench.account(balance=100)
        await bench.hold(money(30))
        await bench.know(PutAccount(ACCOUNT, 1000))
        assert await bench.budget() == 70
        account, _ = await told(bench)
        assert isinstance(account, Caller)
        assert account.account == ACCOUNT

    @pytest.mark.parametrize(
        "change",
        [
            PutKey(KEY._replace(revoked=True)),
            PutKey(KEY._replace(kid="kid0000002")),
            PutAccount(AccountFacts("acct", "other")),
            PutAccount(AccountFacts("acct", suspended=True)),
        ],
        ids=["revoked key", "new key", "other plan", "suspended"],
    )
    async def test_the_very_next_hold_notices_a_change(self, bench: Bench, change: Change) -> None:
        await bench.know(PutAccount(AccountFacts("acct"), 100), PutKey(KEY._replace(revoked=False)))
        old = await bench.a_hold(money(1))
        await bench.know(change)
        async with bench.nothing_changes():
            assert [held.status for held in await bench.send(old)] == [STALE]
        assert (await bench.hold(money(1))).status == GRANTED

    async def test_a_change_of_one_account_disturbs_no_other(self, bench: Bench) -> None:
        await bench.account("a", balance=10)
        await bench.account("b", balance=10)
        hold = await bench.a_hold(money(1, "b"), account="b")
        await bench.know(PutAccount(AccountFacts("a", "other")), PutKey(KEY._replace(account="a")))
        assert (await bench.send(hold))[0].status == GRANTED

    async def test_a_generation_that_never_was_is_stale(self, bench: Bench) -> None:
        await bench.account(balance=10)
        hold = await bench.a_hold(money(1))
        for generation in (0, hold.generation - 1, hold.generation + 1):
            async with bench.nothing_changes():
                assert (await bench.send(hold._replace(op=f"g{generation}", generation=generation)))[
                    0
                ].status == STALE

    async def test_an_adjustment_counts_once(self, bench: Bench) -> None:
        await bench.account(balance=100)
        assert await bench.know(Adjust("grant-1", "acct", 50)) == [DONE]
        assert await bench.know(Adjust("grant-1", "acct", 50)) == [DONE]
        assert await bench.budget() == 150
        async with bench.nothing_changes():
            assert await bench.know(Adjust("grant-1", "acct", 51)) == [CONFLICT]
        assert await bench.know(Adjust("expiry-1", "acct", -200)) == [DONE]
        assert await bench.budget() == -50

    async def test_an_adjustment_leaves_calls_in_flight_alone(self, bench: Bench) -> None:
        await bench.account(balance=1)
        hold = await bench.a_hold(money(5))
        await bench.know(Adjust("grant-1", "acct", 2**53))
        assert (await bench.send(hold))[0].values == (2**53 - 4,)

    async def test_an_account_that_is_not_known_cannot_be_adjusted_until_it_is(self, bench: Bench) -> None:
        assert await bench.know(Adjust("grant-1", "acct", 50)) == [UNKNOWN]
        assert await bench.budget() is None
        await bench.account(balance=7)
        assert await bench.know(Adjust("grant-1", "acct", 50)) == [DONE]
        assert await bench.budget() == 57

    async def test_changes_of_one_batch_happen_in_its_order(self, bench: Bench) -> None:
        answers = await bench.know(
            Adjust("1", "acct", 1), PutAccount(AccountFacts("acct"), 10), Adjust("2", "acct", 5)
        )
        assert answers == [UNKNOWN, DONE, DONE]
        assert await bench.budget() == 15
