"""Where a request comes from, as far as an address tells it."""

from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

PREFIX_OF_ONE = 64
"""So many bits of an IPv6 address are one caller, who can choose the rest."""
FORWARDED = b"x-forwarded-for"


class Sources:
    """What a proxy in front says of its client counts where the policy trusts it."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._trusted = [ip_network(each) for each in trusted]

    def of(self, client: Sequence[object] | None, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The address that asks; empty where that is a proxy that names nobody, or is not known."""
        address = str(client[0]) if client else ""
        if self._trusted and self._trusts(address):
            said = b",".join([value for name, value in headers if name == FORWARDED]).decode("latin-1")
            chain = [each.strip() for each in said.split(",")]
            address = next((each for each in reversed(chain) if not self._trusts(each)), "")
        return address if is_address(address) else ""

    def _trusts(self, address: str) -> bool:
        return is_address(address) and any(ip_address(address) in each for each in self._trusted)


def within(address: str, networks: Iterable[str]) -> bool:
    """Whether it is in one of them; an IPv4 address may be written as one of IPv6."""
    if not is_address(address):
        return False
    found = ip_address(address)
    plain = getattr(found, "ipv4_mapped", None) or found
    return any(plain in ip_network(each) for each in networks)


def one_caller(address: str) -> str:
    """Of an IPv6 address the network that one caller has."""
    if ":" in address and is_address(address):
        return str(ip_network((address, PREFIX_OF_ONE), strict=False))
    return address


def is_address(text: str) -> bool:
    try:
        ip_address(text)
    except ValueError:
        return False
    return True
