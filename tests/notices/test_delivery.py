"""What happened is told to whoever wants it, once per id, however long they are away."""

import asyncio
import json
import time
from datetime import UTC, datetime

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from metergate import alarms
from metergate.api import metrics
from metergate.core import outgoing
from metergate.core.periods import rfc3339
from metergate.ledger import grants, notices
from metergate.ledger.database import Tx
from tests.api.test_metrics import read
from tests.notices.conftest import Post
from tests.waiting import until

SECOND_US = 10**6
HOUR_US = 3600 * SECOND_US
DAY_US = 24 * HOUR_US


async def test_what_happens_is_told_signed_to_who_wants_it(any_post: Post) -> None:
    post = any_post
    await post.listen(["credits.*", "key.revoked", "plan.changed", "account.*"])
    await post.grant("g-1")
    key = await post.office.keys.create("acct")
    await post.office.keys.revoke(key["kid"])
    await post.office.keys.revoke(key["kid"])
    await post.office.accounts.subscribe("acct", "growth")
    await post.office.accounts.suspend("acct")
    await post.deliver()
    assert sorted(post.receiver.types) == [
        "account.suspended",
        "credits.granted",
        "key.revoked",
        "plan.changed",
    ]
    assert post.receiver.forged == []
    (granted,) = post.receiver.of("credits.granted")
    assert (granted["account"], granted["grant"], granted["amount"]["nanos"]) == ("acct", "g-1", 10**9)
    assert post.receiver.of("plan.changed")[0]["plan"] == "growth"


async def test_payments_refunds_and_disputes_are_told(post: Post) -> None:
    await post.listen(["payment.*"])
    bench = post.bench
    payment = await bench.paid(1000, "order-1")
    await bench.cashier.verify(payment.id)
    from metergate.billing import refunding
    from metergate.provider_port import LOST, DisputeFacts, Money

    await refunding.refund(bench.cashier, payment.id, Money(300, "USD"), "ref-1")
    for state in ("open", LOST):
        bench.sandbox.dispute(f"pay_{payment.id}", DisputeFacts("dp_1", Money(100, "USD"), state))
        await bench.cashier.verify(payment.id)
        await bench.cashier.verify(payment.id)
    declined = await bench.top_up(500)
    await bench.pay(declined, "4000000000000002")
    await bench.cashier.verify(declined.id)
    await post.deliver()
    assert sorted(post.receiver.types) == [
        *["payment.disputed"] * 2,
        "payment.failed",
        "payment.refunded",
        "payment.succeeded",
    ]
    (refunded,) = post.receiver.of("payment.refunded")
    assert (refunded["payment"], refunded["refunded"]["amount"]) == ("order-1", "3.00")
    assert {each["dispute_state"] for each in post.receiver.of("payment.disputed")} == {"open", "lost"}
    assert post.receiver.of("payment.failed")[0]["reason"] == "Your card was declined."


async def test_a_transaction_that_is_rolled_back_tells_nobody(any_post: Post) -> None:
    post = any_post
    await post.listen()

    def work(tx: Tx) -> None:
        grants.give(tx, "acct", 5, id="never", at_us=post.clock())
        raise RuntimeError("killed before the commit")

    with pytest.raises(RuntimeError):
        await post.bench.ledger.write(work)
    await post.deliver()
    assert post.receiver.asked == 0


async def test_a_receiver_that_is_down_for_a_day_gets_everything_once(any_post: Post) -> None:
    post = any_post
    await post.listen(["credits.granted"])
    await post.receiver.stop()
    for hour in range(24):
        await post.grant(f"g-{hour}")
        for _ in range(4):
            await post.deliver()
            post.clock.advance(us=HOUR_US // 4)
    assert post.receiver.got == []
    await post.receiver.start()
    post.clock.advance(us=HOUR_US)
    await post.deliver()
    assert {data["grant"] for data in post.receiver.of("credits.granted")} == {f"g-{n}" for n in range(24)}
    assert set(post.receiver.ids.values()) == {1}
    log = await post.deliveries()
    assert {each["state"] for each in log} == {"delivered"}
    first = await post.office.endpoints.delivery(log[-1]["id"])
    assert len(first["attempts"]) == first["tries"] > 3
    assert [each["status"] for each in first["attempts"]] == [None] * (first["tries"] - 1) + [200]
    assert "cannot be reached" in first["attempts"][0]["detail"]


async def test_two_workers_tell_once(any_post: Post) -> None:
    post = any_post
    await post.listen()
    await post.grant(*(f"g-{number}" for number in range(30)))
    others = [post.another() for _ in range(3)]
    while any(await asyncio.gather(*(each.run_once() for each in (post.courier, *others)))):
        pass
    assert len(post.receiver.ids) == 30
    assert set(post.receiver.ids.values()) == {1}


async def test_who_dies_after_sending_sends_the_same_id_again(post: Post) -> None:
    await post.listen()
    await post.grant("g-1")
    dying = post.another()
    sent = asyncio.ensure_future(dying.run_once())
    await until(lambda: bool(post.receiver.got))
    sent.cancel()
    await dying.stop()
    await asyncio.gather(sent, return_exceptions=True)
    post.clock.advance(us=61 * SECOND_US)
    await post.deliver()
    assert len(post.receiver.ids) == 1
    assert [each["state"] for each in await post.deliveries()] == ["delivered"]


async def test_a_notice_that_nobody_takes_is_dead_after_days_and_can_be_replayed(post: Post) -> None:
    await post.listen()
    await post.grant("g-1")
    post.receiver.answer = 422
    began_us, tries = post.clock(), 0
    while (await post.deliveries())[0]["state"] == "waiting":
        await post.deliver()
        post.clock.advance(us=60 * SECOND_US)
        tries += 1
        assert tries < 10_000
    assert 3 * DAY_US < post.clock() - began_us < 4 * DAY_US
    assert post.receiver.asked == (await post.deliveries())[0]["tries"] == 10
    assert (await post.deliveries())[0]["detail"] == "It answered 422."
    post.receiver.answer = 204
    assert await post.office.endpoints.replay(state="dead") == {"replayed": 1}
    post.clock.advance(us=HOUR_US)
    await post.deliver()
    assert len(post.receiver.got) == 1
    again = (await post.deliveries())[0]
    assert await post.office.endpoints.replay(again["id"]) == {"replayed": 1}
    await post.deliver()
    assert list(post.receiver.ids.values()) == [2]


async def test_all_since_a_time_is_replayed_however_much_it_is(post: Post) -> None:
    await post.listen()
    await post.grant("before")
    post.clock.advance(us=HOUR_US)
    since_us = post.clock()

    def many(tx: Tx) -> None:
        for number in range(1200):
            notices.tell(tx, "credits.low", "acct", {}, since_us, str(number))

    await post.bench.ledger.write(many)
    assert await post.office.endpoints.replay(since=rfc3339(since_us)) == {"replayed": 1200}
    [noted] = (await post.office.do("audit.list", {"subject": "all"}))["data"]
    assert (noted["action"], noted["details"]) == ("deliveries.replay", {"deliveries": 1200})


async def test_an_endpoint_that_fails_for_long_is_let_alone_and_comes_back(
    post: Post, caplog: pytest.LogCaptureFixture
) -> None:
    await post.listen(["credits.granted"])
    await post.receiver.stop()
    for day in range(6):
        await post.grant(f"g-{day}")
        for _ in range(48):
            await post.deliver()
            post.clock.advance(us=DAY_US // 48)
    assert await post.state() == "failing"
    assert caplog.text.count(f"metergate endpoints enable {post.endpoint['id']}") == 1
    assert caplog.text.count(alarms.ENDPOINT_OFF.page) == 1
    await post.receiver.start()
    await post.grant("g-late")
    await post.deliver()
    assert post.receiver.asked == 0
    given_up = await post.deliveries()
    assert {each["state"] for each in given_up} == {"dead"}
    assert given_up[0]["detail"] == (
        "The endpoint is switched off because it failed: enable it, then replay this."
    )
    assert post.numbers()["endpoints_failing"] == [[1]]
    enabled = await post.office.endpoints.enable(post.endpoint["id"])
    assert (enabled["state"], enabled["failing_since"]) == ("on", None)
    await post.deliver()
    assert post.receiver.asked == 0
    assert await post.office.endpoints.replay(endpoint=post.endpoint["id"], state="dead") == {"replayed": 7}
    await post.deliver()
    assert len(post.receiver.ids) == 7
    assert set(post.receiver.ids.values()) == {1}


async def test_who_takes_something_within_five_days_is_not_switched_off(post: Post) -> None:
    await post.listen(["credits.granted"])
    for day in range(12):
        post.receiver.answer = 200 if day % 4 == 3 else 500
        await post.grant(f"g-{day}")
        for _ in range(24):
            await post.deliver()
            post.clock.advance(us=HOUR_US)
    assert await post.state() == "on"
    assert len(post.receiver.ids) == 12


async def test_410_is_heard_at_once_and_nothing_waits_any_more(any_post: Post) -> None:
    post = any_post
    await post.listen()
    post.receiver.answer = 410
    await post.grant(*(f"g-{number}" for number in range(20)))
    await post.deliver()
    assert await post.state() == "failing"
    assert [each["state"] for each in await post.deliveries()] == ["dead"] * 20
    assert post.receiver.asked <= 8  # those that were on their way together
    shown = await post.office.endpoints.test(post.endpoint["id"])
    assert (shown["state"], shown["detail"] is None) == ("dead", False)
    rows = (await post.office.books.audit(subject=post.endpoint["id"]))["data"]
    assert [row["action"] for row in rows].count("endpoint.failing") == 1


async def test_what_arrives_after_it_was_given_up_has_arrived(post: Post) -> None:
    """Of two that were on their way together the first is refused for good, and the second is taken."""
    await post.listen()
    post.receiver.answers = [410]
    await post.grant("g-1", "g-2")
    await post.deliver()
    assert await post.state() == "failing"
    assert sorted(each["state"] for each in await post.deliveries()) == ["dead", "delivered"]


async def test_one_that_is_switched_off_leaves_the_others_in_peace(post: Post) -> None:
    await post.listen()
    other = type(post.receiver)(post.clock)
    await other.start()
    other.secrets.append((await post.office.endpoints.create(other.url))["secret"])
    other.answer = 410
    await post.grant("g-1")
    await post.deliver()
    await post.grant("g-2")
    await post.deliver()
    assert len(post.receiver.ids) == 2
    assert other.asked == 1
    await other.stop()


async def test_notices_are_counted_by_what_became_of_them(post: Post) -> None:
    await post.listen(["credits.granted"])
    await post.grant("g-1", "g-2")
    await post.deliver()
    post.receiver.answer = 500
    await post.grant("g-3")
    await post.deliver()
    post.clock.advance(us=10 * SECOND_US)
    post.receiver.answer = 200
    await post.office.endpoints.create("https://elsewhere.example.com/")
    await post.grant("g-4")
    await post.courier.begin_turns()
    numbers = post.numbers()
    assert numbers["notices_told"] == [["delivered", 2], ["failed", 1]]
    assert (numbers["notices_waiting"], numbers["endpoints_failing"]) == ([[3]], [[0]])
    await post.courier.stop()
    found = read(metrics.text({"policy": "", "open_holds": 0, "backlog": 0, **numbers}))
    assert found["notices_total", (("outcome", "delivered"),)] == 2
    assert found["notices_waiting", ()] == 3
    assert found["endpoints_failing", ()] == 0


async def test_one_that_is_silent_keeps_no_other_waiting(post: Post) -> None:
    await post.listen()
    other = type(post.receiver)(post.clock)
    await other.start()
    made = await post.office.endpoints.create(other.url)
    other.secrets.append(made["secret"])
    post.receiver.silent = True
    await post.grant("g-1", "g-2")
    await post.courier.begin_turns()
    try:
        await until(lambda: len(other.got) == 2)
    finally:
        await post.courier.stop()
        await other.stop()


async def test_who_is_busy_says_when_to_come_back(post: Post) -> None:
    await post.listen()
    post.receiver.answer, post.receiver.headers = 429, "retry-after: 600\r\n"
    await post.grant("g-1")
    await post.deliver()
    post.receiver.answer = 200
    post.clock.advance(us=599 * SECOND_US)
    await post.deliver()
    assert post.receiver.asked == 1
    post.clock.advance(us=2 * SECOND_US)
    await post.deliver()
    assert len(post.receiver.got) == 1


async def test_while_a_secret_is_rotated_both_sign(post: Post) -> None:
    old = (await post.listen())["secret"]
    new = (await post.office.endpoints.rotate(post.endpoint["id"], "1h"))["secret"]
    assert old != new
    for secret in (old, new):
        post.receiver.secrets = [secret]
        await post.office.endpoints.test(post.endpoint["id"])
        await post.deliver()
    assert len(post.receiver.got) == 2
    post.clock.advance(us=2 * HOUR_US)
    post.receiver.secrets = [old]
    await post.office.endpoints.test(post.endpoint["id"])
    await post.deliver()
    assert len(post.receiver.forged) == 1


async def test_no_secret_is_in_the_ledger(post: Post) -> None:
    secret = (await post.listen())["secret"]
    path = post.bench.ledger.ledger.path
    assert path is not None
    kept = b"".join(each.read_bytes() for each in path.parent.iterdir())
    assert post.endpoint["id"].encode() in kept
    assert secret.removeprefix("whsec_").encode() not in kept
    assert "secret" not in await post.office.endpoints.show(post.endpoint["id"])


async def test_switched_off_means_nothing_is_kept(post: Post) -> None:
    await post.listen()
    await post.office.endpoints.disable(post.endpoint["id"])
    await post.grant("g-1")
    await post.office.endpoints.enable(post.endpoint["id"])
    await post.grant("g-2")
    await post.deliver()
    assert [data["grant"] for data in post.receiver.of("credits.granted")] == ["g-2"]
    await post.office.endpoints.delete(post.endpoint["id"])
    assert (await post.office.endpoints.page())["data"] == await post.deliveries() == []


async def test_what_was_delivered_is_forgotten_after_ninety_days_and_what_waits_is_not(
    any_post: Post,
) -> None:
    post = any_post
    await post.listen()
    await post.grant("g-0")
    await post.deliver()
    await post.receiver.stop()
    await post.grant("g-waits")
    await post.office.endpoints.disable(post.endpoint["id"])
    own, began_us = post.endpoint["id"], post.clock()

    def tell_many(tx: Tx) -> None:
        for number in range(1500):
            notices.tell(tx, "endpoint.test", "", {}, began_us, f"{number}", only=own)
        tx.sql(
            "UPDATE deliveries SET state = 'delivered' WHERE notice IN "
            "(SELECT id FROM notices WHERE type = 'endpoint.test')"
        )

    await post.bench.ledger.write(tell_many)
    post.clock.advance(us=90 * DAY_US - HOUR_US)
    await post.deliver()
    assert len(await kept(post)) == 1502
    post.clock.advance(us=2 * HOUR_US)
    await post.deliver()
    (left,) = await kept(post)
    assert json.loads(left.body)["data"]["grant"] == "g-waits"


async def kept(post: Post) -> list[notices.Notice]:
    return await post.bench.ledger.read(lambda tx: notices.page(tx, limit=10_000))


def test_the_library_of_standard_webhooks_verifies_what_we_sign() -> None:
    secret = outgoing.secret(b"pepper", "ep_1", 1)
    body, now_s = b'{"type":"payment.succeeded","data":{"name":"Zo\xc3\xab"}}', int(time.time())
    headers = {
        "webhook-id": "msg_1",
        "webhook-timestamp": str(now_s),
        "webhook-signature": outgoing.signature([secret], "msg_1", now_s, body),
    }
    assert Webhook(secret).verify(body, headers) == json.loads(body)
    ours = outgoing.signature([secret], "msg_1", now_s, body)
    assert ours == Webhook(secret).sign("msg_1", datetime.fromtimestamp(now_s, UTC), body.decode())
    with pytest.raises(WebhookVerificationError):
        Webhook(secret).verify(body + b" ", headers)
    with pytest.raises(WebhookVerificationError):
        Webhook(outgoing.secret(b"pepper", "ep_1", 2)).verify(body, headers)
