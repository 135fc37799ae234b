"""Who may ask the operator's side: those who show a token, and nobody by guessing at one.

A page in somebody's browser can be made to ask a server on the browser's own machine, under a name of its
maker's. So what is open without a token is told only to those who call the server by an address, or by a name
that can be nobody else's.
"""

import hashlib
import hmac
from collections.abc import Collection, Iterable, Sequence

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from metergate.api import problem
from metergate.core.addresses import is_address, one_caller
from metergate.gate.guesses import Guesses

OWN_HEADER = b"metergate-token"
"""Where a front shows its token that passes its client's Authorization on."""
ANY = "*"

HARDENED = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
)
"""For browsers: guess no types, frame nothing, and let no other origin have it."""

Headers = Sequence[tuple[bytes, bytes]]


class Guarded:
    """Nothing behind it is reached without a token, not even to learn which paths there are."""

    def __init__(self, app: ASGIApp, tokens: Iterable[str], guesses: Guesses) -> None:
        self._app = app
        self._expected = [_digest(token.strip().encode()) for token in tokens if token]
        self._guesses = guesses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        address = caller(scope)
        wait_s = self._wait_s(address)
        headers = None if wait_s else self._without_token(scope["headers"], address)
        if headers is not None:
            await self._app({**scope, "headers": headers}, receive, send)
        elif wait_s:
            await problem.of_status(429, {"retry-after": str(wait_s)})(scope, receive, send)
        else:
            asked = {"www-authenticate": 'Bearer realm="metergate admin"'}
            await problem.of_status(401, asked)(scope, receive, send)

    def _wait_s(self, address: str) -> int:
        return self._guesses.wait_s(address)

    def _without_token(self, headers: Headers, address: str) -> list[tuple[bytes, bytes]] | None:
        """The headers behind the guard; None where no token is among them.

        A token in its own header leaves Authorization to the client that a front speaks for.
        """
        name = OWN_HEADER if any(each == OWN_HEADER for each, _ in headers) else b"authorization"
        shown = [value for each, value in headers if each == name]
        if len(shown) != 1:
            return None
        if not self.knows(_bearer(shown[0]) if name != OWN_HEADER else shown[0]):
            self._guesses.wrong(address)
            return None
        self._guesses.right(address)
        return [header for header in headers if header[0] != name]

    def knows(self, token: bytes) -> bool:
        # Digests have one length, so the comparison tells nothing of the token's.
        given = _digest(token.strip())
        return any(hmac.compare_digest(given, expected) for expected in self._expected)


class GuardedForFronts(Guarded):
    """The same for fronts: what their clients send along must not lock them out."""

    def _wait_s(self, address: str) -> int:
        return 0 if self._guesses.knows(address) else super()._wait_s(address)


class Operators:
    """The operator's side for whoever may ask: some of it is open to everybody who is really here."""

    def __init__(
        self, app: ASGIApp, guarded: ASGIApp, open_paths: Collection[str], hosts: Collection[str]
    ) -> None:
        self._app = app
        self._guarded = guarded
        self._open = open_paths
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or path(scope) not in self._open:
            await self._guarded(scope, receive, _hardening(send))
        elif all(self._own(value) for name, value in scope["headers"] if name == b"host"):
            await self._app(scope, receive, _hardening(send))
        else:
            await problem.of_status(421)(scope, receive, _hardening(send))

    def _own(self, value: bytes) -> bool:
        """Whether the name cannot be one that somebody made to lead here."""
        host = value.decode("latin-1").lower()
        name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
        if "." not in name or name.endswith(".localhost") or ANY in self._hosts:
            return True
        return name in self._hosts or host in self._hosts or is_address(name)


def path(scope: Scope) -> str:
    """The path behind where the app is mounted."""
    found: str = scope["path"]
    return found.removeprefix(scope.get("root_path", ""))


def _hardening(send: Send) -> Send:
    async def hardened(message: Message) -> None:
        if message["type"] == "http.response.start":
            said = dict(message["headers"])
            more = [header for header in HARDENED if header[0] not in said]
            message = {**message, "headers": [*message["headers"], *more]}
        await send(message)

    return hardened


def caller(scope: Scope) -> str:
    """Who asks, as far as an address tells it."""
    client = scope.get("client")
    return one_caller(client[0]) if client else ""


def _bearer(value: bytes) -> bytes:
    scheme, _, token = value.partition(b" ")
    return token if scheme.lower() == b"bearer" else b""


def _digest(token: bytes) -> bytes:
    return hashlib.sha256(token).digest()
