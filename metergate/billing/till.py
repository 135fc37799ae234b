"""The till: what the office asks of payments, in the policy's words."""

import dataclasses
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from metergate import alarms
from metergate.billing import braking, offers, refunding
from metergate.billing.cashier import Cashier
from metergate.billing.inbox import Inbox
from metergate.billing.orders import minor_of
from metergate.billing.providers import Opened, able
from metergate.billing.pushing import Pusher
from metergate.billing.reconciling import Reconciled, reconcile
from metergate.core.money import plain
from metergate.core.policy import Policy
from metergate.core.price import PerUnit
from metergate.errors import InvalidInput
from metergate.ledger import accounts
from metergate.ledger.accounts import Account
from metergate.ledger.database import Tx
from metergate.ledger.payments import Payment
from metergate.ledger.reversals import Refund
from metergate.ports import Change
from metergate.provider_port import Catalogue, Item, Method, Methods, Money, Portal, UsageSink, capabilities

log = logging.getLogger("metergate.billing")
T = TypeVar("T")
Json = dict[str, Any]
HEALTH_US = 30 * 10**6


@dataclasses.dataclass(frozen=True, slots=True)
class Addresses:
    """Where payers may go back to."""

    default: str
    """Empty where there is none: then the provider's own page says that it is done."""
    origins: tuple[str, ...]


class Till:
    def __init__(
        self,
        cashier: Cashier,
        inbox: Inbox,
        policy: Callable[[], Policy],
        addresses: Callable[[], Addresses],
        told: Callable[[], None],
        pusher: Pusher,
    ) -> None:
        """`told` is called when there is something for the worker to look at."""
        self._cashier = cashier
        self._inbox = inbox
        self._policy = policy
        self._addresses = addresses
        self._told = told
        self._pusher = pusher
        self._asked: dict[str, tuple[int, Json]] = {}
        self.drift: int | None = None
        """How many differences the last reconcile found."""

    async def buy(
        self,
        account: str,
        *,
        pack: str = "",
        plan: str = "",
        nanos: int = 0,
        currency: str = "",
        id: str = "",
        actor: str = "",
        **how: Any,
    ) -> Payment:
        """Have an account pay for a pack, a plan or an amount of credits."""
        policy = self._policy()
        kept = (await self._account(account)).currency
        if currency and currency != kept:
            raise InvalidInput(f"The account {account} is kept in {kept}: pay in that currency.")
        description = how.pop("description", "")
        if pack:
            wanted = offers.of_pack(account, pack, policy)
        elif plan:
            wanted = offers.of_plan(account, plan, policy)
        else:
            wanted = offers.of_amount(account, nanos, kept)
        if description:
            wanted = wanted._replace(description=description)
        addresses = self._addresses()
        for name in ("success_url", "cancel_url"):
            url = how.get(name)
            how[name] = offers.safe_return(url, addresses.origins) if url else addresses.default
        how["source"] = braking.source_of(how.get("source", ""))
        return await self._cashier.pay(wanted._replace(**how), id, actor)

    async def verify(self, id: str) -> Payment:
        return await self._cashier.verify(id)

    async def capture(self, id: str, nanos: int | None, actor: str) -> Payment:
        return await self._cashier.capture(id, await self._part(id, nanos), actor)

    async def cancel(self, id: str, actor: str) -> Payment:
        return await self._cashier.cancel(id, actor)

    async def claim(self, id: str, transaction: str, signature: str, actor: str) -> Payment:
        return await self._cashier.claim(id, transaction, signature, actor)

    async def refund(self, payment: str, nanos: int | None, id: str, actor: str) -> Refund:
        part = await self._part(payment, nanos)
        return await refunding.refund(self._cashier, payment, part, id, actor)

    async def methods(self, account: str) -> Sequence[Mapping[str, str]]:
        opened, customer = await self._customer(account)
        keeper = able(opened, Methods, "keep payment methods")
        return [_method(each) for each in await self._answer(opened, keeper.list_methods(customer))]

    async def attach(self, account: str, token: str, source: str) -> Mapping[str, str]:
        now_us, brakes = self._cashier.clock(), self._policy().brakes

        def counted(tx: Tx) -> tuple[None, Sequence[Change]]:
            braking.may_attach(tx, brakes, account, braking.source_of(source), now_us)
            return None, ()

        await self._cashier.write(counted)
        opened, customer = await self._customer(account)
        keeper = able(opened, Methods, "keep payment methods")
        return _method(await self._answer(opened, keeper.attach_method(customer, token)))

    async def detach(self, account: str, method: str) -> None:
        opened, customer = await self._customer(account)
        keeper = able(opened, Methods, "keep payment methods")
        kept = await self._answer(opened, keeper.list_methods(customer))
        if method not in [each.id for each in kept]:
            raise InvalidInput(f"The account {account} has no payment method {method}.")
        await self._answer(opened, keeper.detach_method(customer, method))

    async def portal(self, account: str, return_url: str) -> str:
        opened, customer = await self._customer(account)
        addresses = self._addresses()
        back = offers.safe_return(return_url, addresses.origins) if return_url else addresses.default
        portal = able(opened, Portal, "show customers a page of their own")
        return await self._answer(opened, portal.portal_url(customer, back))

    async def import_customer(
        self, account: str, provider: str, external_id: str, actor: str
    ) -> Mapping[str, str]:
        opened = self._cashier.providers.get(provider)
        owner = await self._account(account)
        id = await self._cashier.import_customer(opened, owner, external_id, actor)
        return {"account": account, "provider": provider, "customer": id}

    async def known(self) -> Sequence[Json]:
        """The providers, how they are, and what they can do."""
        return [await self._shown(each) for each in self._cashier.providers.all]

    async def _shown(self, opened: Opened) -> Json:
        """Asked at most twice a minute: probes ask for health all the time."""
        now_us = self._cashier.clock()
        asked_us, shown = self._asked.get(opened.name, (0, {}))
        if abs(now_us - asked_us) > HEALTH_US or not shown:
            shown = await _shown(opened)
            self._asked[opened.name] = (now_us, shown)
        return shown

    async def sync(self, provider: str) -> Sequence[Json]:
        """List the policy at one provider, or at all that have a catalogue."""
        providers = self._cashier.providers
        chosen = [providers.get(provider)] if provider else providers.all
        done: list[Json] = []
        for opened in chosen:
            if provider or isinstance(opened.provider, Catalogue):
                lister = able(opened, Catalogue, "list meters, plans and packs")
                synced = await self._answer(opened, lister.sync_catalogue(catalogue(self._policy())))
                done += [{"provider": opened.name, **each._asdict()} for each in synced]
        return done

    async def reconcile(self, provider: str, account: str | None, *, repair: bool) -> Reconciled:
        """Compare the ledger, the intents and what providers show of usage."""
        if provider:
            able(self._cashier.providers.get(provider), UsageSink, "count usage")
        if account is not None:
            await self._account(account)
        found = await reconcile(self._pusher, provider, account, repair=repair)
        self.drift = len(found.differences)
        if found.differences:
            sentence = f"Reconcile found {self.drift} differences of usage between ledger and providers."
            alarms.tell(log, alarms.DRIFT, sentence)
        return found

    def pushing(self) -> Mapping[str, int]:
        """How usage for providers is going, in numbers."""
        return self._pusher.numbers()

    def heard(self) -> Mapping[str, Mapping[str, int]]:
        """What this process knows of each provider's news."""
        inbox = self._inbox
        return {
            each.name: {"forged": inbox.forged.get(each.name, 0), "last_us": inbox.last_us.get(each.name, 0)}
            for each in self._cashier.providers.all
        }

    def look_again(self) -> None:
        self._told()

    async def _account(self, id: str) -> Account:
        return await self._cashier.books.ledger.read(lambda tx: accounts.known(tx, id))

    async def _customer(self, account: str) -> tuple[Opened, str]:
        owner = await self._account(account)
        opened = self._cashier.providers.choose(owner, owner.currency)
        return opened, await self._cashier.customer(opened, owner)

    async def _answer(self, opened: Opened, answer: Awaitable[T]) -> T:
        return await self._cashier.asking.of(opened.name, answer)

    async def _part(self, payment: str, nanos: int | None) -> Money | None:
        if nanos is None:
            return None
        return minor_of(nanos, (await self._cashier.get(payment)).currency)


def catalogue(policy: Policy) -> Sequence[Item]:
    """What a policy sells, as providers list it."""
    currency = policy.currency
    items = [_meter(name, policy) for name in policy.meters]
    for plan in policy.plans.values():
        if plan.price is not None and plan.price.amount > 0:
            price = minor_of(plan.price.amount, currency)
            items.append(Item("plan", plan.id, plan.name or plan.id, price, str(plan.price.every)))
    packs = [Item("pack", each.id, each.id, minor_of(each.price, currency)) for each in policy.packs.values()]
    return [*items, *packs]


def _meter(name: str, policy: Policy) -> Item:
    """A meter with its price, where it has one for all units; others are priced here and not there."""
    rules = policy.prices.get(name, ())
    price = rules[0].price if len(rules) == 1 and not rules[0].when else None
    if not isinstance(price, PerUnit):
        return Item("meter", name, name, currency=policy.currency)
    rate = price.rate
    return Item(
        "meter", name, name, unit_price=plain(rate.numerator), per=rate.denominator, currency=policy.currency
    )


def _method(method: Method) -> Mapping[str, str]:
    """The fingerprint is between us and the provider."""
    told = method._asdict()
    del told["fingerprint"]
    return told


async def _shown(opened: Opened) -> Json:
    started = time.perf_counter_ns()
    health = await opened.provider.health()
    return {
        "latency_us": (time.perf_counter_ns() - started) // 1000,
        "name": opened.name,
        "adapter": opened.adapter,
        "mode": "live" if opened.provider.live else "test",
        "state": "ok" if health.ok else "down",
        "detail": health.detail or None,
        "capabilities": list(capabilities(opened.provider)),
    }
