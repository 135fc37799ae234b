"""Hold, settle and release for fronts that serve the calls themselves."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from metergate import MeterGate, bootstrap
from metergate.api import models
from metergate.config.settings import Settings
from metergate.engine import Engine
from metergate.store import embedded
from metergate.testing.asgi import fetch
from metergate.testing.clock import FakeClock
from tests.asking import ADMIN, AUTHZ, Front, fronted, relayed
from tests.shell import CENT, PLAIN, Shell, hello, policy, written

ROWS = policy(
    meters={"requests": {"count": "calls"}, "rows": {"count": "json", "path": "$.rows"}},
    prices={"requests": {"price": "0.01"}, "rows": {"price": "0.01"}},
    plans={"chatty": {"features": ["chat"]}},
    routes=[
        {"match": "GET /health", "public": True},
        {"match": "GET /models", "free": True},
        {"match": "POST /chat", "meter": "requests", "feature": "chat"},
        {"match": "POST /query", "meter": "rows", "hold": {"units": 10}, "hold_for": "5m"},
        {"match": "* /api/**", "meter": "requests"},
    ],
)

UNITS: tuple[object, ...] = (-1, 1.5, True, "x", 2**53, [], {})
TTLS: tuple[object, ...] = (0, -1, 1.5, True, "x", "10 minutes", "25h", 86_401, [])


async def test_a_hold_is_settled_with_what_was_used(tmp_path: Path) -> None:
    """The ticket is all that the front keeps: it ends the hold once, and says the same again."""
    async with fronted(tmp_path, ROWS) as (front, shell):
        held = await front.hold("POST", "/query?q=1")
        models.Hold.model_validate(held, strict=True)
        assert (held["account"], held["meter"], held["units"]) == ("acct", "rows", 10)
        assert (held["cost"]["amount"], held["balance"]["amount"]) == ("0.10", "0.90")
        assert shell.balance() == 90 * CENT
        settled = await front.settle(held["hold"], units=3)
        models.EndedHold.model_validate(settled, strict=True)
        assert (settled["state"], settled["units"], settled["cost"]["amount"]) == ("settled", 3, "0.03")
        assert await front.settle(held["hold"], units="3") == settled
        assert await front.refused("settle", hold=held["hold"], units=4) == (409, "hold_ended")
        assert await front.refused("settle", hold=held["hold"]) == (409, "hold_ended")
        assert await front.refused("release", hold=held["hold"]) == (409, "hold_ended")
        [row] = await shell.rows()
        assert (row["request_id"], row["path"], row["route"]) == (held["request_id"], "/query", "POST /query")
        assert (row["units"], row["measured"], row["key"]) == (3, "reported", held["key"])
        assert shell.balance() == 97 * CENT


async def test_of_twenty_ends_at_once_one_counts(tmp_path: Path) -> None:
    """Those alike are the same end, a release among them is another."""
    async with fronted(tmp_path, ROWS) as (front, shell):
        for _ in range(3):
            before = shell.balance()
            hold = (await front.hold("POST", "/query"))["hold"]
            asked = [{"units": units} for units in (1, 2, 3) for _ in range(6)] + [None, None]
            random.shuffle(asked)
            verbs = ["release" if more is None else "settle" for more in asked]
            ends = [
                front.ask(verb, {"hold": hold, **(more or {})})
                for verb, more in zip(verbs, asked, strict=True)
            ]
            answers = await asyncio.gather(*ends)
            heard = [more for more, answer in zip(asked, answers, strict=True) if answer.status == 200]
            assert {answer.status for answer in answers} == {200, 409}
            assert all(more == heard[0] for more in heard)
            assert before - await shell.settled() == (heard[0] or {"units": 0})["units"] * CENT


@pytest.mark.parametrize("place", [0, 1, 20, 40, 70, -6])
async def test_a_ticket_that_was_touched_is_none(tmp_path: Path, place: int) -> None:
    async with fronted(tmp_path, ROWS) as (front, shell):
        hold = (await front.hold("POST", "/query"))["hold"]
        at = len("hold_") + place if place >= 0 else len(hold) + place
        other = "A" if hold[at] != "A" else "Q"
        forged = hold[:at] + other + hold[at + 1 :]
        for text in (
            forged,
            hold + "A",
            hold + "====",
            hold[:-4],
            hold.upper(),
            "hold_",
            "",
            hold * 40,
            f" {hold}",
        ):
            assert await front.refused("settle", hold=text, units=1) in (
                (404, "not_found"),
                (400, "invalid_input"),
            ), text
            assert await front.refused("release", hold=text) in ((404, "not_found"), (400, "invalid_input"))
        assert (await front.settle(hold, units=1))["units"] == 1
        assert await shell.settled() == 99 * CENT


async def test_a_hold_that_came_to_nothing_is_released(tmp_path: Path) -> None:
    async with fronted(tmp_path, ROWS) as (front, shell):
        held = await front.hold("POST", "/query")
        released = await front.release(held["hold"])
        assert (released["state"], released["cost"]["nanos"]) == ("released", 0)
        assert await front.release(held["hold"]) == released
        assert await front.refused("settle", hold=held["hold"], units=1) == (409, "hold_ended")
        assert (await shell.rows(), shell.balance()) == ([], 100 * CENT)


async def test_a_call_at_a_fixed_price_needs_no_units(tmp_path: Path) -> None:
    """Where units are not said they are those that were held; of a counted route, all that was held."""
    async with fronted(tmp_path, ROWS) as (front, shell):
        for method, path in (("GET", "/api/a"), ("POST", "/query")):
            held = await front.hold(method, path)
            assert await front.settle(held["hold"]) == await front.settle(held["hold"])
        three = await front.hold("GET", "/api/a", units=3)
        assert (await front.settle(three["hold"]))["cost"]["amount"] == "0.03"
        assert await shell.summary() == [
            ("requests", 1, "measured"),
            ("rows", 10, "held"),
            ("requests", 3, "measured"),
        ]
        more = await front.hold("GET", "/api/a")
        assert (await front.settle(more["hold"], units=200))["cost"]["amount"] == "2.00"
        assert await front.refused("hold", path="/api/a") == (402, "insufficient_credits")


async def test_nothing_is_held_where_nothing_is_charged(tmp_path: Path) -> None:
    """A public route wants no key, a free one does; the front has nothing to end."""
    async with fronted(tmp_path, ROWS) as (front, _):
        free = await front.hold("GET", "/models")
        assert (free["hold"], free["account"], free["cost"]["nanos"]) == (None, "acct", 0)
        assert await front.refused("hold", path="/models", key=None) == (401, "key_missing")
        answer = await front.ask("hold", {"method": "GET", "path": "/health"})
        public = answer.json()
        models.Hold.model_validate(public, strict=True)
        assert (answer.status, public["hold"], public["account"]) == (200, None, None)
        assert answer.header("metergate-request-id") == public["request_id"]


async def test_the_answer_carries_what_a_front_may_pass_on(tmp_path: Path) -> None:
    source = policy(limits=[{"rate": 2, "per": "minute"}])
    async with fronted(tmp_path, source) as (front, _):
        asked = {"key": front.key, "method": "GET", "path": "/x"}
        answer = await front.ask("hold", asked)
        assert answer.header("metergate-request-id") == answer.json()["request_id"]
        assert (answer.header("metergate-cost"), answer.header("metergate-balance")) == ("0.01", "0.99")
        assert answer.header("ratelimit") == '"2-per-minute";r=1;t=30'
        second = await front.ask("hold", asked)
        refused = await front.ask("hold", asked)
        assert (refused.status, refused.json()["reason"]) == (429, "rate_limited")
        assert refused.header("retry-after") == "30"
        assert refused.header("metergate-request-id") == refused.json()["request_id"]
        for held in (answer, second):
            await front.release(held.json()["hold"])


async def test_a_refusal_is_the_one_that_the_caller_would_have_got(tmp_path: Path) -> None:
    async with fronted(tmp_path, ROWS) as (front, shell):
        poor = await shell.customer("poor", credits="")
        gone = await shell.engine.office.keys.create("acct")
        await shell.engine.office.keys.revoke(gone["kid"])
        assert await front.refused("hold", key=None) == (401, "key_missing")
        assert await front.refused("hold", key="nonsense", path="/api/a") == (401, "key_invalid")
        assert await front.refused("hold", key=gone["key"], path="/api/a") == (401, "key_revoked")
        assert await front.refused("hold", path="/nowhere") == (403, "route_not_in_policy")
        assert await front.refused("hold", method="POST", path="/chat") == (403, "feature_not_in_plan")
        assert await front.refused("hold", method="get", path="/api/a") == (400, "bad_request")
        for path in (
            "api/a",
            "/api/../models",
            "//api/a",
            "/api/%2fa",
            "http://evil/api/a",
            "/api/a#x",
            "/ä",
        ):
            assert await front.refused("hold", path=path) == (400, "bad_request"), path
        answer = await front.ask("hold", {"key": poor, "method": "GET", "path": "/api/a"})
        told = answer.json()
        assert (answer.status, told["reason"]) == (402, "insufficient_credits")
        assert (told["required"]["amount"], told["top_up_url"]) == ("0.01", "/billing/v1/plans")
        assert answer.header("link") == '</billing/v1/plans>; rel="payment"'
        assert answer.header("metergate-request-id") == told["request_id"]
        for_anthropic = await front.ask(
            "hold", {"key": poor, "method": "GET", "path": "/api/a"}, anthropic_version="2023-06-01"
        )
        assert for_anthropic.json()["error"]["type"] == "billing_error"
        assert shell.balance() == 100 * CENT


@pytest.mark.parametrize(
    "body",
    [
        {"account": "acct"},
        {"cost": "0"},
        {"path": 1},
        {"path": None},
        {"method": None},
        {"key": 1},
        *({"units": units} for units in UNITS),
        *({"ttl": ttl} for ttl in TTLS),
    ],
    ids=str,
)
async def test_nonsense_holds_nothing(tmp_path: Path, body: dict[str, object]) -> None:
    """Who pays is said by the key alone; a quantity is a whole number, a time has bounds."""
    async with fronted(tmp_path) as (front, shell):
        status, reason = await front.refused("hold", **body)
        assert (status, reason) == (400, "invalid_input")
        assert shell.balance() == 100 * CENT


async def test_only_what_was_given_ends_a_hold(tmp_path: Path) -> None:
    """A ticket is sealed: not one letter of it can be another."""
    async with fronted(tmp_path) as (front, shell):
        ticket = (await front.hold())["hold"]
        for place in range(0, len(ticket), 7):
            other = ticket[:place] + ("A" if ticket[place] != "A" else "B") + ticket[place + 1 :]
            assert (await front.refused("settle", hold=other, units=0))[0] == 404
        for other in ("", "hold_", ticket + "A", ticket[:-9], "hold_" + "A" * 20_000, "hold_ä", "hold_="):
            assert await front.refused("release", hold=other) == (404, "not_found")
        assert await front.refused("settle", hold=None) == (400, "invalid_input")
        assert await front.refused("settle", hold=ticket, units=-1) == (400, "invalid_input")
        assert await front.refused("settle", hold=ticket, units=2**53 - 1) == (400, "invalid_input")
        assert shell.balance() == 99 * CENT
        await front.release(ticket)


async def test_a_hold_that_nobody_ends_is_over_at_its_time(tmp_path: Path) -> None:
    """The front let the call go, so it costs what the route says of calls whose end nobody saw."""
    clock = FakeClock()
    source = {
        **ROWS,
        "routes": [
            {"match": "POST /hold", "meter": "rows", "hold": {"units": 10}, "on_unknown_outcome": "hold"},
            {"match": "POST /release", "meter": "rows", "on_unknown_outcome": "release", "hold_for": "5m"},
            {"match": "* /**", "meter": "requests"},
        ],
    }
    async with fronted(tmp_path, source, clock=clock) as (front, shell):
        reaper = shell.engine.foundation.worker.reaper
        short = await front.hold("POST", "/hold", ttl=30)
        other = await front.hold("POST", "/release")
        plain = await front.hold("GET", "/x", ttl="10m")
        assert short["expires_at"] == "2026-01-01T00:00:30Z"
        clock.advance(seconds=31)
        await reaper.run_once()
        assert await front.refused("settle", hold=short["hold"], units=1) == (409, "hold_ended")
        assert (await front.settle(plain["hold"]))["cost"]["amount"] == "0.01"
        clock.advance(seconds=300)
        await shell.engine.foundation.worker.run_once()  # nobody keeps such a hold alive
        assert await front.refused("release", hold=other["hold"]) == (409, "hold_ended")
        rows = {row["route"]: (row["units"], row["measured"]) for row in await shell.rows()}
        assert rows == {
            "POST /hold": (10, "unknown"),
            "POST /release": (0, "unknown"),
            "* /**": (1, "measured"),
        }


async def test_open_calls_are_counted_until_they_end(tmp_path: Path) -> None:
    async with fronted(tmp_path, policy(concurrency=[{"calls": 1}])) as (front, _):
        first = await front.hold()
        assert await front.refused("hold") == (429, "too_many_open")
        await front.release(first["hold"])
        await front.release((await front.hold())["hold"])


async def test_what_is_held_counts_until_it_ends_or_its_time_is_over(tmp_path: Path) -> None:
    clock = FakeClock()
    source = {**ROWS, "concurrency": [{"held": "0.25", "scope": "key"}]}
    async with fronted(tmp_path, source, clock=clock) as (front, shell):
        held = await front.hold("POST", "/query")
        assert (await front.hold("POST", "/query", units=15, ttl=30))["cost"]["amount"] == "0.15"
        assert await front.refused("hold", path="/api/x") == (429, "too_many_open")
        await front.settle(held["hold"], units=40)
        await front.release((await front.hold("POST", "/query"))["hold"])
        assert await front.refused("hold", path="/query", method="POST", units=11) == (429, "too_many_open")
        clock.advance(seconds=31)
        await shell.engine.foundation.worker.reaper.run_once()
        again = await front.hold("POST", "/query", units=25)
        assert again["cost"]["amount"] == "0.25"
        await front.release(again["hold"])


async def test_a_hold_ends_under_the_policy_that_it_began_under(tmp_path: Path) -> None:
    """Also where the price depends on the period, and the policy is another by now."""
    tiers = [{"up_to": 5, "price": "0.01"}, {"price": "0.001"}]
    graduated = {**ROWS, "prices": {"rows": {"tiers": tiers}, "requests": {"price": "0.01"}}}
    async with fronted(tmp_path, written(tmp_path, graduated)) as (front, shell):
        first, second = [await front.hold("POST", "/query", units=4) for _ in range(2)]
        written(tmp_path, ROWS)
        await shell.engine.office.do("policy.reload", {})
        assert (await front.settle(second["hold"], units=3))["cost"]["amount"] == "0.012000"
        assert (await front.settle(first["hold"], units=6))["cost"]["amount"] == "0.051000"
        assert (await front.settle((await front.hold("POST", "/query"))["hold"], units=1))["cost"][
            "amount"
        ] == "0.01"


async def test_one_charge_for_an_idempotency_key(tmp_path: Path) -> None:
    """As for calls that pass through: another request is a mistake, a running one is waited for."""
    async with fronted(tmp_path) as (front, shell):
        asked = {"key": front.key, "method": "POST", "path": "/x", "units": 2}

        async def ask(**changes: object) -> tuple[int, str]:
            answer = await front.ask("hold", {**asked, **changes}, idempotency_key="job-7")
            return answer.status, answer.json().get("reason", "")

        first = (await front.ask("hold", asked, idempotency_key="job-7")).json()
        assert await ask() == (409, "idempotency_running")
        assert await ask(units=3) == (422, "idempotency_mismatch")
        await front.settle(first["hold"])
        assert await ask() == (409, "idempotency_done")
        answer = await front.ask("hold", asked, idempotency_key="é")
        assert (answer.status, answer.json()["reason"]) == (400, "bad_idempotency_key")
        assert (await shell.summary(), shell.balance()) == ([("requests", 2, "measured")], 98 * CENT)


async def test_nobody_is_refused_in_shadow_mode(tmp_path: Path) -> None:
    """What would have been refused goes on and leaves a row that costs nothing."""
    async with fronted(tmp_path, policy(shadow=True)) as (front, shell):
        poor = await shell.customer("poor", credits="")
        held = await front.hold(key=poor)
        assert (await front.settle(held["hold"], units=9))["cost"]["nanos"] == 0
        assert await shell.summary("poor") == [("requests", 9, "shadow")]
        assert (await front.hold(key="nonsense"))["hold"] is None


@asynccontextmanager
async def at_work(folder: Path, source: dict[str, Any] = ROWS) -> AsyncIterator[tuple[Front, Engine]]:
    """One life of the gate over a folder, which may end with holds open."""
    settings = Settings(data=folder / "data", admin_token=ADMIN, authz_token=AUTHZ)
    door = MeterGate(hello, source, settings=settings)
    await door.engine.start()
    try:
        yield Front(bootstrap.admin_app(source, settings=settings), ""), door.engine
    finally:
        await door.engine.stop()


async def test_a_hold_outlives_the_process_that_made_it(tmp_path: Path) -> None:
    """What was set aside is set aside after a restart; what was ended stays ended, and says the same."""
    async with at_work(tmp_path) as (front, engine):
        key = await Shell(hello, engine).customer()
        asked = {"key": key, "method": "POST", "path": "/query", "ttl": "1h"}
        open_, settled, released = [(await front.ask("hold", asked)).json()["hold"] for _ in range(3)]
        said = await front.settle(settled, units=2)
        await front.release(released)
    async with at_work(tmp_path) as (front, engine):
        shell = Shell(hello, engine)
        told = await engine.office.do("credits.show", {"account": "acct"})
        assert (told["balance"]["amount"], told["held"]["amount"]) == ("0.88", "0.10")
        assert await front.settle(settled, units=2) == said
        assert await front.refused("settle", hold=settled, units=1) == (409, "hold_ended")
        assert await front.refused("release", hold=settled) == (409, "hold_ended")
        assert (await front.release(released))["state"] == "released"
        assert (await front.settle(open_, units=7))["cost"]["amount"] == "0.07"
        assert await shell.summary() == [("rows", 7, "reported"), ("rows", 2, "reported")]
        await shell.prove()
        assert shell.balance() == 91 * CENT


async def test_an_end_is_known_long_after_the_store_forgot_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A store remembers some thousand ends; the ledger remembers all."""
    monkeypatch.setattr(embedded, "ENDED_KEPT", 2)
    async with fronted(tmp_path) as (front, shell):
        first = await front.hold()
        said = await front.settle(first["hold"])
        for _ in range(6):
            await front.release((await front.hold())["hold"])
        assert await front.settle(first["hold"]) == said
        assert await front.refused("settle", hold=first["hold"], units=2) == (409, "hold_ended")
        assert shell.balance() == 99 * CENT


async def test_a_hold_that_a_store_has_lost_is_charged_once(tmp_path: Path) -> None:
    """What the front says was used is paid, also by a store that never heard of the hold."""
    clock = FakeClock()
    async with fronted(tmp_path, clock=clock) as (front, shell):
        lost = [await front.hold(ttl="1h") for _ in range(2)]
        store = shell.engine.foundation.store
        assert isinstance(store, embedded.EmbeddedStore)
        for op in tuple(store._open):
            del store._open[op]
        store._budgets["credits:acct"] += 2 * CENT
        said = await front.settle(lost[0]["hold"], units=3)
        assert await front.settle(lost[0]["hold"], units=3) == said
        assert await shell.settled() == 97 * CENT
        clock.advance(seconds=2 * 3600 + 1)
        assert await front.refused("settle", hold=lost[1]["hold"]) == (409, "hold_ended")


async def test_each_token_opens_its_own_doors(tmp_path: Path) -> None:
    """The front's token decides and does not administrate; the operator's does both."""
    async with fronted(tmp_path) as (front, _):
        operator = Front(front.app, front.key, ADMIN)
        await operator.release((await operator.hold())["hold"])
        asked = {"key": front.key, "method": "GET", "path": "/x"}
        for token in ("", "wrong", AUTHZ + "x", front.key):
            answer = await Front(front.app, front.key, token).ask("hold", asked)
            assert (answer.status, answer.json()["reason"]) == (401, "unauthorized")
        for shown in (AUTHZ, ADMIN):
            answer = await Front(front.app, "", "wrong").ask("hold", asked, authorization=f"Bearer {shown}")
            assert answer.status == 401, "a wrong token beside a right one"
            headers = {"authorization": f"Bearer {shown}", "content-type": "application/json"}
            answer = await fetch(front.app, "POST", "/authz/v1/release", headers=headers, body=b"{}")
            assert answer.json()["reason"] == "invalid_input"
        for name in ("metergate-token", "authorization"):
            value = AUTHZ if name == "metergate-token" else f"Bearer {AUTHZ}"
            answer = await fetch(front.app, "GET", "/admin/v1/accounts", headers={name: value})
            assert answer.status == 401


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/hold", 405),
        ("POST", "/hold/", 404),
        ("POST", "/nowhere", 404),
        ("POST", "/hold?key=x", 400),
    ],
)
async def test_what_is_not_there_is_a_problem(tmp_path: Path, method: str, path: str, status: int) -> None:
    async with fronted(tmp_path) as (front, _):
        headers = {"metergate-token": AUTHZ, "content-type": "application/json"}
        answer = await fetch(front.app, method, f"/authz/v1{path}", headers=headers, body=b"{}")
        assert answer.status == status
        assert answer.header("content-type") == "application/problem+json"


async def test_another_process_is_asked_where_the_gate_is(tmp_path: Path) -> None:
    """`metergate admin` beside an app: the decision is that of the app's gate, headers and all."""
    async with fronted(tmp_path, ROWS) as (near, shell):
        far = relayed(shell, near)
        held = await far.hold("POST", "/query")
        assert await near.settle(held["hold"], units=1) == await far.settle(held["hold"], units=1)
        assert await far.refused("hold", path="/nowhere") == (403, "route_not_in_policy")
        asked = {"x-original-uri": "/api/a", "x-original-method": "GET", "x-api-key": near.key}
        answer = await far.forward(asked)
        assert (answer.status, answer.header("metergate-cost")) == (200, "0.01")
        assert await shell.settled() == 98 * CENT
        answer = await far.ask("hold", "x" * 1_100_000)
        assert (answer.status, answer.json()["reason"]) == (413, "body_too_large")


async def test_the_admin_side_decides_while_nobody_owns_the_folder(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path / "data", admin_token=ADMIN, authz_token=AUTHZ)
    app = bootstrap.admin_app(dict(PLAIN), settings=settings)
    async with bootstrap.open_office(dict(PLAIN), settings) as office:
        await office.do("accounts.create", {"id": "acct"})
        await office.do("credits.grant", {"account": "acct", "amount": "1.00"})
        key = (await office.do("keys.create", {"account": "acct"}))["key"]
    front = Front(app, key)
    held = await front.hold()
    said = await front.settle(held["hold"], units=4)
    assert await front.settle(held["hold"], units=4) == said
    async with bootstrap.open_office(dict(PLAIN), settings) as office:
        told = await office.do("credits.show", {"account": "acct"})
    assert told["balance"]["amount"] == "0.96"


async def test_tokens_are_counted_where_answers_pass_by(tmp_path: Path) -> None:
    """Their kinds have prices of their own, and no front says how many of each they were."""
    source = policy(
        meters={"tokens": {"count": "llm"}},
        prices={"tokens": {"price": "1.00", "per": 1_000_000}},
        routes=[{"match": "POST /v1/chat/completions", "meter": "tokens"}],
    )
    async with fronted(tmp_path, source) as (front, shell):
        for units in (None, 5):
            asked = {"method": "POST", "path": "/v1/chat/completions", "units": units}
            assert await front.refused("hold", **asked) == (403, "no_price")
        assert shell.balance() == 100 * CENT
