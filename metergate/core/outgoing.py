"""What goes out to others: how it is signed, and where it may go.

Signatures are those of Standard Webhooks: HMAC-SHA256 over id, time and body, under a secret that both know.
"""

import base64
import hashlib
import hmac
from collections.abc import Sequence
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

PREFIX: Final = "whsec_"
URL_MAX: Final = 2000
LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})
"""How this machine is written where plain http will do."""
_NAT64: Final = ip_network("64:ff9b::/96")
_SIX_TO_FOUR: Final = ip_network("2002::/16")


def secret(pepper: bytes, endpoint: str, version: int) -> str:
    """The secret of an endpoint. It is made of what is kept elsewhere, so that no database holds it."""
    made = hmac.digest(pepper, f"endpoint\n{endpoint}\n{version}".encode(), hashlib.sha256)
    return PREFIX + base64.b64encode(made).decode()


def signature(secrets: Sequence[str], id: str, at_s: int, body: bytes) -> str:
    """The header webhook-signature: one signature for each secret that is valid now."""
    signed = b"%s.%d.%s" % (id.encode(), at_s, body)
    return " ".join([_one(base64.b64decode(each.removeprefix(PREFIX)), signed) for each in secrets])


def _one(key: bytes, signed: bytes) -> str:
    return "v1," + base64.b64encode(hmac.digest(key, signed, hashlib.sha256)).decode()


def url_problem(url: str) -> str:
    """Why nothing is sent to an address, as one sentence; empty when it is well written."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return "Give an address that begins with https:// and names a host."
    plain = url.isascii() and url.isprintable() and not set(' "<>\\^`{|}') & set(url)
    if parts.scheme not in ("http", "https") or not host or port == 0 or not plain or len(url) > URL_MAX:
        return f"Give an address of at most {URL_MAX} characters that begins with https:// and names a host."
    if parts.username is not None or parts.password is not None:
        return "Leave user and password out of the address: what comes is signed."
    if parts.fragment:
        return "Leave the part behind # out of the address."
    if parts.scheme == "http" and host not in LOOPBACK:
        return "Use https; http is for loopback only."
    return ""


def may_go_to(host: str, address: str, allowed: Sequence[str]) -> bool:
    """Whether an address that a name stands for may be connected to.

    Public ones may, and those that the operator has listed; loopback where that is what was written. A name
    that leads to loopback or into a private network may not: names are changed by others.
    """
    found = ip_address(address.partition("%")[0])
    inner = _inner(found)
    if any(found in ip_network(net) or inner in ip_network(net) for net in allowed):
        return True
    if host in LOOPBACK:
        return inner.is_loopback
    return _is_public(found) and _is_public(inner)


def _is_public(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not address.is_multicast and not address.is_reserved


def _inner(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    """The IPv4 address inside of one that only wraps it, so that no wrapping hides where it leads."""
    if isinstance(address, IPv4Address):
        return address
    if address.ipv4_mapped is not None:
        return address.ipv4_mapped
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    if address in _SIX_TO_FOUR:
        return IPv4Address(int(address) >> 80 & 0xFFFFFFFF)
    return address
