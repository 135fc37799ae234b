"""Addresses: which of them are one caller, and whom the proxies in front say that they speak for."""

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network

BITS_OF_ONE = 64
"""So many bits of an IPv6 address are one caller, who can choose the rest."""


def is_address(text: str) -> bool:
    return _read(text) is not None


def one_caller(address: str) -> str:
    """The place that an address stands for. Who has one IPv6 address has a whole network of them."""
    found = _read(address)
    if isinstance(found, IPv6Address):
        return str(IPv6Network((int(found), BITS_OF_ONE), strict=False))
    return address if found is None else str(found)


def within(address: str, networks: Iterable[str]) -> bool:
    found = _read(address)
    return found is not None and any(found in ip_network(each) for each in networks)


class Proxies:
    """Those in front of us whose word counts."""

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        self._networks = [ip_network(each) for each in trusted]

    def trust(self, address: str) -> bool:
        found = _read(address) if self._networks else None
        return found is not None and any(found in each for each in self._networks)

    def chain(self, said: bytes, address: str) -> list[str]:
        """Those that are trusted, and the one before them; what that one says is hearsay."""
        chain = [address]
        for each in reversed(said.decode("latin-1").split(",")):
            if not self.trust(chain[0]) or not is_address(each.strip()):
                break
            chain.insert(0, each.strip())
        return chain


def _read(text: str) -> IPv4Address | IPv6Address | None:
    """An address of IPv4 may be written as one of IPv6, as it is where both are listened to at once."""
    try:
        found = ip_address(text)
    except ValueError:
        return None
    return found.ipv4_mapped or found if isinstance(found, IPv6Address) else found
