"""Where the servers are: what a `store:` address says."""

import re
import ssl
from collections.abc import Callable, Mapping
from typing import NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

from metergate.errors import ConfigurationError

HELP = (
    "Write the store as redis://user:password@host:port/database, redis+unix:///path/to/socket, "
    "redis+sentinel://host,host/service/database or redis+cluster://host,host, with rediss for TLS"
)
ALONE, UNIX, SENTINEL, CLUSTER = "", "unix", "sentinel", "cluster"
PORTS: Mapping[str, int] = {ALONE: 6379, SENTINEL: 26379, CLUSTER: 6379}
CLUSTER_SHARDS = 16

Host = tuple[str, int]


class Address(NamedTuple):
    kind: str = ALONE
    hosts: tuple[Host, ...] = ()
    """Of servers, or of those that know them."""
    path: str = ""
    """Of a Unix socket."""
    service: str = ""
    """What the sentinels call the server."""
    tls: ssl.SSLContext | None = None
    username: str = ""
    password: str = ""
    sentinel_username: str = ""
    sentinel_password: str = ""
    database: int = 0
    prefix: str = "mg"
    """What the names of all keys begin with."""
    shards: int = 1
    deadline_s: float = 1.0
    """How long an answer is waited for."""
    takeover_s: float = 60.0
    """After this time another worker takes over what one has drained and not acknowledged."""

    def __repr__(self) -> str:
        return f"Address({self.shown!r})"

    @property
    def shown(self) -> str:
        """The address without its secrets."""
        return self.path or ",".join(f"{host}:{port}" for host, port in self.hosts)


def parse(url: str) -> Address:
    """Read an address; ConfigurationError says what is wrong with it, and never shows a password."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ConfigurationError(f"{HELP}.") from None
    base, _, kind = parts.scheme.partition("+")
    if base not in ("redis", "rediss", "valkey", "valkeys") or kind not in (ALONE, UNIX, SENTINEL, CLUSTER):
        raise ConfigurationError(f"{HELP}.")
    query = _Query(parts.query)
    credentials, _, places = parts.netloc.rpartition("@")
    username, _, password = credentials.partition(":")
    path, service, database = _path(kind, parts.path, query)
    address = Address(
        kind,
        () if kind == UNIX else _hosts(places, PORTS[kind]),
        path,
        service,
        _tls(query) if base in ("rediss", "valkeys") and kind != UNIX else None,
        unquote(username),
        unquote(password),
        query.text("sentinel_username"),
        query.text("sentinel_password"),
        database,
        query.text("prefix", "mg", re.compile(r"[A-Za-z0-9_.:-]{1,40}")),
        query.whole("shards", CLUSTER_SHARDS if kind == CLUSTER else 1, 1, 1024),
        query.seconds("timeout", "1s"),
        query.seconds("takeover", "60s"),
    )
    query.must_be_empty()
    _check(address)
    return address


def _check(address: Address) -> None:
    if address.kind == UNIX and not address.path:
        raise ConfigurationError("Name the socket in the store's address: redis+unix:///path/to/socket.")
    if address.kind == SENTINEL and not address.service:
        raise ConfigurationError(
            "Name the service in the store's address: redis+sentinel://host,host/service."
        )
    if address.kind == CLUSTER and address.database:
        raise ConfigurationError("Leave the database out of the store's address: a cluster has only one.")
    if address.kind == ALONE and len(address.hosts) > 1:
        raise ConfigurationError(
            "Several hosts are redis+sentinel:// or redis+cluster://; redis:// has only one."
        )


def _path(kind: str, path: str, query: "_Query") -> tuple[str, str, int]:
    """Path of a socket, service of sentinels, and database."""
    if kind == UNIX:
        return unquote(path), "", query.whole("db", 0, 0, 10_000)
    names = path.strip("/").split("/") if path.strip("/") else []
    service = unquote(names.pop(0)) if kind == SENTINEL and names else ""
    if names:
        query.put("db", names.pop(0))
    if names:
        raise ConfigurationError(f"{HELP}.")
    return "", service, query.whole("db", 0, 0, 10_000)


def _hosts(places: str, port: int) -> tuple[Host, ...]:
    return tuple(_host(each, port) for each in places.split(","))


def _host(text: str, port: int) -> Host:
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([^:\[\]]*))(?::(\d{1,5}))?", text)
    if found is None:
        raise ConfigurationError(f"{HELP}.")
    return found[1] or found[2] or "localhost", int(found[3] or port)


def _tls(query: "_Query") -> ssl.SSLContext:
    """As the addresses of redis-py say it: ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_cert_reqs=none."""
    authority, certificate, key = (
        query.text(name) for name in ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile")
    )
    try:
        context = ssl.create_default_context(cafile=authority or None)
        if certificate:
            context.load_cert_chain(certificate, key or None)
    except OSError as error:
        raise ConfigurationError(
            f"The files that the store's address names cannot be read: {error}."
        ) from None
    if query.text("ssl_cert_reqs", "required", re.compile("required|none")) == "none":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


class _Query:
    """The settings of an address; what nobody takes is a mistake."""

    def __init__(self, text: str) -> None:
        self._values = dict(parse_qsl(text, keep_blank_values=True))

    def put(self, name: str, value: str) -> None:
        self._values.setdefault(name, value)

    def text(self, name: str, default: str = "", allowed: re.Pattern[str] | None = None) -> str:
        value = self._values.pop(name, default)
        if allowed is not None and not allowed.fullmatch(value):
            raise ConfigurationError(f"Give another {name} in the store's address; this one cannot be used.")
        return value

    def whole(self, name: str, default: int, least: int, most: int) -> int:
        value = self.text(name, str(default))
        if not re.fullmatch(r"\d{1,9}", value) or not least <= int(value) <= most:
            raise ConfigurationError(
                f"Give {name} in the store's address as a number from {least} to {most}."
            )
        return int(value)

    def seconds(self, name: str, default: str) -> float:
        value = self.text(name, default)
        found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(ms|s)", value)
        length: Callable[[str], float] = float
        if found is None or not length(found[1]):
            raise ConfigurationError(f"Give {name} in the store's address as a time such as 500ms or 2s.")
        return length(found[1]) / (1000 if found[2] == "ms" else 1)

    def must_be_empty(self) -> None:
        if self._values:
            found = min(self._values)
            # A password with a ? in it looks like settings, and must not be shown.
            shown = f": {found}" if re.fullmatch(r"[a-z_]{1,32}", found) else ""
            raise ConfigurationError(
                f"The store's address has a setting that is not known{shown}. Known are db, "
                "prefix, shards, timeout, takeover, ssl_ca_certs, ssl_certfile, ssl_keyfile, ssl_cert_reqs, "
                "sentinel_username and sentinel_password."
            )
