"""Where a request comes from, as far as an address tells it."""

from collections.abc import Iterable, Sequence

from metergate.core.addresses import Proxies, is_address

FORWARDED = b"x-forwarded-for"


class Sources:
    """What a proxy in front says of its client counts where the policy trusts it."""

    def __init__(self, trusted: Iterable[str]) -> None:
        self._proxies = Proxies(trusted)

    def of(self, client: Sequence[object] | None, headers: Iterable[tuple[bytes, bytes]]) -> str:
        """The address that asks; empty where that is a proxy that names nobody, or is not known."""
        address = str(client[0]) if client else ""
        if self._proxies.trust(address):
            said = b",".join([value for name, value in headers if name == FORWARDED])
            address = self._proxies.chain(said, address)[0]
            if self._proxies.trust(address):
                return ""
        return address if is_address(address) else ""
