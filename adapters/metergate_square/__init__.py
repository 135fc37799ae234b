"""Square: a checkout link, cards on file, refunds, disputes and signed news, through Square's own SDK."""

from typing import Final

from metergate.errors import ConfigurationError
from metergate.provider_port import Context
from metergate_square.calls import Calls
from metergate_square.client import SquareProvider
from metergate_square.news import News

__all__ = ["SquareProvider", "open_provider"]

BASES: Final = {
    "production": "https://connect.squareup.com",
    "sandbox": "https://connect.squareupsandbox.com",
}


def open_provider(context: Context) -> SquareProvider:
    environment = context.setting("SQUARE_ENVIRONMENT", "sandbox")
    if environment not in BASES:
        raise ConfigurationError(f"Set SQUARE_ENVIRONMENT to production or sandbox, not {environment!r:.40}.")
    live = environment == "production"
    application = context.setting("SQUARE_APPLICATION_ID")
    if application and application.startswith("sandbox-") == live:
        raise ConfigurationError(
            f"SQUARE_APPLICATION_ID is not of {environment}, which SQUARE_ENVIRONMENT says."
        )
    address = context.setting("SQUARE_WEBHOOK_URL", context.webhook_url)
    if not address:
        raise ConfigurationError(
            "Set METERGATE_PUBLIC_URL, or SQUARE_WEBHOOK_URL to where Square sends news: it signs that."
        )
    base = context.address("SQUARE_API_BASE", BASES[environment])
    calls = Calls(base, context.secret("SQUARE_ACCESS_TOKEN"))
    news = News(context.clock, address, context.secrets("SQUARE_WEBHOOK_SIGNATURE_KEY"), live=live)
    return SquareProvider(context, calls, news, live=live)
