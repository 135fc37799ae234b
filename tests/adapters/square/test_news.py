"""Who is believed to be Square: who signs our address and the body with our key, of late."""

from collections.abc import Callable

import pytest

from metergate.errors import ConfigurationError
from metergate.provider_port import OTHER, Context, Forged
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate_square import SquareProvider, open_provider
from tests.adapters.square.bench import Shop, SquareBench
from tests.adapters.square.fake import ADDRESS

FORGED: dict[str, Callable[[Shop, bytes], dict[str, str]]] = {
    "unsigned": lambda shop, body: {},
    "an empty signature": lambda shop, body: {"x-square-hmacsha256-signature": ""},
    "no ASCII": lambda shop, body: {"x-square-hmacsha256-signature": "ü"},
    "another key": lambda shop, body: shop.fake.headers(body, key="a stranger's"),
    "for another address": lambda shop, body: shop.fake.headers(body, address="https://else.example/square"),
    "of another body": lambda shop, body: shop.fake.headers(body + b" "),
}


@pytest.mark.parametrize("forgery", FORGED)
async def test_a_forgery_is_refused_changes_nothing_and_is_counted(shop: Shop, forgery: str) -> None:
    await shop.pay(await shop.top_up(1999))
    body = shop.fake.events[0]
    with pytest.raises(Forged):
        await shop.inbox.receive("square", FORGED[forgery](shop, body), body)
    await shop.handle()
    assert (await shop.events(), shop.inbox.forged, shop.balance()) == ([], {"square": 1}, 0)


@pytest.mark.parametrize("seconds", [4 * 86_400, -3600])
async def test_what_was_signed_long_ago_or_in_the_future_is_refused(shop: Shop, seconds: int) -> None:
    await shop.pay(await shop.top_up(1999))
    shop.clock.advance(seconds=seconds)
    body = shop.fake.events[0]
    with pytest.raises(Forged, match="too old, or of the future"):
        await shop.inbox.receive("square", shop.fake.headers(body), body)
    assert await shop.events() == []


async def test_a_key_is_rotated_without_a_gap(bench: SquareBench) -> None:
    bench.fake.tell("payout.sent", "payout", {"payout": {"id": "po_1"}}, "po_1")
    [body] = bench.fake.events
    for signature_key in ("older-key", "signature-key"):
        [event] = await bench.provider.read_webhook(bench.fake.headers(body, key=signature_key), body)
        assert (event.kind, event.object) == (OTHER, "po_1")


async def test_an_event_of_another_shape_is_of_another_kind_and_no_forgery(bench: SquareBench) -> None:
    """Orders and disputes have more to tell than what became of a payment."""
    bench.fake.tell(
        "order.custom_attribute.owned.updated", "custom_attribute", {"custom_attribute": {}}, "ca_1"
    )
    bench.fake.tell("dispute.evidence.created", "dispute_evidence", {}, "ev_1")
    for body, object in zip(bench.fake.events, ("ca_1", "ev_1"), strict=True):
        [event] = await bench.provider.read_webhook(bench.fake.headers(body), body)
        assert (event.kind, event.object) == (OTHER, object)


HALF = b'{"event_id": "e", "type": "payment.updated", "data": {}}'


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b"\xff", HALF])
async def test_what_is_signed_and_cannot_be_read_is_refused(bench: SquareBench, body: bytes) -> None:
    with pytest.raises(Forged):
        await bench.provider.read_webhook(bench.fake.headers(body), body)


GIVEN = {"SQUARE_ACCESS_TOKEN": "EAAA", "SQUARE_WEBHOOK_SIGNATURE_KEY": "key", "SQUARE_WEBHOOK_URL": ADDRESS}


def opened(webhook_url: str = "", **changes: str) -> SquareProvider:
    given = {**GIVEN, **changes}
    context = Context("square", FakeClock(), ask, NotesInMemory(), given, webhook_url=webhook_url)
    return open_provider(context)


@pytest.mark.parametrize("name", GIVEN)
@pytest.mark.parametrize("blank", ["", "  "])
def test_a_blank_secret_or_no_address_refuses_to_start(name: str, blank: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        opened(**{name: blank})


def test_square_is_reached_over_tls() -> None:
    with pytest.raises(ConfigurationError, match="SQUARE_API_BASE to an https address"):
        opened(SQUARE_API_BASE="http://square.example")


async def test_the_address_of_the_service_is_what_square_signs(bench: SquareBench) -> None:
    bench.fake.tell("payout.sent", "payout", {"payout": {}}, "po_1")
    [body] = bench.fake.events
    provider = opened("https://own.example/billing/v1/webhooks/square", SQUARE_WEBHOOK_URL="")
    headers = bench.fake.headers(body, key="key", address="https://own.example/billing/v1/webhooks/square")
    assert await provider.read_webhook(headers, body)
    await provider.close()


async def test_the_environment_says_whether_money_is_real() -> None:
    assert opened().live is False
    assert opened(SQUARE_ENVIRONMENT="production", SQUARE_APPLICATION_ID="sq0idp-1").live is True
    for changes in (
        {"SQUARE_ENVIRONMENT": "live"},
        {"SQUARE_ENVIRONMENT": "production", "SQUARE_APPLICATION_ID": "sandbox-sq0idb-1"},
        {"SQUARE_APPLICATION_ID": "sq0idp-1"},
    ):
        with pytest.raises(ConfigurationError, match="SQUARE_ENVIRONMENT"):
            opened(**changes)
