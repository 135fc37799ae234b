"""Whatever is granted, used and expired, in any order: the ledger equals a dictionary that does it too."""

import itertools
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metergate.ledger import Ledger, accounts, grants
from metergate.ledger.balances import balance, drop_snapshots, grants_left, windows
from metergate.ledger.posting import post
from tests.ledger.calls import MONTH_END, START, call, differences

amounts = st.integers(0, 50)
names = st.sampled_from(["a", "b"])
gives = st.tuples(
    st.just("give"), names, st.integers(1, 100), st.none() | st.integers(1, 30), st.integers(1, 3)
)
uses = st.tuples(
    st.just("use"), st.lists(st.tuples(names, amounts, st.integers(0, 5)), min_size=1, max_size=6)
)
repeats = st.tuples(st.just("repeat"))
expiries = st.tuples(st.just("expire"))
drops = st.tuples(st.just("drop"))
stories = st.lists(st.one_of(gives, uses, repeats, expiries, drops), max_size=12)

_orgs = itertools.count(1000)


@dataclass
class Model:
    """One account as anybody would keep it on paper: [priority, end, number, rest] per grant."""

    grants: dict[str, list[float]] = field(default_factory=dict)
    debt: int = 0
    used: int = 0

    def give(self, id: str, amount: int, ends: float, priority: int) -> None:
        paid = min(self.debt, amount)
        self.debt -= paid
        self.grants[id] = [priority, ends, len(self.grants), amount - paid]

    def use(self, amount: int, at: int) -> None:
        for grant in sorted(self.grants.values()):
            if grant[1] > at:
                taken = min(grant[3], amount)
                grant[3] -= taken
                amount -= int(taken)
        self.debt += amount

    def expire(self, now: int) -> None:
        for grant in self.grants.values():
            if grant[1] <= now:
                grant[3] = 0

    def left(self) -> dict[str, float]:
        return {id: grant[3] for id, grant in self.grants.items() if grant[3]}


@pytest.mark.parametrize("url", ["sqlite", "postgresql"], indirect=True)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(story=stories)
def test_the_ledger_equals_a_dictionary(url: str, tmp_path: Path, story: list[tuple]) -> None:  # type: ignore[type-arg]
    # Rows cannot be deleted, so every story has an organisation of its own.
    ledger = Ledger.open(url, org=next(_orgs))
    ledger.migrate()
    model = {"a": Model(), "b": Model()}
    with ledger.write() as tx:
        for id in model:
            accounts.create(tx, id, at_us=START)
    last = [call("a", op="none")]
    for now, (step, *details) in enumerate(story, 1):
        with ledger.write() as tx:
            if step == "give":
                account, amount, lasts, priority = details
                ends = None if lasts is None else START + now + lasts
                id = f"{account}{now:02}"
                grants.give(
                    tx, account, amount, id=id, expires_at_us=ends, priority=priority, at_us=START + now
                )
                model[account].give(id, amount, float("inf") if ends is None else ends - START, priority)
            elif step == "use":
                last = [
                    call(account, cost, op=f"{now}-{n}", at_us=START + now, window="w", units=units)
                    for n, (account, cost, units) in enumerate(details[0])
                ]
                post(tx, last)
                for account, cost, units in details[0]:
                    model[account].use(cost, now)
                    model[account].used += units
            elif step == "repeat":
                post(tx, last)
            elif step == "expire":
                grants.expire_due(tx, START + now)
                for one in model.values():
                    one.expire(now)
            else:
                drop_snapshots(tx)
    with ledger.read() as tx:
        totals = {name: value for name, value, _ in windows(tx, START)}
        for id, one in model.items():
            assert {grant.id: grant.remaining for grant in grants_left(tx, id)} == one.left()
            assert balance(tx, id) == sum(one.left().values()) - one.debt
            assert totals.get(f"used:{id}:requests:w", 0) == one.used
        assert all(until_us == MONTH_END for _, _, until_us in windows(tx, START))
    assert differences(ledger) == []
    ledger.close()
