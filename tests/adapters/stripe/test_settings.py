"""What an operator may say about Stripe, and what is refused before anything starts."""

import re
from pathlib import Path

import pytest
import stripe

import metergate_stripe
from metergate.errors import ConfigurationError
from metergate.provider_port import CAPABILITIES, Context, capabilities
from metergate.provider_port.http import ask
from metergate.testing.clock import FakeClock
from metergate.testing.notes import NotesInMemory
from metergate_stripe import StripeProvider, open_provider
from tests.house.rules import ROOT

GOOD = {"STRIPE_SECRET_KEY": "sk_test_1", "STRIPE_WEBHOOK_SECRET": "whsec_1"}


def opened(webhook_url: str = "", **settings: str) -> StripeProvider:
    given = {**GOOD, **settings}
    return open_provider(Context("stripe", FakeClock(), ask, NotesInMemory(), given, webhook_url=webhook_url))


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"STRIPE_SECRET_KEY": ""}, "Set STRIPE_SECRET_KEY"),
        ({"STRIPE_SECRET_KEY": "pk_test_1"}, "begins with sk_test_"),
        ({"STRIPE_SECRET_KEY": "sk_prod_1"}, "begins with sk_test_"),
        ({"STRIPE_WEBHOOK_SECRET": "  "}, "Set STRIPE_WEBHOOK_SECRET"),
        ({"STRIPE_WEBHOOK_SECRET": "whsec_1,,whsec_2"}, "none of them blank"),
        ({"STRIPE_API_BASE": "http://stripe.example.com"}, "https"),
        ({"STRIPE_API_BASE": "nowhere"}, "https"),
        ({"STRIPE_NAMESPACE": "Two Words"}, "small letters"),
    ],
)
def test_what_cannot_be_right_is_refused_in_a_sentence(settings: dict[str, str], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        opened(**settings)


@pytest.mark.parametrize(
    ("key", "live"), [("sk_test_1", False), ("sk_live_1", True), ("rk_test_1", False), ("rk_live_1", True)]
)
def test_the_key_says_whether_real_money_moves(key: str, live: bool) -> None:
    assert opened(STRIPE_SECRET_KEY=key).live is live


def test_stripe_can_do_all_but_what_other_kinds_of_providers_need() -> None:
    assert set(CAPABILITIES) - set(capabilities(opened())) == {"approvals", "claims"}


def test_payers_go_back_to_the_public_address_where_nobody_names_another() -> None:
    hook = "https://api.example.com/billing/v1/webhooks/stripe"
    assert opened(hook).settings.back == "https://api.example.com/"
    named = opened(hook, STRIPE_RETURN_URL="https://app.example.com/done")
    assert named.settings.back == "https://app.example.com/done"


def test_nothing_of_this_machine_is_told_and_no_secret_is_shown() -> None:
    made = opened(STRIPE_SECRET_KEY="sk_test_very_secret")
    assert stripe.enable_telemetry is False
    assert "very_secret" not in repr(made)
    assert "very_secret" not in repr(made.context)


def test_every_setting_is_documented() -> None:
    package = Path(metergate_stripe.__file__).parent
    code = "".join(path.read_text() for path in package.glob("*.py"))
    read = set(re.findall(r'"(STRIPE_[A-Z_]+)"', code))
    told = set(re.findall(r"`(STRIPE_[A-Z_]+)` \|", (ROOT / "docs/providers.md").read_text()))
    assert read == told
    assert len(read) == 8
