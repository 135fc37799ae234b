"""Adyen's own SDK, carried by our HTTP: it knows whether a request was sent, and follows no redirects."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final

from Adyen import AdyenClient  # type: ignore[import-untyped]  # the SDK says nothing of types
from Adyen.exceptions import AdyenAPIResponseError, AdyenError  # type: ignore[import-untyped]
from Adyen.services.checkout import AdyenCheckoutApi  # type: ignore[import-untyped]

from metergate.errors import ProviderError
from metergate.provider_port import Answer, Misconfigured, TryAgain, UnknownOutcome
from metergate.provider_port.http import ask_blocking

VERSION: Final = "v72"
TIMEOUT_S: Final = 20
IN_PROGRESS: Final = "704"
"""The code of a request whose twin with the same idempotency key is not done yet."""

Json = dict[str, Any]


class Calls:
    """What is asked of Adyen: each call in a thread, with an answer or one of our errors."""

    def __init__(self, key: str, merchant: str, base: str, prefix: str, timeout_s: float = TIMEOUT_S) -> None:
        client = AdyenClient(
            xapikey=key, platform="live" if prefix else "test", live_endpoint_prefix=prefix or None
        )
        client.http_client, client.http_init = Carrier(timeout_s), True
        self.merchant = merchant
        api = AdyenCheckoutApi(client)
        self.links, self.payments, self.changes = (
            api.payment_links_api,
            api.payments_api,
            api.modifications_api,
        )
        for each in (self.links, self.payments, self.changes):
            each.baseUrl = f"{base}/{VERSION}" if base else each.baseUrl

    async def __call__(self, call: Callable[..., Any], *asked: Any, key: str | None = None) -> Json:
        """One call of the SDK."""
        return await asyncio.to_thread(_called, call, asked, key)


class Carrier:
    """The SDK's HTTP, as ours."""

    user_agent = "metergate"

    def __init__(self, timeout_s: float) -> None:
        self._timeout_s = timeout_s

    def request(
        self, method: str, url: str, *, json: Any, xapikey: str, headers: Mapping[str, str]
    ) -> tuple[str, Any, int, Mapping[str, str]]:
        body = b"" if json is None else _encoded(json)
        sent = {**headers, "x-api-key": xapikey, "content-type": "application/json"}
        answer = ask_blocking(method, url, sent, body, self._timeout_s)
        return answer.body.decode("utf-8", "replace"), json, answer.status, answer.headers


def _encoded(asked: Any) -> bytes:
    return json.dumps(asked).encode()


def _called(call: Callable[..., Any], asked: tuple[Any, ...], key: str | None) -> Json:
    try:
        told = call(*asked, idempotency_key=key).message
    except AdyenAPIResponseError as error:
        raise _understood(error) from error
    except AdyenError as error:
        raise Misconfigured(f"Adyen's SDK refuses the call: {error.message}") from error
    except (AttributeError, TypeError) as error:  # the SDK expects an object
        raise UnknownOutcome("Adyen answered what cannot be read.") from error
    if not isinstance(told, dict) or not told:
        raise UnknownOutcome("Adyen answered what cannot be read.")
    return told


def _understood(error: AdyenAPIResponseError) -> ProviderError:
    status, told = error.status_code, error.message
    said = told.get("message", "nothing") if isinstance(told, dict) else f"status {status}"
    if status == 429:
        return TryAgain("Adyen is busy.", Answer(status, error.headers, b"").after_s)
    if status >= 500 or error.error_code == IN_PROGRESS:
        return UnknownOutcome(f"Adyen did not say what became of the request: {said:.200}")
    return Misconfigured(f"Adyen refuses the request: {said:.200}")
