"""What an adapter is given to work with: its settings, a clock, HTTP, and a place for its notes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit

from metergate.core.outgoing import LOOPBACK
from metergate.errors import ConfigurationError
from metergate.ports import Clock


class Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    """By their names in small letters."""
    body: bytes

    @property
    def after_s(self) -> float:
        """How many seconds `Retry-After` asks for; 0 where it says nothing, or a date."""
        told = self.headers.get("retry-after", "").strip()
        return float(told) if told.isascii() and told.isdigit() else 0.0


class Http(Protocol):
    """HTTP for adapters whose SDK brings none. Follows no redirects and repeats nothing."""

    async def __call__(
        self,
        method: str,
        url: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        timeout_s: float = 20,
    ) -> Answer:
        """Raises TryAgain where nothing was sent, and UnknownOutcome where no answer came."""


class Notes(Protocol):
    """What an adapter wants to remember, kept in the ledger: small texts by name, for this provider alone."""

    async def read(self, name: str) -> str | None: ...

    async def take(self, name: str, text: str) -> bool:
        """Write what is not there yet; False, and no change, where it is. Of two that ask, one gets it."""

    async def write(self, name: str, text: str) -> None: ...

    async def forget(self, name: str) -> None: ...

    async def listed(self, prefix: str) -> Mapping[str, str]: ...


@dataclass(frozen=True, slots=True)
class Context:
    """What an adapter works with."""

    name: str
    """Under which rows and addresses know this provider."""
    clock: Clock
    http: Http
    notes: Notes
    settings: Mapping[str, str] = field(default_factory=dict, repr=False)
    """The environment, and over it the `settings` that the policy gives this provider."""
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)
    """The policy's section of the adapter's name, such as `web3:`."""
    webhook_url: str = ""
    """Where the provider reaches us; empty where no public address is set."""

    def setting(self, name: str, default: str = "") -> str:
        return self.settings.get(name, "").strip() or default

    def address(self, name: str, default: str = "") -> str:
        """Where a provider is reached, without a slash at its end: over TLS, or on this machine."""
        url = self.setting(name, default).rstrip("/")
        parts = urlsplit(url)
        safe = parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
        if url and not (safe and parts.hostname):
            raise ConfigurationError(f"Set {name} to an https address; http is for loopback only.")
        return url

    def secret(self, name: str) -> str:
        """A secret, which has to be there: a blank one protects nothing."""
        value = self.setting(name)
        if not value:
            raise ConfigurationError(f"Set {name}, which the payment provider {self.name} needs.")
        return value

    def secrets(self, name: str) -> tuple[str, ...]:
        """Several that are valid at once, separated by commas, while one takes the place of another."""
        found = tuple([each.strip() for each in self.secret(name).split(",")])
        if not all(found):
            raise ConfigurationError(f"Separate several secrets in {name} by one comma, none of them blank.")
        return found
