"""The SDK's requests on aiohttp: one pool, no second try, and each failure named by what it means."""

import ssl
from collections.abc import Mapping
from typing import Any, Final

import aiohttp
import stripe

from metergate.provider_port import TryAgain, UnknownOutcome

TIMEOUT: Final = aiohttp.ClientTimeout(total=40, sock_connect=10)


class Wire(stripe.HTTPClient):
    """The SDK has a client on aiohttp too; that one does not tell a refused connection from a lost answer."""

    name = "aiohttp"

    def __init__(self) -> None:
        super().__init__()
        self.timeout = TIMEOUT
        self._session: aiohttp.ClientSession | None = None
        self._closed = False

    async def request_async(
        self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None
    ) -> tuple[bytes, int, Mapping[str, str]]:
        reads = method.lower() == "get"
        try:
            sent = self._opened().request(
                method, url, headers=headers, data=post_data, timeout=self.timeout, allow_redirects=False
            )
            async with sent as answer:
                body = await answer.read()
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise TryAgain(f"Stripe cannot be reached: {error}") from error
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            outcome = TryAgain if reads else UnknownOutcome
            raise outcome(f"Stripe did not answer to the end: {error!r}") from error
        if reads and answer.status >= 500:
            raise TryAgain(f"Stripe answers {answer.status} for now.")
        return body, answer.status, {name.lower(): value for name, value in answer.headers.items()}

    async def close_async(self) -> None:
        self._closed = True
        if self._session is not None:
            await self._session.close()

    def _opened(self) -> aiohttp.ClientSession:
        """Made at the first request, in the loop that asks, with the authorities that the SDK trusts."""
        if self._closed:
            raise TryAgain("Stripe is asked by another provider now: the policy has changed.")
        if self._session is None:
            trusted = ssl.create_default_context(cafile=stripe.ca_bundle_path)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=trusted), cookie_jar=aiohttp.DummyCookieJar()
            )
        return self._session
