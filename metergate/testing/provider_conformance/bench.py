"""An adapter on a stand-in of its provider, and short words for what the tests do with it."""

from collections.abc import Mapping, Sequence
from itertools import count
from typing import Any, NamedTuple, Protocol, TypeVar, runtime_checkable

import pytest

from metergate.errors import InvalidInput
from metergate.provider_port import (
    CANCELED,
    FAILED,
    PENDING,
    SUCCEEDED,
    Approvals,
    Charges,
    Checkout,
    Checkouts,
    Customers,
    Lookups,
    Methods,
    Money,
    Order,
    Payer,
    PaymentFacts,
    Provider,
    ProviderEvent,
    Webhooks,
)
from metergate.testing.clock import FakeClock

T = TypeVar("T")

# What a stand-in is told to do with the next request of the adapter.
BUSY, BROKEN, UNANSWERED = "busy", "broken", "unanswered"
"""429 before anything happens; 500 before anything happens; it is done, and no answer comes."""

HOUR_US = 3600 * 10**6
PRICE = Money(1999, "USD")


class Delivery(NamedTuple):
    """A webhook as it is sent, signed at the instant of the clock."""

    headers: Mapping[str, str]
    body: bytes


class Bench(Protocol):
    """An adapter on a stand-in of its provider. What the stand-in cannot play raises NotImplementedError."""

    provider: Provider
    clock: FakeClock

    async def pay(self, checkout: Checkout, *, declined: bool = False) -> None:
        """The payer pays at this checkout, or tries to; or approves of it, where we have to complete that."""

    async def dispute(self, payment: str) -> None:
        """The payer's bank takes all of a paid payment back, and the dispute is lost."""

    async def news(self) -> Sequence[Delivery]:
        """Every webhook that was sent by now, signed anew at the present instant."""

    def next_request(self, kind: str) -> None:
        """Play BUSY, BROKEN or UNANSWERED at the next request that creates or changes something."""

    def made(self) -> int:
        """How many payments (or open checkouts) the provider has."""

    def method_token(self, *, declined: bool = False) -> str:
        """What the provider's page would make of a card that pays, or that is declined."""


@runtime_checkable
class Renews(Protocol):
    """A bench whose stand-in plays subscriptions."""

    async def renew(self, subscription: str, *, paid: bool = True) -> None:
        """A period ends. The next one is paid for, or the payer's bank declines."""


@runtime_checkable
class Transfers(Protocol):
    """A bench whose payers transfer, and say which transaction pays what."""

    async def transfer(self, checkout: Checkout) -> tuple[str, str]:
        """Pay what is due; the transaction, and the payer's signature where one is needed."""


@pytest.mark.anyio
class OnBench:
    """What all parts of the contract have in common."""

    @pytest.fixture(scope="session")
    @classmethod
    def anyio_backend(cls) -> str:
        return "asyncio"

    @pytest.fixture
    async def bench(self) -> Bench:
        raise NotImplementedError("Override the fixture bench: it makes the adapter and its stand-in.")

    _numbers = count(1)

    def an_order(self, amount: Money = PRICE, **more: Any) -> Order:
        return Order(f"pay-{next(self._numbers)}", Payer("acct_1", "a@example.com", "A"), amount, **more)

    async def paid(self, bench: Bench, amount: Money = PRICE) -> PaymentFacts:
        """A payment that was made on a page."""
        order = self.an_order(amount)
        checkout = await able(bench, Checkouts).open_checkout(order)
        await bench.pay(checkout)
        return await self.known(bench, checkout.id, order.id)

    async def authorised(self, bench: Bench) -> PaymentFacts:
        """On a page, or with a kept method where the provider's page takes the money at once."""
        order = self.an_order(capture=False)
        try:
            checkout = await able(bench, Checkouts).open_checkout(order)
        except InvalidInput:
            charges, method, customer = await self.with_method(bench)
            return await charges.charge(order._replace(customer=customer), method)
        await bench.pay(checkout)
        return await self.known(bench, checkout.id, order.id)

    async def known(self, bench: Bench, id: str, order: str) -> PaymentFacts:
        """A payment as it is now: asked for, or put together from its news where nobody can be asked."""
        if isinstance(bench.provider, Lookups):
            return await self._asked(bench, bench.provider, id)
        parts = [event.payment for event in await self.read(bench) if event.payment is not None]
        named = {part.id for part in parts if part.order == order} - {""} | {id}
        return put_together(order, id, [part for part in parts if part.order == order or part.id in named])

    async def _asked(self, bench: Bench, lookups: Lookups, id: str) -> PaymentFacts:
        """As the provider says it is; what its payer has approved is completed, as the worker does it."""
        found = there(await lookups.fetch_payment(id))
        if not found.approved:
            return found
        assert (found.state, found.capturable) == (PENDING, False)
        return await able(bench, Approvals).complete_payment(found.id)

    async def read(self, bench: Bench) -> list[ProviderEvent]:
        """All the news there is, as the adapter understands it."""
        webhooks = able(bench, Webhooks)
        news = await play(bench.news())
        return [event for each in news for event in await webhooks.read_webhook(each.headers, each.body)]

    async def with_method(self, bench: Bench, *, declined: bool = False) -> tuple[Charges, str, str]:
        charges = able(bench, Charges)
        customer = (await able(bench, Customers).create_customer(Payer("acct_1", "a@example.com"))).id
        token = token_of(bench, declined=declined)
        return charges, (await able(bench, Methods).attach_method(customer, token)).id, customer


def able(bench: Bench, protocol: type[T]) -> T:
    """The adapter as one that can do this."""
    if not isinstance(bench.provider, protocol):
        pytest.skip(f"This provider has no {protocol.__name__}.")
    return bench.provider


def there(found: T | None) -> T:
    assert found is not None
    return found


async def play(wanted: Any) -> Any:
    try:
        return await wanted
    except NotImplementedError:
        pytest.skip("The stand-in cannot play this.")


def play_next(bench: Bench, kind: str) -> None:
    try:
        bench.next_request(kind)
    except NotImplementedError:
        pytest.skip("The stand-in cannot play this.")


def token_of(bench: Bench, *, declined: bool = False) -> str:
    try:
        return bench.method_token(declined=declined)
    except NotImplementedError:
        pytest.skip("The stand-in cannot play this.")


_CERTAINTY = (PENDING, FAILED, CANCELED, SUCCEEDED)


def put_together(order: str, id: str, parts: Sequence[PaymentFacts]) -> PaymentFacts:
    """What parts say together, in whatever order they came."""
    whole = PaymentFacts(id, order, PENDING, PRICE, live=False)
    for part in sorted(parts, key=lambda part: _CERTAINTY.index(part.state)):
        refunds = {each.id: each for each in sorted((*whole.refunds, *part.refunds), key=_turn)}
        disputes = {each.id: each for each in sorted((*whole.disputes, *part.disputes), key=_turn)}
        said = part if part.state != PENDING or part.capturable else whole
        whole = said._replace(
            id=said.id or whole.id,
            order=order,
            refunds=tuple(refunds.values()),
            disputes=tuple(disputes.values()),
        )
    return whole


def _turn(each: Any) -> tuple[int, bool]:
    return each.turn, each.state not in (PENDING, "open")
