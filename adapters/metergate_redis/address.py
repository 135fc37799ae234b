"""Where the servers are: what a `store:` address says."""

import re
import ssl
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from metergate.errors import ConfigurationError

HELP = (
    "Write the store as redis://[user:password@]host[:port][/database], rediss:// for TLS, or "
    "redis+unix:///path/to/socket"
)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s)")


class Address(NamedTuple):
    hosts: tuple[tuple[str, int], ...]
    path: str = ""
    """Of a Unix socket; empty for TCP."""
    tls: ssl.SSLContext | None = None
    username: str = ""
    password: str = ""
    database: int = 0
    shards: int = 1
    prefix: str = "mg"
    deadline_s: float = 1.0
    takeover_s: float = 60.0

    @property
    def shown(self) -> str:
        """The address without its password."""
        return self.path or ", ".join(f"{host}:{port}" for host, port in self.hosts)


def parse(url: str) -> Address:
    """Read an address; ConfigurationError says what is wrong with it."""
    try:
        parts = urlsplit(url)
        query = dict(parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)))
        return _read(parts.scheme, parts.netloc, parts.path, query)
    except ValueError as error:
        if isinstance(error, ConfigurationError):
            raise
        raise ConfigurationError(f"{HELP}; this one cannot be read: {error}.") from None


def _read(scheme: str, netloc: str, path: str, query: dict[str, str]) -> Address:
    credentials, _, places = netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    unix = scheme.endswith("+unix")
    address = Address(
        hosts=() if unix else tuple(_host(each) for each in places.split(",")),
        path=unquote(path) if unix else "",
        tls=ssl.create_default_context() if scheme in ("rediss", "valkeys") else None,
        username=unquote(username),
        password=unquote(password),
        database=int(query.pop("db", "0") if unix else path.strip("/") or query.pop("db", "0")),
        shards=_whole(query, "shards", 1, 1024),
        prefix=query.pop("prefix", "mg"),
        deadline_s=_seconds(query, "timeout", "1s"),
        takeover_s=_seconds(query, "takeover", "60s"),
    )
    if query:
        raise ConfigurationError(f"The store's address has a setting that nobody knows: {min(query)}.")
    return address


def _host(text: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":") if re.search(r":\d*$", text) else (text, "", "")
    return (host or text if not colon else host or "localhost").strip("[]") or "localhost", int(port or 6379)


def _whole(query: dict[str, str], name: str, default: int, most: int) -> int:
    value = int(query.pop(name, str(default)))
    if not 1 <= value <= most:
        raise ConfigurationError(f"Give {name} in the store's address as a number from 1 to {most}.")
    return value


def _seconds(query: dict[str, str], name: str, default: str) -> float:
    found = _DURATION.fullmatch(query.pop(name, default))
    if found is None or not float(found[1]):
        raise ConfigurationError(f"Give {name} in the store's address as a time such as 500ms or 2s.")
    return float(found[1]) / (1000 if found[2] == "ms" else 1)
