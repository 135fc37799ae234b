"""Calls through PayPal's SDK: in threads, with a token that is renewed in time, errors by their meaning."""

import asyncio
import json
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

import requests
from paypalserversdk.configuration import Configuration
from paypalserversdk.exceptions.api_exception import ApiException
from paypalserversdk.http.auth.o_auth_2 import ClientCredentialsAuthCredentials
from paypalserversdk.models.o_auth_token import OAuthToken
from paypalserversdk.paypal_serversdk_client import PaypalServersdkClient as Client
from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

from metergate.provider_port import (
    Answer,
    Context,
    Declined,
    Misconfigured,
    NeedsAction,
    TryAgain,
    UnknownOutcome,
)

T = TypeVar("T")
TIMEOUT_S: Final = 20
EARLY_US: Final = 60 * 10**6
"""How long before its end a token is renewed."""

_NO: Final = frozenset({
    "CARD_EXPIRED", "COMPLIANCE_VIOLATION", "INSTRUMENT_DECLINED", "MAX_NUMBER_OF_PAYMENT_ATTEMPTS_EXCEEDED",
    "PAYER_ACCOUNT_LOCKED_OR_CLOSED", "PAYER_ACCOUNT_RESTRICTED", "PAYER_CANNOT_PAY",
    "REDIRECT_PAYER_FOR_ALTERNATE_FUNDING", "TRANSACTION_REFUSED",
})  # fmt: skip
_PAYER: Final = frozenset({"ORDER_NOT_APPROVED", "PAYER_ACTION_REQUIRED"})


class Refused(Misconfigured):
    """PayPal understood us and said no to what we asked."""

    def __init__(self, message: str, status: int, issue: str) -> None:
        super().__init__(message)
        self.status = status
        self.issue = issue


class _At(Configuration):  # type: ignore[misc]  # the SDK is not typed
    """The SDK's settings for an address of our own; its own are of the whole process."""

    def __init__(self, base: str, **settings: Any) -> None:
        self._base = base
        super().__init__(**settings)

    def get_base_uri(self, server: object = None) -> str:
        return self._base


class Calls:
    def __init__(
        self,
        context: Context,
        base: str,
        client_id: str,
        client_secret: str,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self.base = base
        self._timeout_s = timeout_s
        self._clock = context.clock
        self._credentials = (client_id, client_secret)
        self._session = requests.Session()
        self._session.trust_env = False  # a .netrc would take the place of our token
        self._session.max_redirects = 0
        self._session.hooks["response"].append(_must_be_plain)
        self._client: Client | None = None
        self._until_us = 0
        self._renewing = asyncio.Lock()

    async def do(self, work: Callable[[Client], Any]) -> Any:
        """What PayPal answers to a call of its SDK, as the SDK's model of it."""
        client = await self._authorised()
        try:
            return await _in_thread(work, client)
        except Refused as refused:
            if refused.status != 401:
                raise
        self._client = None if self._client is client else self._client
        return await _in_thread(work, await self._authorised())

    async def maybe(self, work: Callable[[Client], Any]) -> Any:
        """The same for what is asked for by its id; None where PayPal has no such thing."""
        try:
            return await self.do(work)
        except Refused as refused:
            if refused.status == 404:
                return None
            raise

    async def get(self, path: str) -> dict[str, Any]:
        """What the SDK has no call for, as plain JSON."""
        found: dict[str, Any] = await self.do(lambda client: _Body(self._plain(client, path)))
        return found

    def _plain(self, client: Client, path: str) -> Any:
        token = client.config.client_credentials_auth_credentials.o_auth_token.access_token
        asked = {"authorization": f"Bearer {token}", "accept": "application/json"}
        answer = self._session.get(f"{self.base}{path}", headers=asked, timeout=self._timeout_s)
        if answer.status_code != 200:
            raise refusal(_answer(answer.status_code, answer.headers, answer.content))
        return answer.json()

    async def close(self) -> None:
        self._session.close()

    async def _authorised(self) -> Client:
        async with self._renewing:
            if self._client is None or self._clock() >= self._until_us:
                asked_us = self._clock()
                self._client, lives_s = await self._renewed()
                self._until_us = asked_us + lives_s * 10**6 - EARLY_US
            return self._client

    async def _renewed(self) -> tuple[Client, int]:
        """The SDK with a new token, and for how many seconds PayPal takes that."""

        def renew(client: Client) -> _Body:
            token = client.oauth_2.fetch_token()
            renewed = self._with(OAuthToken(token.access_token, token.token_type))
            return _Body((renewed, int(getattr(token, "expires_in", 0))))

        try:
            found: tuple[Client, int] = await _in_thread(renew, self._with(None))
        except UnknownOutcome as error:  # whatever became of that, nothing was done
            raise TryAgain(f"PayPal gives no token: {error}") from error
        return found

    def _with(self, token: OAuthToken | None) -> Client:
        """The SDK with a token of which only we know how long it lives: we have the clock."""
        credentials = ClientCredentialsAuthCredentials(*self._credentials, token)
        settings = _At(
            self.base,
            http_client_instance=self._session,
            timeout=self._timeout_s,
            client_credentials_auth_credentials=credentials,
        )
        return Client(config=settings)


def _must_be_plain(response: requests.Response, **_: Any) -> None:
    """The SDK would read YAML, too, and make objects of any class that an answer names: none reaches it."""
    try:
        told = json.loads(response.content or b"{}", object_pairs_hook=_without_classes)
    except ValueError:
        told = None
    if not isinstance(told, dict):
        raise refusal(_answer(response.status_code, response.headers, response.content))


def _without_classes(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if any(name.startswith("py/") for name in found):
        raise ValueError("It names classes.")
    return found


class _Body:
    """An answer of the SDK that has its body already."""

    def __init__(self, body: Any) -> None:
        self.body = body


async def _in_thread(work: Callable[[Client], Any], client: Client) -> Any:
    try:
        return (await asyncio.to_thread(work, client)).body
    except ApiException as error:
        told = error.response
        raise refusal(_answer(told.status_code, told.headers, told.text.encode())) from error
    except requests.RequestException as error:
        if _was_never_sent(error):
            raise TryAgain(f"PayPal cannot be reached: {error}") from error
        raise UnknownOutcome(f"PayPal did not answer to the end: {error!r:.300}") from error
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise UnknownOutcome(f"What PayPal answered cannot be read: {error!r:.300}") from error


def _was_never_sent(error: requests.RequestException) -> bool:
    cause = error.args[0] if error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    return isinstance(reason, (ConnectTimeoutError, NewConnectionError))


def _answer(status: int, headers: Mapping[str, str], body: bytes) -> Answer:
    return Answer(status, {name.lower(): value for name, value in headers.items()}, body)


def refusal(answer: Answer) -> Exception:
    """What an answer that is no success means for us."""
    status = answer.status
    message, issue, link = _said(answer.body)
    if status == 429:
        return TryAgain(f"PayPal is busy: {message}", answer.after_s)
    if status == 409 or status >= 500 or status < 400:
        return UnknownOutcome(f"PayPal answered {status}: {message}")
    if issue in _NO:
        return Declined(f"PayPal declined the payment: {message}")
    if issue in _PAYER:
        return NeedsAction("Confirm the payment at PayPal.", link)
    return Refused(f"PayPal refuses it with {status}: {message}", status, issue)


def _said(body: bytes) -> tuple[str, str, str]:
    """What an error says to people, what it is called, and where a payer may go on."""
    try:
        told = json.loads(body)
        details = (told.get("details") or [{}])[0]
        links = {each.get("rel", ""): each.get("href", "") for each in told.get("links") or ()}
        issue = str(details.get("issue") or told.get("name") or told.get("error") or "")
        text = details.get("description") or told.get("message") or told.get("error_description") or issue
    except (ValueError, AttributeError, TypeError, IndexError, KeyError):
        return body[:200].decode(errors="replace") or "no reason", "", ""
    return (
        f"{str(text)[:300]} ({issue})",
        issue,
        str(links.get("payer-action") or links.get("redirect") or ""),
    )
