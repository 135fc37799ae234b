"""Who is believed to be PayPal: only who signs as PayPal, with PayPal's certificate, for our webhook, now."""

from collections.abc import Callable
from pathlib import Path

import pytest

from metergate.errors import ConfigurationError
from metergate.provider_port import Context, Forged, TryAgain
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate_paypal import open_provider
from metergate_paypal.proof import Proof
from tests.adapters.paypal.bench import PayPalBench, Shop, settings
from tests.adapters.paypal.fake import WEBHOOK
from tests.adapters.paypal.signing import Signer

DAY_US = 86_400 * 10**6
BODY = b'{"id": "WH-1"}'
Headers = dict[str, str]


def changed(**values: str) -> Callable[[Shop, bytes], Headers]:
    def change(shop: Shop, body: bytes) -> Headers:
        return {
            **shop.paypal.headers(body),
            **{name.replace("_", "-"): value for name, value in values.items()},
        }

    return change


def at(url: str) -> Callable[[Shop, bytes], Headers]:
    """With a certificate of this address, where {base} is PayPal's."""

    def change(shop: Shop, body: bytes) -> Headers:
        base = shop.fake.server.url
        return {**shop.paypal.headers(body), "paypal-cert-url": url.format(base=base, host=base[7:])}

    return change


def resigned(signer_of: Callable[[Shop], Signer], **how: int | str) -> Callable[[Shop, bytes], Headers]:
    def change(shop: Shop, body: bytes) -> Headers:
        return signer_of(shop).headers(body, shop.fake.server.url, **how)  # type: ignore[arg-type]  # either

    return change


def stranger(shop: Shop) -> Signer:
    return Signer(shop.clock, WEBHOOK, name="stranger.example")


def own(shop: Shop) -> Signer:
    return shop.fake.signer


FORGED: dict[str, Callable[[Shop, bytes], Headers]] = {
    "unsigned": lambda shop, body: {},
    "signed by a stranger": resigned(stranger),
    "for a webhook of somebody else": resigned(own, webhook="WHFOREIGN"),
    "no signature": changed(paypal_transmission_sig=""),
    "a signature that is no base64": changed(paypal_transmission_sig="%%%"),
    "another time": changed(paypal_transmission_time="2026-01-01T00:00:01Z"),
    "no time at all": changed(paypal_transmission_time="yesterday"),
    "a time without a zone": changed(paypal_transmission_time="2026-01-01T00:00:00"),
    "another transmission": changed(paypal_transmission_id="t-2"),
    "another algorithm": changed(paypal_auth_algo="SHA1withRSA"),
    "too old": lambda shop, body: own(shop).headers(
        body, shop.fake.server.url, at_us=shop.clock() - 5 * DAY_US
    ),
    "of the future": lambda shop, body: own(shop).headers(
        body, shop.fake.server.url, at_us=shop.clock() + DAY_US
    ),
    "no certificate": changed(paypal_cert_url=""),
    "a certificate of a stranger": at("https://evil.example/v1/notifications/certs/CERT-1"),
    "a name that begins like PayPal's": at(
        "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1"
    ),
    "a name that ends like PayPal's": at("https://evil-paypal.com/v1/notifications/certs/CERT-1"),
    "a user that looks like a host": at(
        "https://api.sandbox.paypal.com@evil.example/v1/notifications/certs/C-1"
    ),
    "another port": at("https://api.sandbox.paypal.com:8443/v1/notifications/certs/CERT-1"),
    "without TLS": at("http://api.sandbox.paypal.com/v1/notifications/certs/CERT-1"),
    "of live mode": at("https://api.paypal.com/v1/notifications/certs/CERT-1"),
    "another page of PayPal": at("{base}/checkoutnow"),
    "a path that climbs": at("{base}/v1/notifications/certs/../../checkoutnow"),
    "no address at all": at("https://["),
    "a question": at("{base}/v1/notifications/certs/CERT-1?x=1"),
    "a certificate that is not there": at("{base}/v1/notifications/certs/CERT-2"),
}


@pytest.mark.parametrize("forgery", FORGED)
async def test_a_forgery_is_refused_changes_nothing_and_is_counted(shop: Shop, forgery: str) -> None:
    payment = await shop.top_up(1999)
    await shop.approve(payment)
    [body] = shop.fake.events
    with pytest.raises(Forged):
        await shop.inbox.receive("paypal", FORGED[forgery](shop, body), body)
    await shop.handle()
    assert (await shop.events(), shop.inbox.forged) == ([], {"paypal": 1})
    assert (shop.fake.captured, shop.balance()) == (0, 0)
    await shop.hear()
    assert shop.fake.captured == 1


WRONG = {
    "of another name": lambda clock: Signer(clock, WEBHOOK, name="api.evil.example"),
    "of live mode": lambda clock: Signer(clock, WEBHOOK, name="messageverificationcerts.paypal.com"),
    "that has ended": lambda clock: Signer(clock, WEBHOOK, days=0),
}


@pytest.mark.parametrize("wrong", WRONG)
async def test_a_certificate_of_the_right_place_is_not_enough(
    tmp_path: Path, bench: PayPalBench, wrong: str
) -> None:
    """Its name, its time and who vouches for it have to be right, too."""
    bench.fake.signer = WRONG[wrong](bench.clock)
    given = settings(bench.fake, tmp_path)  # whose CA we trust
    provider = open_provider(Context("paypal", bench.clock, ask, NotesInMemory(), given))
    with pytest.raises(Forged, match="Nobody vouches"):
        await provider.read_webhook(bench.headers(BODY), BODY)
    await provider.close()


async def test_a_certificate_that_nobody_vouches_for_is_not_believed(bench: PayPalBench) -> None:
    bench.fake.signer = Signer(bench.clock, WEBHOOK, ca="a stranger")
    with pytest.raises(Forged, match="Nobody vouches"):
        await bench.provider.read_webhook(bench.headers(BODY), BODY)


async def test_a_certificate_is_fetched_once_and_strangers_cannot_make_us_fetch_for_ever(
    bench: PayPalBench,
) -> None:
    proof, base = bench.provider._proof, bench.fake.server.url
    for _ in range(3):
        await proof.prove(bench.headers(BODY), BODY)
    fetched = [each for each in bench.fake.server.asked if "/certs/" in each]
    assert len(fetched) == 1
    for number in range(20):
        guess = {**bench.headers(BODY), "paypal-cert-url": f"{base}/v1/notifications/certs/NO-{number}"}
        with pytest.raises((Forged, TryAgain)):
            await proof.prove(guess, BODY)
    await proof.prove(bench.headers(BODY), BODY)
    assert len([each for each in bench.fake.server.asked if "/certs/" in each]) == 10


async def test_a_certificate_that_is_out_of_reach_has_paypal_send_it_again(
    bench: PayPalBench,
) -> None:
    headers = bench.headers(BODY)
    await bench.fake.server.close()
    with pytest.raises(TryAgain):
        await bench.provider.read_webhook(headers, BODY)


def test_the_public_roots_are_readable() -> None:
    """Without a file of their own those of certifi are trusted."""
    context = Context("paypal", FakeClock(), ask, NotesInMemory(), {})
    assert Proof(context, "https://api-m.paypal.com", ["WH"], live=True)._trusted() is not None


async def test_roots_that_cannot_be_read_are_named(bench: PayPalBench, tmp_path: Path) -> None:
    given = {**settings(bench.fake, tmp_path), "PAYPAL_CERT_ROOTS": str(tmp_path / "nothing.pem")}
    provider = open_provider(Context("paypal", bench.clock, ask, NotesInMemory(), given))
    with pytest.raises(ConfigurationError, match="PAYPAL_CERT_ROOTS"):
        await provider.read_webhook(bench.headers(BODY), BODY)
    await provider.close()


async def test_what_is_signed_and_cannot_be_read_is_refused(bench: PayPalBench) -> None:
    for body in (b"", b"[]", b"{}", b'{"id": 1, "event_type": "PAYMENT.CAPTURE.REFUNDED", "resource": {}}'):
        with pytest.raises(Forged, match="no event of PayPal"):
            await bench.provider.read_webhook(bench.headers(body), body)
