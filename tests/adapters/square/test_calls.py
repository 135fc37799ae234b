"""How Square is called, how its errors are told apart, and how strict its stand-in is."""

from types import SimpleNamespace

import pytest
from square.core.api_error import ApiError

from metergate.errors import ProviderError
from metergate.provider_port import (
    Context,
    Declined,
    Misconfigured,
    Money,
    Order,
    Payer,
    TryAgain,
    UnknownOutcome,
)
from metergate.provider_port.http import ask
from metergate.testing.notes import NotesInMemory
from metergate_square import SquareProvider, open_provider
from metergate_square.calls import Calls, refusal
from metergate_square.news import News
from metergate_square.shapes import key, money, objection, reference
from tests.adapters.faking import SILENT, Told
from tests.adapters.square.bench import SquareBench, settings
from tests.adapters.square.fake import ADDRESS, TOKEN
from tests.adapters.square.params import SDK, strangers

ORDER = Order("pay-1", Payer("acct"), Money(1999, "USD"))


async def test_wrong_credentials_are_for_an_operator(bench: SquareBench) -> None:
    given = {**settings(bench.fake), "SQUARE_ACCESS_TOKEN": "wrong"}
    provider = open_provider(Context("square", bench.clock, ask, NotesInMemory(), given))
    with pytest.raises(Misconfigured, match="UNAUTHORIZED"):
        await provider.open_checkout(ORDER)
    assert (await provider.health()).ok is False
    await provider.close()


async def test_who_cannot_be_reached_has_done_nothing(bench: SquareBench) -> None:
    await bench.fake.server.close()
    with pytest.raises(TryAgain, match="cannot be reached"):
        await bench.provider.open_checkout(ORDER)


async def test_what_square_took_and_never_answered_is_unknown_and_done_once(bench: SquareBench) -> None:
    context = Context("square", bench.clock, ask, NotesInMemory(), settings(bench.fake))
    hasty = Calls(bench.fake.server.url, TOKEN, timeout_s=1)
    square = SquareProvider(context, hasty, News(bench.clock, ADDRESS, (), live=False), live=False)
    bench.next_request(SILENT)
    with pytest.raises(UnknownOutcome, match="did not answer to the end: ReadTimeout"):
        await square.open_checkout(ORDER)
    await bench.provider.open_checkout(ORDER)
    assert bench.made() == 1
    await square.close()


async def test_a_busy_square_is_asked_once_and_heard(bench: SquareBench) -> None:
    await bench.provider.health()
    bench.next_request("busy")
    with pytest.raises(TryAgain) as caught:
        await bench.provider.open_checkout(ORDER)
    assert caught.value.after_s == 3
    assert list(bench.fake.server.asked).count("POST /v2/online-checkout/payment-links") == 1


@pytest.mark.parametrize(
    "told",
    [
        Told(302, None, {"Location": "https://evil.example/"}),
        Told(200, b"<html>"),
        Told(200, b"{}"),
        Told(200, b"[]"),
        Told(502, b"<html>"),
    ],
    ids=str,
)
async def test_what_is_no_answer_of_square_tells_no_outcome(bench: SquareBench, told: Told) -> None:
    bench.fake.server.troubles = {"odd": told}
    bench.next_request("odd")
    with pytest.raises(UnknownOutcome):
        await bench.provider.open_checkout(ORDER)


@pytest.mark.parametrize(
    ("status", "category", "kind"),
    [
        (400, "PAYMENT_METHOD_ERROR", Declined),
        (402, "PAYMENT_METHOD_ERROR", Declined),
        (400, "INVALID_REQUEST_ERROR", Misconfigured),
        (403, "AUTHENTICATION_ERROR", Misconfigured),
        (409, "API_ERROR", UnknownOutcome),
        (429, "RATE_LIMIT_ERROR", TryAgain),
        (503, "API_ERROR", UnknownOutcome),
    ],
)
def test_each_refusal_says_what_may_be_done_next(status: int, category: str, kind: type[Exception]) -> None:
    body = {"errors": [{"category": category, "code": "X", "detail": "Y"}]}
    assert isinstance(refusal(ApiError(status_code=status, body=body)), kind)
    assert isinstance(refusal(ApiError(status_code=status, body="no JSON")), ProviderError | Declined)


def test_money_is_counted_in_the_smallest_unit() -> None:
    assert money(SimpleNamespace(amount=500, currency="JPY")) == Money(500, "JPY")
    for wrong in (19.99, "1999", None, True, -1):
        with pytest.raises(UnknownOutcome):
            money(SimpleNamespace(amount=wrong, currency="USD"))
    assert objection(Money(1999, "USD")) == ""
    assert "takes no HUF" in objection(Money(1999, "HUF"))


def test_long_ids_fit_and_stay_apart() -> None:
    long, other = "a" * 128, "a" * 127 + "b"
    assert (key("pay-1"), reference("pay-1")) == ("pay-1", "pay-1")
    assert (len(key(long)), len(reference(long))) == (45, 40)
    assert key(long) != key(other)


@pytest.mark.parametrize(
    "change",
    [
        {"surprise": 1},
        {"amount_money": {"amount": 1, "currency": "USD", "surprise": 1}},
        {"amount_money": {"amount": "1", "currency": "USD"}},
        {"autocomplete": "yes"},
    ],
    ids=str,
)
def test_the_stand_in_takes_what_the_sdk_knows_and_nothing_else(change: dict[str, object]) -> None:
    body = {"source_id": "s", "idempotency_key": "k", "amount_money": {"amount": 1, "currency": "USD"}}
    assert strangers(SDK.payments.create, body) == []
    assert strangers(SDK.payments.create, {**body, **change})
