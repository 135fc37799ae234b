"""What an operator does reaches the ledger and the very next call."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from metergate.admin import VERBS, NotFound
from metergate.core.money import NANOS
from metergate.core.periods import rfc3339
from metergate.errors import InvalidInput
from metergate.gate.call import Call
from metergate.ledger import Conflict
from metergate.testing.clock import FakeClock
from tests.admin.bench import Bench, opened, sqlite

DAY_S = 86_400


@pytest.fixture(params=["sqlite", "postgres"])
async def either(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Bench]:
    """The office on both databases."""
    url = sqlite(tmp_path) if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    async with opened(url, FakeClock()) as made:
        yield made


async def test_a_new_customer_in_three_steps(either: Bench) -> None:
    """An account, a key and credits: the next call is admitted, and everything adds up."""
    account = await either.do("accounts.create", id="ada", name="Ada", metadata={"team": ["x", 1]})
    assert account["plan"] == "free"
    assert account["metadata"] == {"team": ["x", 1]}
    key = await either.do("keys.create", account="ada", scopes=[])
    assert key["key"].startswith("mg_live_" + key["kid"])
    assert (key["last4"], key["last_used_at"]) == (key["key"][-4:], None)
    assert await either.spend(key["key"]) == "insufficient_credits"
    grant = await either.do("credits.grant", account="ada", amount="5.00", id="first")
    assert grant["amount"] == {"currency": "USD", "amount": "5.00", "nanos": 5 * NANOS}
    assert await either.spend(key["key"]) == ""

    credits = await either.do("credits.show", account="ada")
    assert credits["balance"]["amount"] == "4.00"
    assert credits["grants"][0]["remaining"]["amount"] == "4.00"
    [row] = (await either.do("usage.list", account="ada"))["data"]
    assert (row["meter"], row["units"], row["cost"]["amount"], row["key"]) == (
        "requests",
        1,
        "1.00",
        key["kid"],
    )
    assert (await either.do("keys.list", account="ada"))["data"][0]["last_used_at"] == row["at"]
    [used, given] = (await either.do("ledger.list", account="ada"))["data"]
    assert (used["kind"], given["kind"]) == ("usage", "grant")
    assert sum(entry["amount"]["nanos"] for entry in used["entries"]) == 0
    assert [row["action"] for row in (await either.do("audit.list"))["data"]] == [
        "grant.give",
        "key.create",
        "account.create",
    ]
    assert (await either.do("verify"))["differences"] == []


async def test_the_text_of_a_key_is_told_once(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    key = await bench.do("keys.create", account="ada")
    shown = [await bench.do("keys.show", kid=key["kid"]), *(await bench.do("keys.list"))["data"]]
    assert all("key" not in each for each in shown)
    everything = str(await bench.snapshot())
    assert key["key"] not in everything


async def test_a_revoked_key_is_refused_by_the_next_call(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    key = await bench.do("keys.create", account="ada")
    await bench.do("credits.grant", account="ada", amount="5")
    assert await bench.spend(key["key"]) == ""
    assert (await bench.do("keys.revoke", kid=key["kid"]))["state"] == "revoked"
    assert await bench.spend(key["key"]) == "key_revoked"
    again = await bench.do("keys.revoke", kid=key["kid"])
    assert again["state"] == "revoked"
    actions = [row["action"] for row in (await bench.do("audit.list", subject=key["kid"]))["data"]]
    assert actions == ["key.revoke", "key.create"]


async def test_two_keys_spend_one_balance(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    keys = [(await bench.do("keys.create", account="ada"))["key"] for _ in range(2)]
    await bench.do("credits.grant", account="ada", amount="3")
    assert [await bench.spend(keys[n % 2]) for n in range(4)] == ["", "", "", "insufficient_credits"]


async def test_rotation_keeps_both_keys_for_the_grace(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    await bench.do("credits.grant", account="ada", amount="9")
    old = await bench.do("keys.create", account="ada", scopes=["chat"], cap="100.00", cap_every="day")
    new = await bench.do("keys.rotate", kid=old["kid"], grace="1h")
    assert (new["scopes"], new["cap"]) == (["chat"], old["cap"])
    assert new["replaces"]["replaced_by"] == new["kid"]
    plain = await bench.do("keys.create", account="ada")
    rotated = await bench.do("keys.rotate", kid=plain["kid"], grace="1h")
    assert [await bench.spend(plain["key"]), await bench.spend(rotated["key"])] == ["", ""]
    bench.clock.advance(seconds=3600)
    assert [await bench.spend(plain["key"]), await bench.spend(rotated["key"])] == ["key_expired", ""]
    assert bench.balance("ada") == 6 * NANOS
    with pytest.raises(Conflict, match="expired: create a new one"):
        await bench.do("keys.rotate", kid=plain["kid"])


async def test_a_leaked_key_is_rotated_at_once(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    await bench.do("credits.grant", account="ada", amount="9")
    old = await bench.do("keys.create", account="ada")
    new = await bench.do("keys.rotate", kid=old["kid"], grace="0")
    assert [await bench.spend(old["key"]), await bench.spend(new["key"])] == ["key_revoked", ""]


async def test_a_replaced_key_is_not_rotated_again(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    old = await bench.do("keys.create", account="ada")
    new = await bench.do("keys.rotate", kid=old["kid"])
    assert new["replaces"]["expires_at"] == rfc3339(bench.clock() + DAY_S * 10**6)
    with pytest.raises(Conflict, match=f"replaced by {new['kid']}"):
        await bench.do("keys.rotate", kid=old["kid"])


async def test_an_expiring_key_ends(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    await bench.do("credits.grant", account="ada", amount="9")
    key = await bench.do("keys.create", account="ada", expires_at="30d")
    assert key["expires_at"] == rfc3339(bench.clock() + 30 * DAY_S * 10**6)
    bench.clock.advance(seconds=30 * DAY_S - 1)
    assert await bench.spend(key["key"]) == ""
    bench.clock.advance(seconds=1)
    assert await bench.spend(key["key"]) == "key_expired"


async def test_a_grant_is_given_once_per_id(either: Bench) -> None:
    """Said again it changes nothing, also when "30d" is said a day later; other contents are a conflict."""
    await either.do("accounts.create", id="ada")
    first = await either.do("credits.grant", account="ada", amount="5.00", id="g1", expires_at="30d")
    either.clock.advance(seconds=DAY_S)
    again = await either.do("credits.grant", account="ada", amount="5", id="g1", expires_at="30d")
    assert again == first
    assert either.balance("ada") == 5 * NANOS
    with pytest.raises(Conflict):
        await either.do("credits.grant", account="ada", amount="6.00", id="g1", expires_at="30d")
    assert either.balance("ada") == 5 * NANOS
    assert len((await either.do("audit.list", subject="ada"))["data"]) == 2


async def test_a_grant_repeated_after_a_restart_is_not_given_twice(bench: Bench) -> None:
    """A store that loaded its balances has the grant already."""
    from metergate.worker.recovery import load

    await bench.do("accounts.create", id="ada")
    await bench.do("credits.grant", account="ada", amount="5.00", id="g1")
    later = Bench(bench.ledger, bench.clock)
    await load(later.store, later.ledger, later.clock)
    await later.do("credits.grant", account="ada", amount="5.00", id="g1")
    assert later.balance("ada") == 5 * NANOS


async def test_trial_credits_come_once_for_an_account_and_a_plan(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    assert bench.balance("ada") == 0
    for plan in ("growth", "free", "growth"):
        told = await bench.do("subscriptions.assign", account="ada", plan=plan)
        assert told["plan"] == plan
    assert bench.balance("ada") == 3 * NANOS
    [trial] = (await bench.do("grants.list", account="ada"))["data"]
    assert (trial["id"], trial["promotional"]) == ("trial:ada:growth", True)
    assert (await bench.do("subscriptions.check", account="ada", plan="growth"))["subscribed"] is True
    assert (await bench.do("subscriptions.check", account="ada", plan="free"))["subscribed"] is False
    assert (await bench.do("subscriptions.check", account="nobody", plan="free"))["subscribed"] is False


async def test_an_account_created_again_alike_is_the_same(bench: Bench) -> None:
    first = await bench.do("accounts.create", id="ada", plan="growth", name="Ada")
    assert await bench.do("accounts.create", id="ada", plan="growth", name="Ada") == first
    assert bench.balance("ada") == 3 * NANOS
    with pytest.raises(Conflict, match="already"):
        await bench.do("accounts.create", id="ada", plan="growth", name="Eve")


async def test_a_suspended_account_is_refused_until_it_goes_on(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    await bench.do("credits.grant", account="ada", amount="9")
    key = (await bench.do("keys.create", account="ada"))["key"]
    assert (await bench.do("accounts.suspend", id="ada"))["suspended"] is True
    assert await bench.spend(key) == "account_suspended"
    assert (await bench.do("accounts.resume", id="ada"))["suspended"] is False
    bench.clock.advance(seconds=1)  # for as long the gate may remember the facts that a refusal rests on
    assert await bench.spend(key) == ""


async def test_what_is_left_out_of_an_update_stays(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada", name="Ada", email="ada@example.com")
    changed = await bench.do("accounts.update", id="ada", metadata={"vip": True}, plan="growth")
    assert (changed["name"], changed["email"]) == ("Ada", "ada@example.com")
    assert (changed["metadata"], changed["plan"]) == ({"vip": True}, "growth")


async def test_credits_tell_what_open_calls_hold(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    await bench.do("credits.grant", account="ada", amount="5")
    key = (await bench.do("keys.create", account="ada"))["key"]
    call = await bench.admit(key)
    assert isinstance(call, Call)
    told = await bench.do("credits.show", account="ada")
    assert (told["balance"]["amount"], told["held"]["amount"]) == ("4.00", "1.00")
    call.release()
    told = await bench.do("credits.show", account="ada")
    assert (told["balance"]["amount"], told["held"]["amount"]) == ("5.00", "0.00")


async def test_grants_are_listed_in_the_order_they_are_spent(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    for id, expires in (("never", None), ("late", "9d"), ("soon", "2d")):
        await bench.do("credits.grant", account="ada", amount="1", id=id, expires_at=expires)
    told = await bench.do("credits.show", account="ada")
    assert [grant["id"] for grant in told["grants"]] == ["soon", "late", "never"]


async def test_usage_that_happened_elsewhere_is_counted_once(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    job = {"account": "ada", "meter": "requests", "units": "3", "idempotency_key": "job-7"}
    assert [(await bench.do("usage.record", **job))["replayed"] for _ in range(2)] == [False, True]
    assert bench.balance("ada") == -3 * NANOS
    [row] = (await bench.do("usage.list"))["data"]
    assert (row["units"], row["cost"]["amount"]) == (3, "3.00")
    assert (await bench.do("usage.show", id=row["request_id"]))["id"] == row["id"]
    assert (await bench.do("usage.totals", account="ada"))["data"] == [
        {"meter": "requests", "calls": 1, "units": 3, "cost": row["cost"]}
    ]


async def test_a_batch_is_counted_row_by_row_once(bench: Bench) -> None:
    for id in ("ada", "bob"):
        await bench.do("accounts.create", id=id)
    rows = [{"account": id, "meter": "requests", "units": 1, "cost": "0.25"} for id in ("ada", "bob", "ada")]
    first = await bench.do("usage.record_batch", data=rows, idempotency_key="night")
    assert (first["recorded"], first["failed"]) == (3, 0)
    again = await bench.do("usage.record_batch", data=rows, idempotency_key="night")
    assert [row["replayed"] for row in again["data"]] == [True] * 3
    assert (bench.balance("ada"), bench.balance("bob")) == (-500_000_000, -250_000_000)
    assert len((await bench.do("usage.list", account="ada"))["data"]) == 2


async def test_a_batch_with_one_bad_row_counts_nothing(bench: Bench) -> None:
    await bench.do("accounts.create", id="ada")
    good = {"account": "ada", "meter": "requests", "units": 1}
    before = await bench.snapshot()
    for bad in ({**good, "units": -1}, {**good, "account": "eve"}, {**good, "meter": "none"}, {}, 7):
        with pytest.raises(InvalidInput):
            await bench.do("usage.record_batch", data=[good, bad])
    assert await bench.snapshot() == before


async def test_lists_go_on_where_they_ended(bench: Bench) -> None:
    for n in range(5):
        await bench.do("accounts.create", id=f"a{n}")
        await bench.do("credits.grant", account=f"a{n}", amount="1")
    for verb, seen_by in (
        ("accounts.list", "id"),
        ("grants.list", "id"),
        ("ledger.list", "id"),
        ("audit.list", "id"),
    ):
        seen: list[str] = []
        after = ""
        while True:
            told = await bench.do(verb, limit=2, after=after)
            seen += [row[seen_by] for row in told["data"]]
            assert len(told["data"]) <= 2
            if not told["has_more"]:
                assert told["after"] is None
                break
            after = told["after"]
        whole = await bench.do(verb, limit=1000)
        assert seen == [row[seen_by] for row in whole["data"]]
        assert len(seen) == len(set(seen)) >= 5


async def test_the_policy_is_shown_and_read_anew(bench: Bench) -> None:
    told = await bench.do("policy.show")
    assert told["plans"] == ["free", "growth"]
    assert told["prices"]["requests"][0]["price"]["amount"] == "1.00"
    assert (await bench.do("policy.reload"))["changed"] is True
    assert (await bench.do("policy.show"))["service"] == "another"
    assert (await bench.do("policy.reload"))["changed"] is False
    plans = await bench.do("plans.list")
    assert [plan["id"] for plan in plans["data"]] == ["free", "growth"]
    assert (await bench.do("plans.show", id="growth"))["trial"]["credits"]["amount"] == "3.00"


async def test_health_names_every_part(bench: Bench) -> None:
    told = await bench.do("health")
    assert told["state"] == "ok"
    for part in ("store", "ledger", "worker"):
        assert told[part]["state"] == "ok"
    assert (told["store"]["name"], told["ledger"]["name"]) == ("memory", "sqlite")


@pytest.mark.parametrize("verb", sorted(VERBS))
async def test_every_verb_says_what_it_wants(bench: Bench, verb: str) -> None:
    """A parameter that it does not know, or one that is missing, is one clear sentence."""
    with pytest.raises(InvalidInput, match="not 'colour'"):
        await bench.office.do(verb, {"colour": "red"})
    if VERBS[verb].required:
        with pytest.raises(InvalidInput, match="also wants"):
            await bench.office.do(verb, {})


async def test_what_is_not_there_is_not_found(bench: Bench) -> None:
    for verb, params in (
        ("accounts.show", {"id": "eve"}),
        ("keys.show", {"kid": "0123456789"}),
        ("keys.revoke", {"kid": "0123456789"}),
        ("keys.create", {"account": "eve"}),
        ("credits.show", {"account": "eve"}),
        ("credits.grant", {"account": "eve", "amount": "1"}),
        ("usage.show", {"id": "req_1"}),
        ("usage.list", {"account": "eve"}),
        ("plans.show", {"id": "gold"}),
    ):
        with pytest.raises(NotFound):
            await bench.office.do(verb, params)
