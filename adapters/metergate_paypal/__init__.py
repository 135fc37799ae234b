"""PayPal and Venmo: orders that a payer approves and that we capture, refunds, and signed news.

The calls are made by PayPal's own SDK, in threads. What it lacks (the proof of webhooks, disputes) is here.
"""

from typing import Final

from metergate.errors import ConfigurationError
from metergate.provider_port import Context
from metergate_paypal.calls import Calls
from metergate_paypal.client import PayPalProvider
from metergate_paypal.proof import Proof

__all__ = ["PayPalProvider", "open_provider"]

BASES: Final = {"live": "https://api-m.paypal.com", "sandbox": "https://api-m.sandbox.paypal.com"}


def open_provider(context: Context) -> PayPalProvider:
    mode = context.setting("PAYPAL_MODE", "sandbox")
    if mode not in BASES:
        raise ConfigurationError(f"Set PAYPAL_MODE to live or sandbox, not {mode!r:.40}.")
    base = context.address("PAYPAL_API_BASE", BASES[mode])
    live = mode == "live"
    credentials = context.secret("PAYPAL_CLIENT_ID"), context.secret("PAYPAL_CLIENT_SECRET")
    hooks = context.secrets("PAYPAL_WEBHOOK_ID")
    return PayPalProvider(context, Calls(context, base, *credentials), Proof(context, base, hooks, live=live))
