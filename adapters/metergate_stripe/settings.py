"""What an operator says about Stripe, read once and refused where it cannot be right."""

import re
from typing import Final, NamedTuple
from urllib.parse import urlsplit

from metergate.errors import ConfigurationError
from metergate.provider_port import Context

API_BASE: Final = "https://api.stripe.com"
_KEY = re.compile(r"(?:sk|rk)_(test|live)_\S+")
_SPACE = re.compile(r"[a-z][a-z0-9_]{0,19}")


class StripeSettings(NamedTuple):
    key: str
    webhook_secrets: tuple[str, ...]
    live: bool
    base: str
    account: str
    """A connected account in whose name we act; empty for our own."""
    space: str
    """Before the names of what we keep at Stripe, so that two services can share an account there."""
    methods: tuple[str, ...]
    """The kinds of methods that a checkout offers; empty leaves it to Stripe's dashboard."""
    plan_meters: tuple[str, ...]
    """Meters whose usage Stripe puts on the invoices of plans."""
    back: str
    """Where payers go back to when nobody says where."""


def read(context: Context) -> StripeSettings:
    key = context.secret("STRIPE_SECRET_KEY")
    mode = _KEY.fullmatch(key)
    if mode is None:
        raise ConfigurationError(
            "Set STRIPE_SECRET_KEY to a secret or restricted key of Stripe: it begins with sk_test_, "
            "sk_live_, rk_test_ or rk_live_."
        )
    return StripeSettings(
        key=key,
        webhook_secrets=context.secrets("STRIPE_WEBHOOK_SECRET"),
        live=mode[1] == "live",
        base=context.address("STRIPE_API_BASE", API_BASE),
        account=context.setting("STRIPE_ACCOUNT"),
        space=_space(context.setting("STRIPE_NAMESPACE", "metergate")),
        methods=_listed(context.setting("STRIPE_PAYMENT_METHODS")),
        plan_meters=_listed(context.setting("STRIPE_PLAN_METERS")),
        back=context.setting("STRIPE_RETURN_URL") or _origin(context.webhook_url),
    )


def _space(name: str) -> str:
    if not _SPACE.fullmatch(name):
        raise ConfigurationError(
            "Set STRIPE_NAMESPACE to at most 20 small letters, digits and _, beginning with a letter."
        )
    return name


def _listed(text: str) -> tuple[str, ...]:
    return tuple([each.strip() for each in text.split(",") if each.strip()])


def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}/" if parts.netloc else ""
