"""Calls through Square's SDK, each sent once, with its errors by their meaning."""

from collections.abc import Awaitable, Mapping
from typing import Any, Final, TypeVar

import httpx
from square import AsyncSquare
from square.core.api_error import ApiError
from square.core.request_options import RequestOptions

from metergate.provider_port import Answer, Declined, Misconfigured, TryAgain, UnknownOutcome

T = TypeVar("T")
TIMEOUT_S: Final = 20
ONCE: Final[RequestOptions] = {"max_retries": 0}


class Refused(Misconfigured):
    """Square understood us and said no to what we asked."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class Calls:
    def __init__(self, base: str, token: str, timeout_s: float = TIMEOUT_S) -> None:
        self.base = base
        self._http = httpx.AsyncClient(timeout=timeout_s, follow_redirects=False, trust_env=False)
        self.square = AsyncSquare(base_url=base, token=token, httpx_client=self._http)
        # The SDK imports its parts when they are first used: now, and not between two calls of customers.
        parts = ("cards", "checkout", "customers", "disputes", "events", "locations", "orders", "payments")
        for part in (*parts, "refunds", "webhooks"):
            getattr(self.square, part)
        self.links = self.square.checkout.payment_links

    async def do(self, asked: Awaitable[T]) -> T:
        """What Square answers to a call of its SDK."""
        try:
            return await asked
        except ApiError as error:
            raise refusal(error) from error
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.PoolTimeout) as error:
            raise TryAgain(f"Square cannot be reached: {error!r:.300}") from error
        except httpx.HTTPError as error:
            raise UnknownOutcome(f"Square did not answer to the end: {error!r:.300}") from error
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UnknownOutcome(f"What Square answered cannot be read: {error!r:.300}") from error

    async def part(self, asked: Awaitable[Any], name: str) -> Any:
        """What an answer is about, which has to be in it."""
        found = getattr(await self.do(asked), name, None)
        if found is None:
            raise UnknownOutcome(f"What Square answered has no {name}.")
        return found

    async def maybe(self, asked: Awaitable[T]) -> T | None:
        """The same for what is asked for by its id; None where Square has no such thing."""
        try:
            return await self.do(asked)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def listed(self, asked: Awaitable[Any]) -> list[Any]:
        """Everything of a list that comes in pages."""
        page = await self.do(asked)
        found = list(page.items or ())
        while page is not None and page.has_next and page.get_next is not None:
            page = await self.do(page.get_next())
            found += (page.items or ()) if page is not None else ()
        return found

    async def close(self) -> None:
        await self._http.aclose()


def refusal(error: ApiError) -> Exception:
    """What an answer that is no success means for us."""
    status = error.status_code or 0
    said = error.errors[0] if error.errors else None
    code, detail = (str(said.code), said.detail or "") if said is not None else ("", "")
    message = f"{detail[:300]} ({code})" if detail else code
    if status == 429:
        return TryAgain(f"Square is busy: {message}", _after_s(error.headers or {}))
    if status in (408, 409) or status >= 500 or status < 400:
        return UnknownOutcome(f"Square answered {status}: {message}")
    if said is not None and said.category == "PAYMENT_METHOD_ERROR":
        return Declined(f"Square declined the payment: {message}")
    return Refused(f"Square refuses it with {status}: {message}", status)


def _after_s(headers: Mapping[str, Any]) -> float:
    told = {name.lower(): str(value) for name, value in headers.items()}
    return Answer(429, told, b"").after_s
