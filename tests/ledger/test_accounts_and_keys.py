"""Accounts, plans and keys as the operator keeps them."""

import pytest

from metergate.core.facts import AccountFacts, KeyFacts
from metergate.errors import InvalidInput
from metergate.ledger import Conflict, Ledger, accounts, audit, keys
from metergate.ledger.posting import post
from tests.ledger.calls import START, call, open_account

KEY = KeyFacts("k1", "a", "digest", 2, "test", ("chat", "read"), False, START + 99, 5, "day")


def test_an_account_is_what_it_was_created_as(ledger: Ledger) -> None:
    with ledger.write() as tx:
        made = accounts.create(
            tx,
            "a@b.c",
            plan="free",
            name="Ann",
            email="a@b.c",
            currency="EUR",
            metadata={"n": [1]},
            at_us=START,
        )
        assert accounts.get(tx, "a@b.c") == made
        assert made.facts == AccountFacts("a@b.c", "free", START)
        assert accounts.get(tx, "nobody") is None


@pytest.mark.parametrize("id", ["", "a b", "ä", "a/b", "a" * 65, "a\n"])
def test_an_id_that_could_confuse_is_refused(ledger: Ledger, id: str) -> None:
    with ledger.write() as tx, pytest.raises(InvalidInput, match="account id"):
        accounts.create(tx, id, at_us=START)


def test_an_account_has_a_real_currency_and_json_metadata(ledger: Ledger) -> None:
    with ledger.write() as tx:
        with pytest.raises(InvalidInput, match="ISO 4217"):
            accounts.create(tx, "a", currency="XYZ", at_us=START)
        with pytest.raises(InvalidInput, match="JSON"):
            accounts.create(tx, "a", metadata={"x": object()}, at_us=START)


def test_an_id_is_taken_once(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
        with pytest.raises(Conflict, match="already"):
            open_account(tx)


def test_accounts_are_listed_in_pages(ledger: Ledger) -> None:
    with ledger.write() as tx:
        for id in ("c", "a", "b"):
            open_account(tx, id)
        assert [account.id for account in accounts.page(tx, limit=2)] == ["a", "b"]
        assert [account.id for account in accounts.page(tx, after="b")] == ["c"]


def test_what_is_said_about_an_account_can_change(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
        assert accounts.update(tx, "a", name="Ann").name == "Ann"
        changed = accounts.update(tx, "a", metadata={"k": "v"}, email="e")
        assert (changed.name, changed.email, changed.metadata) == ("Ann", "e", {"k": "v"})
        assert accounts.update(tx, "a", metadata={}) == accounts.get(tx, "a")
        with pytest.raises(InvalidInput, match="create it first"):
            accounts.update(tx, "nobody", name="x")


def test_a_suspended_account_can_go_on_again(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
        assert [accounts.suspend(tx, "a", state) for state in (True, True, False)] == [True, False, True]
        accounts.suspend(tx, "a")
        assert list(accounts.all_facts(tx)) == [AccountFacts("a", suspended=True, version=3)]


def test_a_plan_is_assigned_once_per_cause(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
        assert accounts.assign_plan(tx, "a", "growth", START + 1, "order-1")
        assert accounts.assign_plan(tx, "a", "free", START + 2, "order-2")
        assert not accounts.assign_plan(tx, "a", "growth", START + 3, "order-1")
        assert list(accounts.all_facts(tx)) == [AccountFacts("a", "free", START + 2, version=2)]


def test_to_stay_on_a_plan_keeps_its_anchor(ledger: Ledger) -> None:
    with ledger.write() as tx:
        accounts.create(tx, "a", plan="free", at_us=START)
        assert not accounts.assign_plan(tx, "a", "free", START + 9, "again")
        assert list(accounts.all_facts(tx)) == [AccountFacts("a", "free", START)]
        with pytest.raises(InvalidInput, match="create it first"):
            accounts.assign_plan(tx, "nobody", "free", START, "x")


def test_a_key_is_kept_without_its_secret(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
        added = keys.add(tx, KEY, "wxyz", START)
        assert keys.get(tx, "k1") == added == keys.Key(KEY, "wxyz", "", 0, START)
        assert keys.get(tx, "k2") is None
        with pytest.raises(Conflict):
            keys.add(tx, KEY, "wxyz", START)
        with pytest.raises(InvalidInput, match="create it first"):
            keys.add(tx, KEY._replace(kid="k2", account="nobody"), "wxyz", START)


def test_a_revoked_key_stays_revoked(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
        keys.add(tx, KEY, "wxyz", START)
        assert keys.revoke(tx, "k1", START + 5).revoked_at_us == START + 5
        assert keys.revoke(tx, "k1", START + 9).revoked_at_us == START + 5
        assert list(keys.all_facts(tx)) == [KEY._replace(revoked=True, version=1)]
        with pytest.raises(InvalidInput, match="no key"):
            keys.revoke(tx, "k2", START)


def test_a_rotated_key_ends_after_its_grace_and_never_later_than_it_would_have(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
        keys.add(tx, KEY._replace(expires_at_us=0), "wxyz", START)
        rotated = keys.expire(tx, "k1", START + 50, replaced_by="k2")
        assert (rotated.facts.expires_at_us, rotated.replaced_by) == (START + 50, "k2")
        assert keys.expire(tx, "k1", START + 60).facts.expires_at_us == START + 50
        assert keys.expire(tx, "k1", START + 40).facts.expires_at_us == START + 40


def test_keys_are_listed_in_pages(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)
        open_account(tx, "b")
        for kid, account in (("k3", "a"), ("k1", "a"), ("k2", "b")):
            keys.add(tx, KEY._replace(kid=kid, account=account), "wxyz", START)
        assert [key.facts.kid for key in keys.page(tx, limit=2)] == ["k1", "k2"]
        assert [key.facts.kid for key in keys.page(tx, "a", after="k1")] == ["k3"]


def test_the_audit_says_who_did_what(ledger: Ledger) -> None:
    with ledger.write() as tx:
        for n in range(3):
            audit.note(tx, START + n, "operator", "keys.revoke", f"k{n}", {"why": "lost"})
        newest = audit.page(tx, limit=1)
        assert [(row.at_us, row.action, row.details) for row in newest] == [
            (START + 2, "keys.revoke", {"why": "lost"})
        ]
        assert [row.subject for row in audit.page(tx, after=newest[0].seq)] == ["k1", "k0"]
        assert len(audit.page(tx, subject="k0")) == 1


def test_a_key_tells_when_it_was_last_used(ledger: Ledger) -> None:
    """To the minute, so that a key that is used all the time is not written all the time."""
    minute = 60 * 10**6
    with ledger.write() as tx:
        open_account(tx)
        keys.add(tx, KEY._replace(kid="key-a"), "abcd", START)
        found = []
        for at_us in (0, START, START + minute - 1, START + minute, START - minute):
            if at_us:
                post(tx, [call(at_us=at_us), call(at_us=at_us - 5)])
            known = keys.get(tx, "key-a")
            assert known is not None
            assert keys.page(tx, "a") == [known]
            found.append(known.used_at_us)
        assert found == [0, START, START, START + minute, START + minute]
