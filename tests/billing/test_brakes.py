"""Brakes: how often may be paid and failed, per account and per address; a promotion once per person."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from metergate import MeterGate
from metergate.admin import lines
from metergate.api.problem import of_error
from metergate.asgi.types import Receive, Scope, Send
from metergate.billing.braking import TooOften, source_of
from metergate.config import load
from metergate.config.settings import Settings
from metergate.core import identity
from metergate.errors import InvalidInput, PaymentFailed
from metergate.testing.asgi import lifespan
from tests.api.client import Client, problem
from tests.billing.bench import POLICY, Bench
from tests.billing.selfpaying import HOUR_US, MINUTE_US, SelfPaying
from tests.billing.test_over_http import a_house
from tests.waiting import until

DECLINED = "4000000000000002"


async def buy(paying: SelfPaying, account: str = "acct", **more: Any) -> str:
    """The reason of the refusal, or nothing."""
    try:
        await paying.office.payments.create(account, amount="5.00", **more)
    except TooOften as error:
        return error.reason
    return ""


async def test_a_hundred_at_once_are_not_one_more_than_was_allowed(any_bench: Bench) -> None:
    paying = SelfPaying(any_bench, brakes={"payments": 12})
    reasons = await asyncio.gather(*(buy(paying) for _ in range(100)))
    assert (reasons.count(""), reasons.count("too_many_payments")) == (12, 88)
    assert len(await any_bench.payments()) == 12
    paying.clock.advance(us=HOUR_US + 1)
    assert await buy(paying) == ""


async def test_accounts_that_share_an_address_share_its_bound(any_bench: Bench) -> None:
    paying = SelfPaying(any_bench, brakes={"payments_per_source": 7})
    names = [f"a{number}" for number in range(20)]
    for name in names:
        await paying.office.accounts.create(name)
    asked = [buy(paying, name, source="203.0.113.9") for name in names for _ in range(2)]
    reasons = await asyncio.gather(*asked)
    assert (reasons.count(""), reasons.count("too_many_payments")) == (7, 33)
    assert await buy(paying, names[0], source="203.0.113.10") == ""
    assert await buy(paying, names[0]) == ""


async def test_who_tries_cards_is_stopped_and_told_until_when(bench: Bench) -> None:
    paying = SelfPaying(bench, brakes={"failures": 3, "failures_per_source": 4})
    card = (await paying.office.payments.attach("acct", "tok_declined"))["id"]
    for _ in range(2):
        with pytest.raises(PaymentFailed):
            await paying.office.payments.create("acct", amount="1.00", method=card, source="203.0.113.9")
    page = await bench.top_up(100)  # on a page, without a source
    await bench.pay(page, DECLINED)
    await bench.cashier.verify(page.id)
    await bench.cashier.verify(page.id)  # the same failure is one
    with pytest.raises(
        TooOften, match=r"acct has 3 failed payments within 60 minutes.* after 2026-01-01T01:00:00Z"
    ):
        await paying.office.payments.create("acct", amount="1.00")
    with pytest.raises(TooOften):
        await paying.office.payments.attach("acct", "tok_visa")
    await paying.office.accounts.create("second")
    other = (await paying.office.payments.attach("second", "tok_declined"))["id"]
    for _ in range(2):
        with pytest.raises(PaymentFailed):
            await paying.office.payments.create("second", amount="1.00", method=other, source="203.0.113.9")
    await paying.office.accounts.create("third")
    assert await buy(paying, "third", source="203.0.113.9") == "too_many_failed_payments"
    paying.clock.advance(us=HOUR_US + 1)
    assert await buy(paying) == await buy(paying, "third", source="203.0.113.9") == ""


async def test_cards_that_are_added_are_counted_too(any_bench: Bench) -> None:
    paying = SelfPaying(any_bench, brakes={"methods": 5})

    async def attach() -> bool:
        try:
            await paying.office.payments.attach("acct", "tok_visa")
        except TooOften as error:
            return error.reason != "too_many_methods"
        return True

    assert sum(await asyncio.gather(*(attach() for _ in range(20)))) == 5


async def test_going_on_with_the_same_payment_counts_once(bench: Bench) -> None:
    paying = SelfPaying(bench, brakes={"payments": 2})
    for source in ("203.0.113.9", "203.0.113.10", "203.0.113.11"):
        assert await buy(paying, id="order-1", source=source) == ""
    assert await buy(paying, id="order-2") == ""
    assert await buy(paying, id="order-3") == "too_many_payments"


async def test_a_bound_of_zero_is_none(bench: Bench) -> None:
    paying = SelfPaying(bench, brakes={"payments": 0})
    assert {await buy(paying) for _ in range(40)} == {""}


async def test_a_top_up_that_is_braked_waits_and_goes_on_with_its_payment(bench: Bench) -> None:
    paying = SelfPaying(bench, brakes={"payments": 1})
    await paying.sign_up(threshold="5.00", amount="20.00")
    assert await buy(paying) == ""
    await paying.spend("6.00")
    await paying.rounds()
    shown = await paying.state()
    assert (shown["state"], "which is the most" in shown["reason"]) == ("on", True)
    await paying.pass_time(2 * HOUR_US)
    assert (paying.charged, (await paying.state())["in_flight"]) == ([2000], None)


def test_what_is_kept_of_an_address_cannot_be_read() -> None:
    assert "203.0.113.9" not in source_of("203.0.113.9")
    assert source_of("") == ""


async def test_what_is_held_counts_in_a_cap_until_the_call_has_ended(tmp_path: Path) -> None:
    """Whatever an account has: so much at once may be set aside for it, and no more."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    async def slow(scope: Scope, _receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        begun.set()
        await go_on.wait()
        head = [(b"content-type", b"application/json"), (b"content-length", b"7")]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b'{"n":1}'})

    policy = {
        **POLICY,
        "meters": {"requests": {"count": "json", "path": "$.n"}},
        "routes": [{"match": "* /**", "meter": "requests", "hold": {"amount": "2.00"}}],
        "caps": [{"every": "day", "spend": "3.00"}],
    }
    app = MeterGate(slow, policy, settings=Settings(data=tmp_path / "data"))
    async with lifespan(app):
        await app.engine.office.accounts.create("acct")
        await app.engine.office.credits.grant("acct", "1000.00")
        caller = Client(app, (await app.engine.office.keys.create("acct"))["key"])
        first = asyncio.ensure_future(caller("GET", "/x"))
        await until(lambda: begun.is_set() or first.done())
        assert not first.done(), first.result().body
        refused = await caller("GET", "/x")
        assert (refused.status, problem(refused)["reason"]) == (402, "cap_reached")
        go_on.set()
        assert (await first).status == 200
        assert (await caller("GET", "/x")).status == 200  # the first has cost one and not two


# -- promotions ----------------------------------------------------------------------------------------


async def give(paying: SelfPaying, account: str, promotion: str = "welcome") -> bool:
    try:
        await paying.office.credits.grant(account, "5.00", promotion=promotion)
    except InvalidInput as error:
        return error.reason != "promotion_taken"
    return True


@pytest.mark.parametrize(
    ("first", "second", "same"),
    [
        ({"email": "Ann@Example.com"}, {"email": "ann@example.com "}, True),
        ({"email": "ann@example.com"}, {"email": "ann+2@example.com"}, True),
        ({"email": "a.n.n@gmail.com"}, {"email": "ann+x@googlemail.com"}, True),
        ({"email": "a.nn@example.com"}, {"email": "ann@example.com"}, False),
        ({"email": "ann@example.com"}, {"email": "bob@example.com"}, False),
        ({"metadata": {"identity": "tax-7"}}, {"metadata": {"identity": "tax-7"}}, True),
        ({"metadata": {"identity": "tax-7"}}, {"metadata": {"identity": "tax-8"}}, False),
        ({}, {}, False),
        ({"email": ""}, {"email": "@"}, False),
    ],
)
async def test_one_person_gets_a_promotion_once(
    bench: Bench, first: dict[str, Any], second: dict[str, Any], same: bool
) -> None:
    paying = SelfPaying(bench)
    await paying.office.accounts.create("first", **first)
    await paying.office.accounts.create("second", **second)
    assert await give(paying, "first")
    assert await give(paying, "second") is not same
    assert not await give(paying, "first")
    assert await give(paying, "second", "spring")


async def test_who_has_paid_with_the_same_card_is_one_person(bench: Bench) -> None:
    paying = SelfPaying(bench)
    await paying.office.accounts.create("second")
    for account in ("acct", "second"):
        method = (await paying.office.payments.attach(account, "tok_visa"))["id"]
        assert "fingerprint" not in (await paying.office.payments.methods(account))["data"][0]
        paid = await paying.office.payments.create(account, amount="5.00", method=method)
        assert paid["method"] == {"type": "card", "brand": "visa", "last4": "4242"}
    assert await give(paying, "acct")
    with pytest.raises(InvalidInput, match="same means of payment has had the promotion welcome"):
        await paying.office.credits.grant("second", "5.00", promotion="welcome")
    await paying.office.credits.grant("second", "5.00", promotional=True)  # a present to somebody is one


async def test_of_twenty_accounts_of_one_person_one_gets_it(any_bench: Bench) -> None:
    paying = SelfPaying(any_bench)
    names = [f"a{number}" for number in range(20)]
    for number, name in enumerate(names):
        await paying.office.accounts.create(name, email=f"ann+{number}@example.com")
    offices = [paying.worker(any_bench.ledger)[0] for _ in names]

    async def ask(office: Any, name: str) -> bool:
        try:
            await office.credits.grant(name, "5.00", promotion="welcome", id=f"welcome-{name}")
        except InvalidInput:
            return False
        return True

    given = await asyncio.gather(*(ask(office, name) for office, name in zip(offices, names, strict=True)))
    assert sum(given) == 1
    winner = names[given.index(True)]
    assert await ask(offices[0], winner)  # the same grant again is the same


async def test_a_trial_is_a_promotion_and_the_plan_comes_without_it(bench: Bench) -> None:
    plans = {"free": {}, "pro": {"trial": {"credits": "5.00", "for": "14d"}}}
    paying = SelfPaying(bench, plans=plans)
    for name in ("first", "second"):
        await paying.office.accounts.create(name, plan="pro", email="ann@example.com")
    balances = [(await paying.office.credits.show(name))["balance"]["amount"] for name in ("first", "second")]
    assert balances == ["5.00", "0.00"]
    assert (await paying.office.accounts.show("second"))["plan"] == "pro"
    rows = (await paying.office.books.audit(subject="second"))["data"]
    assert {"plan": "pro", "because": "the same e-mail address"} in [row["details"] for row in rows]


async def test_the_policy_says_what_makes_one_person(bench: Bench) -> None:
    paying = SelfPaying(bench, brakes={"identity": ["own"]})
    for name in ("first", "second"):
        await paying.office.accounts.create(name, email="ann@example.com")
        assert await give(paying, name)


def test_what_is_kept_of_an_identity_cannot_be_read() -> None:
    assert identity.digest("email", "ann@example.com") != identity.digest("own", "ann@example.com")
    assert "ann" not in identity.digest("email", "ann@example.com")


def test_the_defaults_brake_nobody_who_pays_now_and_then() -> None:
    brakes = load(POLICY).brakes
    assert (brakes.payments, brakes.failures, brakes.every_us) == (30, 5, 60 * MINUTE_US)


async def test_over_http_it_is_a_429_with_its_reason(tmp_path: Path) -> None:
    async with a_house(tmp_path, brakes={"payments_per_source": 2}) as house:
        ada, bob = await house.customer("ada"), await house.customer("bob")
        for each in (ada, bob):
            await each.ok("POST", "/billing/v1/checkout", {"amount": "5.00"})
        refused = await ada("POST", "/billing/v1/checkout", {"amount": "5.00"})
        told = problem(refused)
        assert (refused.status, told["reason"]) == (429, "too_many_payments")
        assert told["detail"].startswith("This address has 2 payments within 60 minutes")
        waits = int(refused.header("retry-after") or 0)
        assert 3500 < waits <= 3600


async def test_behind_a_proxy_that_is_trusted_its_clients_are_counted(tmp_path: Path) -> None:
    """And not the proxy, which is the address of all of them."""
    serve = {"trusted_proxies": ["127.0.0.0/8"]}
    async with a_house(tmp_path, brakes={"payments_per_source": 1}, serve=serve) as house:
        ada = await house.customer("ada")

        async def asked_from(address: str) -> int:
            headers = {"x-forwarded-for": address}
            return (await ada("POST", "/billing/v1/checkout", {"amount": "5.00"}, headers=headers)).status

        asked = [await asked_from(f"203.0.113.{number}") for number in (7, 8, 7)]
        assert asked == [201, 201, 429]


async def test_whoever_is_stopped_is_told_for_how_long(any_bench: Bench) -> None:
    """Until the first of what is counted is an hour ago, and not a second more."""
    paying = SelfPaying(any_bench, brakes={"payments": 2})
    for _ in range(2):
        assert await buy(paying) == ""
        paying.clock.advance(us=MINUTE_US)
    with pytest.raises(TooOften) as stopped:
        await paying.office.payments.create("acct", amount="5.00")
    assert of_error(stopped.value).headers["retry-after"] == str(58 * 60)
    asked_again = lines.raised(json.loads(lines.problem(stopped.value))["error"])  # over the owner's socket
    assert of_error(asked_again).headers["retry-after"] == str(58 * 60)
    paying.clock.advance(us=58 * MINUTE_US - 1)
    assert await buy(paying) == "too_many_payments"
    paying.clock.advance(us=1)
    assert await buy(paying) == ""


async def test_a_moment_that_is_left_is_a_second_to_wait(bench: Bench) -> None:
    paying = SelfPaying(bench, brakes={"payments": 1})
    assert await buy(paying) == ""
    paying.clock.advance(us=HOUR_US - 1)
    with pytest.raises(TooOften) as stopped:
        await paying.office.payments.create("acct", amount="5.00")
    assert of_error(stopped.value).headers["retry-after"] == "1"
