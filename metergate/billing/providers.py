"""The payment providers of a policy, and which of them is for whom."""

import fnmatch
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple, TypeVar

from metergate.errors import InvalidInput, NoProvider, ProviderError
from metergate.ledger import provider_notes
from metergate.ledger.accounts import Account
from metergate.ledger.thread import LedgerThread
from metergate.provider_port import Provider

T = TypeVar("T")


class Rule(NamedTuple):
    """A provider, and the accounts it is chosen for: patterns of their facts; none at all is for the rest."""

    name: str
    when: Mapping[str, str] = {}

    def fits(self, facts: Mapping[str, str]) -> bool:
        return all(fnmatch.fnmatchcase(facts.get(fact, ""), pattern) for fact, pattern in self.when.items())


class Opened(NamedTuple):
    name: str
    provider: Provider
    adapter: str


class Providers:
    def __init__(self, opened: Sequence[Opened] = (), rules: Sequence[Rule] = ()) -> None:
        self._opened = {each.name: each for each in opened}
        self._rules = sorted(rules, key=lambda rule: not rule.when)  # the rest comes last

    def __bool__(self) -> bool:
        return bool(self._opened)

    @property
    def all(self) -> Sequence[Opened]:
        return tuple(self._opened.values())

    def get(self, name: str) -> Opened:
        found = self._opened.get(name)
        if found is None:
            known = ", ".join(self._opened) or "none"
            raise InvalidInput(f"There is no payment provider {name!r:.40}; the policy has {known}.")
        return found

    def named(self, name: str, account: Account, currency: str) -> Opened:
        """One that somebody asked for. Play money buys nothing for whom a rule has a real provider."""
        found = self.get(name)
        real = not found.provider.live and any(each.provider.live for each in self.all)
        if real and self.choose(account, currency).provider.live:
            raise InvalidInput(
                f"No real money moves at {name}: have a rule of `providers:` choose it for {account.id}."
            )
        return found

    def find(self, name: str) -> Opened | None:
        """By its name, or by what its adapter is called where only one is of that kind."""
        alike = [each for each in self._opened.values() if each.adapter == name]
        return self._opened.get(name) or (alike[0] if len(alike) == 1 else None)

    def choose(self, account: Account, currency: str) -> Opened:
        """The provider of the first rule that fits the account."""
        region = account.metadata.get("region")
        facts = {
            "account": account.id,
            "currency": currency,
            "plan": account.plan,
            "region": region if isinstance(region, str) else "",
        }
        for rule in self._rules:
            if rule.fits(facts) and rule.name in self._opened:
                return self._opened[rule.name]
        if not self._opened:
            raise NoProvider("No payment provider is set: name one with `provider:` in the policy.")
        raise ProviderError(f"No payment provider is for {account.id}: add a `default` to `providers:`.")


def able(opened: Opened, protocol: type[T], what: str) -> T:
    """The provider as one that can do this."""
    if not isinstance(opened.provider, protocol):
        raise ProviderError(f"{opened.name} cannot {what}; choose another provider for it.")
    return opened.provider


class LedgerNotes:
    """`provider_port.Notes` in the ledger."""

    def __init__(self, ledger: Callable[[], LedgerThread], provider: str) -> None:
        self._ledger = ledger
        self._provider = provider

    async def read(self, name: str) -> str | None:
        return await self._ledger().read(lambda tx: provider_notes.read(tx, self._provider, f"own/{name}"))

    async def take(self, name: str, text: str) -> bool:
        return await self._ledger().write(
            lambda tx: provider_notes.take(tx, self._provider, f"own/{name}", text)
        )

    async def write(self, name: str, text: str) -> None:
        await self._ledger().write(lambda tx: provider_notes.write(tx, self._provider, f"own/{name}", text))

    async def forget(self, name: str) -> None:
        await self._ledger().write(lambda tx: provider_notes.forget(tx, self._provider, f"own/{name}"))

    async def listed(self, prefix: str) -> Mapping[str, str]:
        found = await self._ledger().read(
            lambda tx: provider_notes.listed(tx, self._provider, f"own/{prefix}")
        )
        return {name.removeprefix("own/"): text for name, text in found.items()}
