"""The bodies that are in memory because their calls are not decided yet, within bounds.

Whoever has a key, and no credits at all, could otherwise fill the memory with what is read before the call.
"""

from collections.abc import Mapping
from types import MappingProxyType

from metergate.core.refusal import Refusal

ACCOUNT_MAX = 128 * 1024 * 1024
ALL_MAX = 1024 * 1024 * 1024

TOO_MANY = Refusal(
    "too_many_open",
    "Too many long bodies at once; wait for answers before you send more.",
    scope="account",
    retry_after_us=10**6,
)
BUSY = Refusal("upstream_busy", retry_after_us=10**6)


class Bodies:
    def __init__(self, most: int = ACCOUNT_MAX, most_of_all: int = ALL_MAX) -> None:
        self._most = most
        self._most_of_all = most_of_all
        self._all = 0
        self._by_account: dict[str, int] = {}

    @property
    def kept(self) -> Mapping[str, int]:
        """How many bytes are kept, by account."""
        return MappingProxyType(self._by_account)

    def take(self, account: str, size: int) -> Refusal | None:
        """Make room for so many bytes more, or say why there is none."""
        kept = self._by_account.get(account, 0) + size
        if kept > self._most:
            return TOO_MANY
        if self._all + size > self._most_of_all:
            return BUSY
        self._by_account[account] = kept
        self._all += size
        return None

    def give(self, account: str, size: int) -> None:
        """They are kept no longer."""
        self._all -= size
        left = self._by_account.get(account, 0) - size
        if left > 0:
            self._by_account[account] = left
        else:
            self._by_account.pop(account, None)
