"""What the proxy needs to know: where it forwards to, and what it takes from clients."""

# pydantic copies the defaults of its models, so a mutable one is shared by nobody.
# ruff: noqa: RUF012

import re
from ipaddress import ip_network
from typing import Annotated

from pydantic import AfterValidator, BeforeValidator, WithJsonSchema

from metergate.config.fields import Duration, Flag, Header, Part, Positive, Text, Units, WebAddress
from metergate.config.interpolate import Hidden
from metergate.errors import ConfigurationError
from metergate.upstream import origin


def _plain_address(text: str) -> str:
    try:
        origin.parse(text)
    except ConfigurationError:
        raise ValueError(
            "write scheme, host and path alone, such as https://api.example.com; credentials go into headers"
        ) from None
    return text


def _one_line(text: str) -> str:
    if not re.fullmatch(r"[\t -~\x80-\xff]*", text):
        raise ValueError("write the value of a header on one line and in Latin letters")
    return Hidden(text.strip())


def _network(value: object) -> str:
    try:
        return str(ip_network(value if isinstance(value, str) else ""))
    except ValueError:
        raise ValueError("write an address or a network such as 10.0.0.0/8") from None


def _host(value: object) -> str:
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9.-]{1,253}(:[0-9]{1,5})?", value):
        raise ValueError("write a host such as api.example.com, with its port where clients type one")
    return value.lower()


Network = Annotated[str, BeforeValidator(_network), WithJsonSchema({"type": "string"})]
HostName = Annotated[str, BeforeValidator(_host), WithJsonSchema({"type": "string"})]


class Upstream(Part):
    """A service that the proxy stands in front of."""

    url: Annotated[WebAddress, AfterValidator(_plain_address)]
    """Where it is; only calls that are admitted get there."""
    headers: dict[Header, Annotated[Text, AfterValidator(_one_line)]] = {}
    """Headers added to every forwarded request, such as its credential from the environment."""
    timeout: Duration = 120_000_000
    """How long it may be silent, before its answer and in the middle of it; left out: 120s."""
    first_byte: Duration | None = None
    """How long its answer may take to begin; left out: as long as `timeout`."""
    connect: Duration = 10_000_000
    """How long connecting to it, or waiting for a free connection, may take; left out: 10s."""
    total: Duration | None = None
    """How long a call may take altogether; left out: as long as it is not silent."""
    connections: Positive = 512
    """How many connections to it may be open, so how many calls at once."""
    waiting: Units = 512
    """How many calls may wait for a connection before more are answered with 503."""
    cookies: Flag = False
    """Whether cookies pass, in both directions."""
    forwarded: Flag = True
    """Whether it is told who asks, in X-Forwarded-For, -Host and -Proto."""
    ca: Text = ""
    """A file with the certificates to trust; left out: those of the system."""


class Serve(Part):
    """What `metergate serve` takes from clients. Sizes are in bytes."""

    trusted_proxies: list[Network] = []
    """Addresses of proxies in front, whose X-Forwarded headers are believed."""
    hosts: list[HostName] = []
    """The hosts that are served; left out: any."""
    url_bytes: Positive = 8192
    """The longest path and query: 414 beyond."""
    header_bytes: Positive = 65_536
    """The most a request's headers may hold: 431 beyond."""
    header_count: Positive = 128
    """The most headers of a request: 431 beyond."""
    body_bytes: Positive = 67_108_864
    """The longest body, where the route says nothing else: 413 beyond."""
    head_within: Duration = 10_000_000
    """How long a request's head may take to come in: 408 beyond; left out: 10s."""
    body_silence: Duration = 30_000_000
    """How long a client may pause in its body: 408 beyond; left out: 30s."""
    read_silence: Duration = 60_000_000
    """How long a client may take nothing of its answer before it is cut off; left out: 60s."""
    keep_alive: Duration = 75_000_000
    """How long a connection is kept that nothing comes over; left out: 75s."""
    connections: Positive = 10_000
    """How many clients may be connected."""
    connections_per_address: Positive = 512
    """How many connections an address may have that is no trusted proxy: 429 beyond."""
    grace: Duration = 30_000_000
    """How long calls may go on after the end was asked for; left out: 30s."""
