"""Usage becomes rows and money: each call once, whatever happens to the batch it came in."""

import pytest

from metergate.core.facts import AccountFacts
from metergate.core.hold import UsageEvent
from metergate.ledger import Ledger, accounts, grants, twins, usage
from metergate.ledger.balances import balance, windows
from metergate.ledger.posting import Posted, Upgrade, post
from metergate.ledger.transactions import entries, page
from tests.ledger.calls import MONTH_END, START, USD, call, differences, open_account


def test_a_call_costs_what_it_costs(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=5 * USD)
        event = call(cost=2 * USD, op="op")
        assert post(tx, [event]) == Posted(1, 0, [])
        assert balance(tx, "a") == 3 * USD
        row = usage.get(tx, "op")
        assert row is not None
        [head] = page(tx, limit=1)
        assert row.transaction == head.seq
        assert (row.units, row.cost, row.path, dict(row.dimensions)) == (1, 2 * USD, "/x", {"kind": "a"})
        assert [(e.book, e.grant, e.amount) for e in entries(tx, [head.seq])] == [
            ("credits", "first-a", -2 * USD),
            ("revenue", None, 2 * USD),
        ]
    assert differences(ledger) == []


def test_a_batch_is_one_transaction_per_account(ledger: Ledger) -> None:
    with ledger.write() as tx:
        for id in ("a", "b"):
            open_account(tx, id, credit=USD)
        post(tx, [call("ab"[n % 2], cost=10) for n in range(100)])
        assert [head.kind for head in page(tx)] == ["usage", "usage", "grant", "grant"]
        assert balance(tx, "a") == balance(tx, "b") == USD - 500


@pytest.mark.parametrize(
    ("url", "charges"), [("sqlite", 1_000_000), ("postgresql", 100_000)], indirect=["url"]
)
def test_a_million_charges_of_a_millionth_sum_to_exactly_one(ledger: Ledger, charges: int) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=USD)
    template = call(cost=USD // charges)
    for start in range(0, charges, 50_000):
        with ledger.write() as tx:
            post(tx, [template._replace(op=f"{n:06}") for n in range(start, start + 50_000)])
    with ledger.read() as tx:
        assert balance(tx, "a") == 0
        [total] = usage.totals(tx, "a")
        assert (total.calls, total.cost) == (charges, USD)


def test_the_same_batch_again_changes_nothing(ledger: Ledger) -> None:
    batch = [call(cost=USD, window="w") for _ in range(3)]
    with ledger.write() as tx:
        open_account(tx, credit=5 * USD)
        assert post(tx, batch) == Posted(3, 0, [])
    with ledger.write() as tx:
        assert post(tx, batch) == Posted(0, 3, [])
        assert balance(tx, "a") == 2 * USD
        assert list(windows(tx, START)) == [("used:a:requests:w", 3, MONTH_END)]
    assert differences(ledger) == []


def test_of_overlapping_batches_each_call_counts_once(ledger: Ledger) -> None:
    events = [call(cost=USD, window="w", at_us=START + n) for n in range(6)]
    with ledger.write() as tx:
        open_account(tx, credit=10 * USD)
        assert post(tx, events[:4]) == Posted(4, 0, [])
        assert post(tx, events[2:]) == Posted(2, 2, [])
        assert post(tx, [events[0], *events, events[5]]) == Posted(0, 8, [])
        assert balance(tx, "a") == 4 * USD
        assert [value for _, value, _ in windows(tx, START)] == [6]
    assert differences(ledger) == []


def test_a_call_twice_in_one_batch_counts_once(ledger: Ledger) -> None:
    event = call(cost=USD)
    with ledger.write() as tx:
        open_account(tx, credit=5 * USD)
        assert post(tx, [event, event]) == Posted(1, 1, [])
        assert balance(tx, "a") == 4 * USD


def test_an_empty_batch_is_no_work(ledger: Ledger) -> None:
    with ledger.write() as tx:
        assert post(tx, []) == Posted(0, 0, [])


@pytest.mark.parametrize("committed", [True, False])
def test_after_an_unknown_outcome_the_batch_is_posted_again(ledger: Ledger, committed: bool) -> None:
    """The answer to a commit may be lost on the way: whichever way it went, repeating it is right."""
    batch = [call(cost=USD) for _ in range(3)]
    with ledger.write() as tx:
        open_account(tx, credit=5 * USD)
    with pytest.raises(ConnectionResetError):
        lose_the_answer(ledger, batch, committed)
    with ledger.write() as tx:
        assert post(tx, batch).new == (0 if committed else 3)
        assert balance(tx, "a") == 2 * USD
    assert differences(ledger) == []


def lose_the_answer(ledger: Ledger, batch: list[UsageEvent], committed: bool) -> None:
    with ledger.write() as tx:
        post(tx, batch)
        if committed:
            tx.connection.commit()
        raise ConnectionResetError


def test_a_call_that_costs_nothing_has_a_row_and_no_transaction(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
        post(tx, [call(units=7, window="w")])
        [row] = usage.rows(tx, "a")
        assert (row.transaction, row.units, row.budgets) == (None, 7, [("used:a:requests:w", 7, MONTH_END)])
        assert page(tx) == []
    assert differences(ledger) == []


def test_usage_of_an_unknown_account_is_kept_as_its_debt(ledger: Ledger) -> None:
    with ledger.write() as tx:
        post(tx, [call("ghost", cost=USD)])
        assert balance(tx, "ghost") == -USD
    assert differences(ledger) == []


def test_credits_of_one_currency_never_pay_for_another(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=5 * USD)
        post(tx, [call(cost=USD, currency="EUR"), call(cost=USD)])
        assert balance(tx, "a") == 4 * USD
        assert balance(tx, "a", "EUR") == -USD
    assert differences(ledger) == []


def test_an_upgrade_assigns_the_plan_once(ledger: Ledger) -> None:
    outgrown = [call(plan="growth", upgraded_from="free", at_us=START + n) for n in (7, 8)]
    with ledger.write() as tx:
        accounts.create(tx, "a", plan="free", at_us=START)
        assert post(tx, outgrown).upgrades == [Upgrade("a", "growth", START + 7)]
        assert post(tx, outgrown).upgrades == []
        assert list(accounts.all_facts(tx)) == [AccountFacts("a", "growth", START + 7, version=1)]


def test_a_late_upgrade_does_not_undo_what_the_customer_chose_since(ledger: Ledger) -> None:
    with ledger.write() as tx:
        accounts.create(tx, "a", plan="free", at_us=START)
        accounts.assign_plan(tx, "a", "enterprise", START + 5, "contract")
        late = [call(plan="growth", upgraded_from="free"), call("ghost", plan="growth", upgraded_from="free")]
        assert post(tx, late).upgrades == []


def test_twins_are_remembered_until_their_time_is_over(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
        post(tx, [call(op="op", twin=("t", "body", START + 10), answer=b"\x00ok"), call(twin=None)])
        [kept] = twins.live(tx, START)
        assert (kept.twin.id, kept.twin.fingerprint, kept.op, kept.answer) == ("t", "body", "op", b"\x00ok")
        assert list(twins.live(tx, START + 10)) == []
        assert (twins.purge(tx, START + 9), twins.purge(tx, START + 10)) == (0, 1)


def test_usage_is_listed_in_pages_and_summed_over_half_open_periods(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=USD)
        post(tx, [call(cost=n, op=f"op{n}", at_us=START + n, units=n) for n in range(1, 6)])
        post(tx, [call("b", cost=100)])
        first = usage.rows(tx, "a", limit=2)
        assert [row.id for row in first] == ["op5", "op4"]
        assert [row.id for row in usage.rows(tx, "a", after=first[-1].seq)] == ["op3", "op2", "op1"]
        period = (START + 2, START + 4)
        assert [r.id for r in usage.rows(tx, "a", since_us=period[0], until_us=period[1])] == ["op3", "op2"]
        assert usage.totals(tx, "a", *period) == [usage.Total("requests", "USD", 2, 5, 5)]
        assert usage.totals(tx, None)[0].cost == 115


def test_a_request_is_found_with_all_it_was_charged_for(ledger: Ledger) -> None:
    with ledger.write() as tx:
        first = call(op="r1")
        post(tx, [first, call(op="x")._replace(request_id="r1"), call(op="y")])
        assert [row.id for row in usage.of_request(tx, "r1")] == ["r1", "x"]
        assert usage.of_request(tx, "nothing") == []


def test_an_odd_character_does_not_hold_up_the_batch(ledger: Ledger) -> None:
    plain = call(cost=1)
    odd = plain._replace(path="/x\x00y", outcome=plain.outcome._replace(dimensions=(("model", "m\x00"),)))
    with ledger.write() as tx:
        open_account(tx, credit=USD)
        assert post(tx, [call(cost=1), odd, call(cost=1)]).new == 3
        assert post(tx, [odd]).new == 0
        row = usage.get(tx, odd.op)
        assert row is not None and row.path in ("/x\x00y", "/x\ufffdy")
        assert dict(row.dimensions) == {"model": "m\x00"}
    assert differences(ledger) == []


def test_a_grant_given_while_calls_waited_pays_for_them(ledger: Ledger) -> None:
    """The call came before the grant and is posted after it: it must not be left as debt beside credits."""
    with ledger.write() as tx:
        open_account(tx)
        grants.give(tx, "a", 5 * USD, id="later", at_us=START + 100)
        post(tx, [call(cost=USD, at_us=START + 50)])
        [head] = page(tx, limit=1)
        assert [e.book for e in entries(tx, [head.seq])] == ["credits", "revenue"]
        assert balance(tx, "a") == 4 * USD
