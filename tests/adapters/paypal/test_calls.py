"""How PayPal is called: with a token that is renewed in time, and with errors told apart."""

import asyncio
import json
from pathlib import Path

import pytest

from metergate.errors import ProviderError
from metergate.provider_port import (
    Answer,
    Context,
    Declined,
    Misconfigured,
    NeedsAction,
    Order,
    Payer,
    TryAgain,
    UnknownOutcome,
)
from metergate.provider_port.facts import Money
from metergate.provider_port.http import ask
from metergate.testing.notes import NotesInMemory
from metergate_paypal import PayPalProvider, open_provider
from metergate_paypal.calls import Calls, refusal
from metergate_paypal.proof import Proof
from tests.adapters.faking import SILENT, Told
from tests.adapters.paypal.bench import PayPalBench, settings
from tests.adapters.paypal.fake import CLIENT_ID, SECRET

ORDER = Order("pay-1", Payer("acct"), Money(1999, "USD"))
TOKEN = "POST /v1/oauth2/token"


def tokens(bench: PayPalBench) -> int:
    return list(bench.fake.server.asked).count(TOKEN)


async def test_one_token_is_used_until_a_minute_before_its_end(bench: PayPalBench) -> None:
    await asyncio.gather(*(bench.provider.health() for _ in range(5)))
    bench.clock.advance(seconds=32_400 - 61)
    assert (await bench.provider.health()).ok
    assert tokens(bench) == 1
    bench.clock.advance(seconds=2)
    assert (await bench.provider.health()).ok
    assert tokens(bench) == 2


async def test_a_token_that_paypal_no_longer_takes_is_renewed_and_the_call_repeated(
    bench: PayPalBench,
) -> None:
    first = await bench.provider.open_checkout(ORDER)
    bench.fake.revoke_tokens()
    assert (await bench.provider.fetch_payment(first.id)) is not None
    assert tokens(bench) == 2


async def test_wrong_credentials_are_for_an_operator(bench: PayPalBench, tmp_path: Path) -> None:
    given = {**settings(bench.fake, tmp_path), "PAYPAL_CLIENT_SECRET": "wrong"}
    provider = open_provider(Context("paypal", bench.clock, ask, NotesInMemory(), given))
    with pytest.raises(Misconfigured, match="Client Authentication failed"):
        await provider.open_checkout(ORDER)
    health = await provider.health()
    assert (health.ok, "401" in health.detail) == (False, True)
    await provider.close()


@pytest.mark.parametrize(
    "told", [Told(503, b"<html>"), Told(200, {}), Told(200, {"access_token": "t"})], ids=str
)
async def test_who_gets_no_token_has_done_nothing(bench: PayPalBench, told: Told) -> None:
    bench.fake.token_trouble = told
    with pytest.raises(TryAgain, match="gives no token"):
        await bench.provider.open_checkout(ORDER)
    bench.fake.token_trouble = None
    assert (await bench.provider.open_checkout(ORDER)).url


async def test_what_paypal_took_and_never_answered_is_unknown_and_done_once(
    bench: PayPalBench, tmp_path: Path
) -> None:
    context = Context("paypal", bench.clock, ask, NotesInMemory(), settings(bench.fake, tmp_path))
    base = bench.fake.server.url
    hasty = Calls(context, base, CLIENT_ID, SECRET, timeout_s=1)
    paypal = PayPalProvider(context, hasty, Proof(context, base, (), live=False))
    bench.next_request(SILENT)
    with pytest.raises(UnknownOutcome, match=r"did not answer to the end: .*Read timed out"):
        await paypal.open_checkout(ORDER)
    await bench.provider.open_checkout(ORDER)
    assert bench.made() == 1
    await paypal.close()


async def test_a_token_that_ended_early_is_renewed_for_every_call(bench: PayPalBench) -> None:
    await bench.provider.health()
    bench.fake.revoke_tokens()
    assert (await bench.provider.health()).ok


@pytest.mark.parametrize(
    "change",
    [{"surprise": 1}, {"intent": "PERHAPS"}, {"purchase_units": [{"amount": {"currency_code": "USD"}}]}],
    ids=str,
)
async def test_the_stand_in_takes_what_the_sdk_knows_and_nothing_else(
    bench: PayPalBench, change: dict[str, object]
) -> None:
    await bench.provider.health()
    token = next(iter(bench.fake._tokens))
    amount = {"currency_code": "USD", "value": "1.00"}
    body = {"intent": "CAPTURE", "purchase_units": [{"amount": amount}], "payment_source": {"paypal": {}}}
    asked = {"authorization": f"Bearer {token}"}
    url = f"{bench.fake.server.url}/v2/checkout/orders"
    for sent, status in ((body, 201), ({**body, **change}, 400)):
        once = {**asked, "paypal-request-id": f"for-{status}"}
        answer = await ask("POST", url, headers=once, body=json.dumps(sent).encode())
        assert answer.status == status


async def test_who_cannot_be_reached_has_done_nothing(bench: PayPalBench) -> None:
    await bench.provider.health()
    await bench.fake.server.close()
    with pytest.raises(TryAgain, match="cannot be reached"):
        await bench.provider.open_checkout(ORDER)


async def test_how_long_to_wait_is_heard(bench: PayPalBench) -> None:
    bench.next_request("busy")
    with pytest.raises(TryAgain) as caught:
        await bench.provider.open_checkout(ORDER)
    assert caught.value.after_s == 3


@pytest.mark.parametrize(
    "told",
    [
        Told(302, None, {"Location": "https://evil.example/"}),
        Told(200, b"<html>"),
        Told(200, b"[]"),
        Told(200, b"{}"),
        Told(200, b"{"),
        Told(200, b"id: 1"),
        Told(200, {"id": {"py/object": "subprocess.Popen"}}),
        Told(502, b"<html>"),
    ],
    ids=str,
)
async def test_what_is_no_answer_of_paypal_says_nothing_of_the_outcome(
    bench: PayPalBench, told: Told
) -> None:
    bench.fake.server.troubles = {"odd": told}
    bench.next_request("odd")
    with pytest.raises(UnknownOutcome):
        await bench.provider.open_checkout(ORDER)


@pytest.mark.parametrize(
    ("status", "issue", "kind"),
    [
        (422, "INSTRUMENT_DECLINED", Declined),
        (422, "PAYER_ACTION_REQUIRED", NeedsAction),
        (422, "CURRENCY_NOT_SUPPORTED", Misconfigured),
        (400, "INVALID_PARAMETER_VALUE", Misconfigured),
        (403, "PERMISSION_DENIED", Misconfigured),
        (409, "PREVIOUS_REQUEST_IN_PROGRESS", UnknownOutcome),
        (429, "RATE_LIMIT_REACHED", TryAgain),
        (503, "SERVICE_UNAVAILABLE", UnknownOutcome),
    ],
)
def test_each_refusal_says_what_may_be_done_next(status: int, issue: str, kind: type[Exception]) -> None:
    body = json.dumps({"name": "X", "details": [{"issue": issue}]}).encode()
    assert isinstance(refusal(Answer(status, {}, body)), kind)
    assert isinstance(refusal(Answer(status, {}, b"no JSON")), ProviderError)
