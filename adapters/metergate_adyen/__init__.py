"""Payments over Adyen: pages to pay on, captures, refunds, and signed news.

Adyen cannot be asked for a payment. What becomes of one is told by its webhooks alone, unordered and more
than once, so a request that it has received is not done yet.
"""

import re

from metergate.errors import ConfigurationError
from metergate.provider_port import Context
from metergate_adyen.calls import Calls
from metergate_adyen.client import AdyenProvider
from metergate_adyen.news import Reader

__all__ = ["AdyenProvider", "open_provider"]

BASE, PREFIX, HMAC = "ADYEN_API_BASE", "ADYEN_LIVE_PREFIX", "ADYEN_HMAC_KEY"


def open_provider(context: Context) -> AdyenProvider:
    base, prefix = context.address(BASE), context.setting(PREFIX)
    if base and prefix:
        raise ConfigurationError(f"Set {PREFIX} for real money or {BASE} for a stand-in, not both.")
    if prefix and not re.fullmatch(r"[A-Za-z0-9-]+", prefix):
        raise ConfigurationError(
            f"Copy {PREFIX} from the API URLs of the Customer Area, without the rest of them."
        )
    keys = tuple([_key(each) for each in context.secrets(HMAC)])
    merchant = context.secret("ADYEN_MERCHANT_ACCOUNT")
    calls = Calls(context.secret("ADYEN_API_KEY"), merchant, base, prefix)
    return AdyenProvider(calls, Reader(merchant, keys, context.notes), context.notes, live=bool(prefix))


def _key(text: str) -> str:
    try:
        if len(found := bytes.fromhex(text)) >= 16:
            return found.hex()
    except ValueError:
        pass
    raise ConfigurationError(f"Copy {HMAC} from the webhook's page: it is hexadecimal, 64 digits long.")
