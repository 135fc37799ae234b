"""Credits given, spent in their order, owed, repaid and expired."""

import pytest

from metergate.core.money import MAX
from metergate.errors import InvalidInput
from metergate.ledger import Conflict, Ledger, accounts, grants
from metergate.ledger.balances import all_balances, balance, grants_left
from metergate.ledger.grants import Expired
from metergate.ledger.posting import post
from metergate.ledger.transactions import entries, get, page
from tests.ledger.calls import START, USD, call, differences, open_account

DAY = 86400 * 10**6


def left(ledger: Ledger, account: str = "a") -> dict[str, int]:
    with ledger.read() as tx:
        return {grant.id: grant.remaining for grant in grants_left(tx, account)}


def test_a_grant_is_given_once_per_id(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
        first = grants.give(tx, "a", 5 * USD, id="g", at_us=START, expires_at_us=START + DAY, memo="welcome")
        again = grants.give(
            tx, "a", 5 * USD, id="g", at_us=START + 2 * DAY, expires_at_us=START + DAY, memo="welcome"
        )
        assert (first.repeated, again.repeated) == (False, True)
        assert first.grant == again.grant and first.delta == again.delta == 5 * USD
        assert balance(tx, "a") == 5 * USD
        assert grants.page(tx, "a") == [first.grant]
    assert differences(ledger) == []


@pytest.mark.parametrize(
    "other",
    [{"amount": 1}, {"priority": 1}, {"promotional": True}, {"expires_at_us": START + DAY}, {"memo": "x"}],
)
def test_the_id_of_a_grant_cannot_be_used_for_another_one(ledger: Ledger, other: dict[str, int]) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=5)
        with pytest.raises(Conflict, match="other contents"):
            grants.give(tx, "a", **{"amount": 5, "id": "first-a", "at_us": START} | other)  # type: ignore[arg-type]
        assert balance(tx, "a") == 5


@pytest.mark.parametrize(
    ("account", "amount", "id", "expires_at_us"),
    [
        ("nobody", 1, "g", None),
        ("a", 0, "g", None),
        ("a", -1, "g", None),
        ("a", MAX + 1, "g", None),
        ("a", MAX, "g", None),  # with the one that is there already
        ("a", 1, "", None),
        ("a", 1, "g", START),
    ],
)
def test_what_cannot_be_given_changes_nothing(
    ledger: Ledger, account: str, amount: int, id: str, expires_at_us: int | None
) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=1)
        with pytest.raises(InvalidInput):
            grants.give(tx, account, amount, id=id, at_us=START, expires_at_us=expires_at_us)
        assert balance(tx, "a") == 1


def test_grants_burn_in_their_order(ledger: Ledger) -> None:
    """Small priority first, then the sooner end, then promotional, then the older one."""
    with ledger.write() as tx:
        open_account(tx)
        for id, terms in {
            "bought": {},
            "ends-late": {"expires_at_us": START + 9 * DAY},
            "gift": {"promotional": True},
            "first": {"priority": 1},
            "ends-soon": {"expires_at_us": START + DAY},
        }.items():
            grants.give(tx, "a", 10, id=id, at_us=START, **terms)  # type: ignore[arg-type]
    order = []
    for _ in range(5):
        before = set(left(ledger))
        with ledger.write() as tx:
            post(tx, [call(cost=10)])
        order += sorted(before - set(left(ledger)))
    assert order == ["first", "ends-soon", "ends-late", "gift", "bought"]
    assert differences(ledger) == []


def test_a_grant_that_ends_inside_a_batch_pays_only_for_what_came_before(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=100)
        grants.give(tx, "a", 100, id="short", at_us=START, expires_at_us=START + 50)
        post(tx, [call(cost=10, at_us=START + at) for at in (20, 30, 49, 50, 60)])
    assert left(ledger) == {"first-a": 80, "short": 70}


def test_what_no_grant_covers_is_debt_and_the_next_grant_pays_it_first(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=10)
        post(tx, [call(cost=25)])
        assert balance(tx, "a") == -15
        assert grants.give(tx, "a", 5, id="small", at_us=START + 2).delta == 5
        assert balance(tx, "a") == -10
        grants.give(tx, "a", 40, id="large", at_us=START + 3)
        assert balance(tx, "a") == 30
        head = get(tx, "grant:large")
        assert head is not None
        assert [(e.book, e.grant, e.amount) for e in entries(tx, [head.seq])] == [
            ("credits", "large", 40),
            ("credits", "large", -10),
            ("debt", None, 10),
            ("funding", None, -40),
        ]
    assert left(ledger) == {"large": 30}
    assert differences(ledger) == []


def test_a_grant_ends_once_and_only_what_is_left_of_it(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=100)
        grants.give(tx, "a", 50, id="short", at_us=START, expires_at_us=START + DAY)
        grants.give(tx, "a", 50, id="spent", at_us=START, expires_at_us=START + DAY, priority=1)
        post(tx, [call(cost=60)])
        assert grants.next_expiry_us(tx) == START + DAY
        assert grants.expire_due(tx, START + DAY - 1) == []
        assert balance(tx, "a") == 140
        assert grants.expire_due(tx, START + DAY) == [Expired("a", "short", 40)]
        assert grants.expire_due(tx, START + DAY) == []
        assert grants.next_expiry_us(tx) is None
        assert balance(tx, "a") == 100
        [head] = page(tx, limit=1)
        assert head.id == "expire:short"
        assert [(e.book, e.amount) for e in entries(tx, [head.seq])] == [("credits", -40), ("breakage", 40)]
    assert differences(ledger) == []


def test_grants_of_many_accounts_end_together(ledger: Ledger) -> None:
    with ledger.write() as tx:
        for n in range(20):
            accounts.create(tx, f"a{n:02}", at_us=START)
            grants.give(tx, f"a{n:02}", n + 1, id=f"g{n:02}", at_us=START, expires_at_us=START + DAY)
        assert [expired.amount for expired in grants.expire_due(tx, START + DAY)] == list(range(1, 21))
        assert set(dict(all_balances(tx)).values()) == {0}
    assert differences(ledger) == []


def test_grants_are_listed_in_pages(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
        open_account(tx, "b", credit=1)
        for n in range(4):
            grants.give(tx, "a", 1, id=f"g{n}", at_us=START)
        first = grants.page(tx, "a", limit=3)
        assert [grant.id for grant in first] == ["g3", "g2", "g1"]
        assert [grant.id for grant in grants.page(tx, "a", after=first[-1].seq)] == ["g0"]
        assert len(grants.page(tx)) == 5
