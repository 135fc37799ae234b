"""What doctor says of payment providers: key forms, modes, webhook secrets and endpoints, and who we are."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future
from contextlib import closing, contextmanager
from typing import Protocol

import pytest

from metergate.ledger import Ledger, inbox
from metergate.ledger.payment_tables import provider_events
from metergate.provider_port.http import ask
from metergate_sandbox import Server
from metergate_square.feed import TYPES
from metergate_stripe.examined import NEEDED
from tests.adapters.adyen.bench import settings
from tests.adapters.adyen.fake import MERCHANT, FakeAdyen
from tests.adapters.paypal.bench import settings as paypal_settings
from tests.adapters.paypal.fake import WEBHOOK, FakePayPal
from tests.adapters.square.bench import settings as square_settings
from tests.adapters.square.fake import ADDRESS, SIGNATURE_KEY, FakeSquare
from tests.adapters.stripe.fake.server import FakeStripe
from tests.adapters.stripe.fake.whole import APIS, KEY, SECRET
from tests.cli.conftest import Shell

PUBLIC = "https://api.example.com"


class Serves(Protocol):
    async def start(self) -> None: ...

    async def close(self) -> None: ...


@contextmanager
def elsewhere(server: Serves) -> Iterator[None]:
    """In an event loop of its own, as on another machine."""
    ready: Future[Callable[[], object]] = Future()

    async def serve() -> None:
        loop, over = asyncio.get_running_loop(), asyncio.Event()
        await server.start()
        ready.set_result(lambda: loop.call_soon_threadsafe(over.set))
        await over.wait()
        await server.close()

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    stop = ready.result(20)
    try:
        yield
    finally:
        stop()
        thread.join()


def now_us() -> int:
    return time.time_ns() // 1000


@pytest.fixture
def fake(shell: Shell) -> Iterator[FakeStripe]:
    fake = FakeStripe(now_us, KEY, SECRET, APIS)
    with elsewhere(fake):
        environ = {
            "STRIPE_API_BASE": fake.url,
            "STRIPE_SECRET_KEY": KEY,
            "STRIPE_WEBHOOK_SECRET": SECRET,
            "METERGATE_PROVIDER": "stripe",
        }
        shell.environ = {**shell.environ, **environ}
        yield fake


def said(shell: Shell, exit_code: int, **environ: str) -> str:
    done = shell.run("doctor", **environ)
    assert done.exit_code == exit_code, done.stdout
    return done.stdout


def test_a_provider_that_is_set_up_says_who_we_are_there(shell: Shell, fake: FakeStripe) -> None:
    told = said(shell, 0)
    assert "ok    The payment provider stripe answers: test mode, account acct_fake." in told
    assert "mind  stripe cannot tell of payments: set METERGATE_PUBLIC_URL" in told


def test_a_provider_that_can_neither_tell_nor_be_asked_credits_nothing(shell: Shell) -> None:
    adyen = FakeAdyen(lambda: "")
    with elsewhere(adyen.server):
        shell.environ = {**shell.environ, **settings(adyen), "METERGATE_PROVIDER": "adyen"}
        told = said(shell, 1)
        assert f"ok    The payment provider adyen answers: merchant account {MERCHANT}." in told
        assert "no    adyen cannot tell of payments: set METERGATE_PUBLIC_URL, for it cannot be asked" in told
        assert "adyen cannot tell" not in said(shell, 0, METERGATE_PUBLIC_URL=PUBLIC)
        assert "adyen cannot be used: Adyen refuses the request" in said(shell, 1, ADYEN_API_KEY="wrong")


def test_a_webhook_endpoint_that_is_missing_or_hears_too_little_is_told(
    shell: Shell, fake: FakeStripe
) -> None:
    url = f"{PUBLIC}/billing/v1/webhooks/stripe"
    told = said(shell, 1, METERGATE_PUBLIC_URL=PUBLIC)
    assert f"no    Add a webhook endpoint {url} at Stripe" in told
    made = fake.store.add(
        "we", "webhook_endpoint", url=url, status="enabled", enabled_events=["charge.refunded"]
    )
    told = said(shell, 1, METERGATE_PUBLIC_URL=PUBLIC)
    assert f"Let the webhook endpoint {url} of Stripe hear charge.dispute.closed," in told
    made["enabled_events"] = list(NEEDED)
    told = said(shell, 0, METERGATE_PUBLIC_URL=PUBLIC)
    assert f"mind  stripe moves no real money, and a test card pays for live keys at {PUBLIC}." in told


WRONG: Mapping[str, tuple[dict[str, str], str]] = {
    "no key": ({"STRIPE_SECRET_KEY": ""}, "Set STRIPE_SECRET_KEY"),
    "a key of another form": ({"STRIPE_SECRET_KEY": "pk_test_1"}, "begins with sk_test_"),
    "a key that Stripe does not know": ({"STRIPE_SECRET_KEY": "sk_test_other"}, "cannot be used"),
    "keys of two modes": (
        {"STRIPE_PUBLISHABLE_KEY": "pk_live_1"},
        "of two modes: STRIPE_PUBLISHABLE_KEY is for live mode, STRIPE_SECRET_KEY is for test mode",
    ),
    "no webhook secret": ({"STRIPE_WEBHOOK_SECRET": " "}, "Set STRIPE_WEBHOOK_SECRET"),
    "a webhook secret of another form": ({"STRIPE_WEBHOOK_SECRET": "secret"}, "whsec_ and more"),
    "nobody there": ({"STRIPE_API_BASE": "http://127.0.0.1:1"}, "cannot be used"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_is_set_up_wrongly_is_a_sentence_and_no_secret(
    shell: Shell, fake: FakeStripe, wrong: str
) -> None:
    environ, sentence = WRONG[wrong]
    told = said(shell, 1, **environ)
    assert [line for line in told.splitlines() if line.startswith("no") and sentence in line], told
    assert not [value for value in environ.values() if value.strip() and "_" in value and value in told]


def test_real_money_beside_play_money_is_told(shell: Shell, fake: FakeStripe) -> None:
    server = Server("sk_test_1", "whsec_1", now_us, ask)
    with elsewhere(server):
        policy = shell.folder / "policy.yaml"
        providers = "providers: {eu: {use: sandbox, when: {region: eu}}, default: stripe}\n"
        policy.write_text(policy.read_text() + providers)
        environ = {
            "METERGATE_PROVIDER": "",
            "SANDBOX_API_BASE": server.url,
            "SANDBOX_SECRET_KEY": "sk_test_1",
            "SANDBOX_WEBHOOK_SECRET": "whsec_1",
        }
        assert "The payment provider eu answers: test mode" in said(shell, 0, **environ)
        told = said(shell, 1, STRIPE_SECRET_KEY="sk_live_1", **environ)
    assert "no    stripe moves real money and eu does not" in told


def test_a_sandbox_whose_port_another_has_is_a_sentence(shell: Shell) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        told = said(shell, 1, METERGATE_PROVIDER="sandbox", SANDBOX_PORT=port)
    assert "no    The payment provider sandbox cannot be used: " in told


def test_without_a_provider_nothing_is_said_of_one(shell: Shell) -> None:
    assert "payment" not in said(shell, 0)


def test_news_of_providers_is_listed_and_handled_again(shell: Shell) -> None:
    shell.environ = {**shell.environ, "METERGATE_PROVIDER": "sandbox"}
    shell.ok("accounts create ada")
    told = ("evt_1", "odd", "other", "o", False)
    url = f"sqlite:///{shell.folder / 'metergate-data' / 'ledger.sqlite'}"
    with closing(Ledger.open(url)) as ledger, ledger.write() as tx:
        inbox.receive(tx, [inbox.Arrived("sandbox", "evt_1", "odd", json.dumps(told), 0)], {}, b"", 0)
        tx.execute(provider_events.update().values(state=inbox.DEAD, detail="It was tried too often."))
    [row] = shell.json("webhooks list --state dead")["data"]
    assert (row["id"], row["provider"], row["detail"]) == ("evt_1", "sandbox", "It was tried too often.")
    assert "evt_1" in shell.ok("webhooks list --provider sandbox")
    assert shell.json("webhooks replay --state dead") == {"replayed": 1}
    assert shell.json("webhooks list --state dead")["data"] == []
    assert shell.json("webhooks replay evt_1") == {"replayed": 1}
    assert "evt_2" in shell.no("webhooks replay evt_2")


def hooked(shell: Shell) -> list[str]:
    """What is wrong at a provider that knows us."""
    done = shell.run("doctor", METERGATE_PUBLIC_URL=PUBLIC)
    assert f"The payment provider {shell.environ['METERGATE_PROVIDER']} answers:" in done.stdout
    return [line for line in done.stdout.splitlines() if line.startswith("no ")]


def test_the_webhook_of_paypal_is_looked_at_by_its_id(shell: Shell) -> None:
    paypal = FakePayPal(now_us)
    with elsewhere(paypal.server):
        environ = {**paypal_settings(paypal, shell.folder), "METERGATE_PROVIDER": "paypal"}
        shell.environ = {**shell.environ, **environ}
        [told] = hooked(shell)
        assert told.startswith("no    Set PAYPAL_WEBHOOK_ID to the id of a webhook of this app")
        events = [{"name": "PAYMENT.CAPTURE.COMPLETED"}]
        paypal.webhooks[WEBHOOK] = {
            "id": WEBHOOK,
            "url": "https://elsewhere.example.com/",
            "event_types": events,
        }
        url = f"{PUBLIC}/billing/v1/webhooks/paypal"
        [told] = hooked(shell)
        assert told.endswith(f"lead to {url}, not to https://elsewhere.example.com/.")
        paypal.webhooks[WEBHOOK]["url"] = url
        [told] = hooked(shell)
        assert f"Let the webhook {url} of PayPal hear CHECKOUT.ORDER.APPROVED," in told
        paypal.webhooks[WEBHOOK]["event_types"] = [{"name": "*"}]
        assert hooked(shell) == []


def test_the_webhook_subscription_of_square_is_looked_at_with_its_key(shell: Shell) -> None:
    square = FakeSquare(now_us)
    with elsewhere(square.server):
        shell.environ = {**shell.environ, **square_settings(square), "METERGATE_PROVIDER": "square"}
        [told] = hooked(shell)
        assert told.startswith(
            f"no    Add a webhook subscription {ADDRESS} at Square that hears payment.created,"
        )
        heard = [each for each in TYPES if each != "dispute.state.updated"]
        made = {
            "notification_url": ADDRESS,
            "enabled": True,
            "event_types": heard,
            "signature_key": "another",
        }
        square.subscriptions += [{**made, "notification_url": "https://elsewhere.example.com/"}, made]
        less, key = hooked(shell)
        assert "of Square hear dispute.state.updated, too." in less
        assert "Set SQUARE_WEBHOOK_SIGNATURE_KEY to the signature key of the webhook subscription" in key
        made |= {"event_types": list(TYPES), "signature_key": SIGNATURE_KEY}
        assert hooked(shell) == []
        square.subscriptions.clear()
        square.keeps_events = None  # a seller's token, which may not look at them
        assert hooked(shell) == []
