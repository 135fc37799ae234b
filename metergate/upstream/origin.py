"""Where an upstream is: taken apart once from the policy, never put together again from what clients send."""

import ssl
from typing import NamedTuple
from urllib.parse import urlsplit

from metergate.core import match
from metergate.errors import ConfigurationError

PORTS = {"http": 80, "https": 443}


class Origin(NamedTuple):
    scheme: str
    host: str
    port: int
    prefix: bytes
    """What stands before every path."""

    @property
    def authority(self) -> bytes:
        """The value of the Host header."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return (host if self.port == PORTS[self.scheme] else f"{host}:{self.port}").encode("ascii")

    @property
    def base(self) -> bytes:
        """What an address of this origin begins with."""
        return b"%s://%s" % (self.scheme.encode(), self.authority)

    def __str__(self) -> str:
        return self.base.decode()


def parse(url: str) -> Origin:
    """The origin of an address such as https://api.example.com/base."""
    try:
        parts = urlsplit(url)
        url.encode()
    except ValueError:
        raise ConfigurationError("Write the upstream's url as scheme, host and path alone.") from None
    if parts.scheme not in PORTS or not parts.hostname:
        raise ConfigurationError("Begin the upstream's url with https:// or http:// and name a host.")
    if parts.username is not None or parts.query or parts.fragment or "#" in url or "?" in url:
        raise ConfigurationError(
            "Write the upstream's url as scheme, host and path alone; credentials belong in its headers."
        )
    try:
        host = parts.hostname.encode("idna").decode("ascii") if ":" not in parts.hostname else parts.hostname
        port = parts.port or PORTS[parts.scheme]
    except ValueError:
        raise ConfigurationError("The upstream's url holds no host that can be looked up.") from None
    prefix = parts.path.rstrip("/").encode("utf-8")
    if prefix and match.canonical(prefix).problem:
        raise ConfigurationError("Write the path of the upstream's url in its plain form, such as /v1.")
    return Origin(parts.scheme, host, port, prefix)


def trust(origin: Origin, ca: str) -> ssl.SSLContext | None:
    """Whom to believe that they are the origin; None without TLS."""
    if origin.scheme == "http":
        return None
    try:
        context = ssl.create_default_context(cafile=ca or None)
    except (OSError, ssl.SSLError):
        raise ConfigurationError("The upstream's ca names no readable file of certificates.") from None
    context.set_alpn_protocols(["http/1.1"])
    return context
