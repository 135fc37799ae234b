"""Stripe, with its own SDK: checkouts, kept methods, subscriptions, invoices, a catalogue, and news."""

import stripe

from metergate.provider_port import Context
from metergate_stripe.client import StripeProvider
from metergate_stripe.settings import read

__all__ = ["StripeProvider", "open_provider"]


def open_provider(context: Context) -> StripeProvider:
    settings = read(context)
    # The SDK would write an id into the home folder, and send it along with what machine this is.
    stripe.enable_telemetry = False
    return StripeProvider(context, settings)
