"""Payments: our row first, then the provider, then what the provider says; every step can be repeated.

Where an answer was lost the provider is asked for the payment by our id, before anything is sent again.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from metergate import alarms
from metergate.billing import braking, orders, telling
from metergate.billing.asking import Asking
from metergate.billing.matching import mismatch
from metergate.billing.orders import Wanted
from metergate.billing.providers import Opened, Providers, able
from metergate.billing.settling import MISMATCHED, Settled, settle
from metergate.core.guards import Brakes
from metergate.errors import InvalidInput, ProviderError
from metergate.ledger import accounts, audit, customers, payments
from metergate.ledger.accounts import Account
from metergate.ledger.database import Tx
from metergate.ledger.errors import Conflict
from metergate.ledger.payments import Payment
from metergate.ledger.telling import NotTold
from metergate.ledger.thread import LedgerThread
from metergate.ports import Change, Clock
from metergate.provider_port import (
    CANCELED,
    FAILED,
    PENDING,
    PLAN,
    SUCCEEDED,
    Approvals,
    Captures,
    Charges,
    Checkouts,
    Claims,
    Customers,
    Declined,
    Lookups,
    Money,
    NeedsAction,
    Payer,
    PaymentFacts,
    Picky,
    Subscriptions,
    UnknownOutcome,
)

log = logging.getLogger("metergate.billing")
T = TypeVar("T")
Work = Callable[[Tx], tuple[T, Sequence[Change]]]


class Books(Protocol):
    """Who changes the ledger and tells the counters."""

    @property
    def ledger(self) -> LedgerThread: ...

    async def change(self, work: Work[T], grants: Sequence[str] = ()) -> T: ...


class Cashier:
    def __init__(
        self,
        books: Callable[[], Books],
        providers: Callable[[], Providers],
        clock: Clock,
        *,
        shared: bool,
        brakes: Callable[[], Brakes] = Brakes,
    ) -> None:
        """`shared` says that what the counters were not told is written down in the ledger."""
        self._brakes = brakes
        self._books = books
        self.clock = clock
        self.asking = Asking(clock)
        self.moved: Counter[tuple[str, str]] = Counter()
        """How many payments of each provider came to which state here."""
        self._providers = providers
        self._shared = shared
        self._owed: list[Change] = []

    @property
    def books(self) -> Books:
        return self._books()

    @property
    def providers(self) -> Providers:
        """The providers of the running policy."""
        return self._providers()

    # -- paying --------------------------------------------------------------------------------------------

    async def pay(self, wanted: Wanted, id: str = "", actor: str = "") -> Payment:
        """Charge a kept method, or open a page to pay on. The same id again goes on with the same payment."""
        id = id or orders.new_id()
        now_us = self.clock()

        def begin(tx: Tx) -> tuple[Payment, Sequence[Change]]:
            account = accounts.known(tx, wanted.account)
            _must_be_payable(account, wanted)
            named, providers = wanted.provider, self.providers
            whose = (account, account.currency)
            chosen = providers.named(named, *whose) if named else providers.choose(*whose)
            _must_like(chosen, wanted.amount)
            if wanted.kind == PLAN:
                able(chosen, Subscriptions, "renew plans")
            row = orders.a_row(id, wanted, chosen.name, live=chosen.provider.live, now_us=now_us)
            if payments.get(tx, id) is None:
                braking.may_pay(tx, self._brakes(), account.id, wanted.source, now_us)
            if payments.insert(tx, row):
                told = {"account": account.id, "minor": row.minor, "currency": row.currency, "kind": row.kind}
                audit.note(tx, now_us, actor or "system", "payment.create", id, told)
            else:
                known = payments.get(tx, id)
                if known is None or not orders.alike(known, row):
                    raise Conflict(f"The payment {id} was asked for with other contents: use another id.")
                return known, ()
            return row._replace(unknown=False), ()

        return await self._go_on(await self.write(begin))

    async def _go_on(self, payment: Payment) -> Payment:
        """Bring a payment to the provider, unless it is there already."""
        if payment.unknown:
            payment = await self.verify(payment.id)
        if payment.state != PENDING or payment.checkout_id or payment.external_id:
            return payment
        try:
            return await self._send(payment)
        except UnknownOutcome:
            payment = await self.verify(payment.id)
            if payment.unknown:
                raise
            # It was done, or surely not: saying it again with the same id does it once, and answers.
            done = payment.state != PENDING or payment.external_id
            return payment if done else await self._send(payment)

    async def _send(self, payment: Payment) -> Payment:
        opened = self.providers.get(payment.provider)
        account = await self.books.ledger.read(lambda tx: accounts.known(tx, payment.account))
        await self._note(payment.id, unknown=True)
        asked_us = self.clock()
        try:
            customer = await self.customer(opened, account)
            order = orders.order_of(payment._replace(customer=customer), account)
            await self._note(payment.id, customer=customer)
            method = orders.method_of(payment)
            if method:
                charges = able(opened, Charges, "charge a kept payment method")
                facts = await self.asking.of(opened.name, charges.charge(order, method))
                return (await self.settled(payment.id, facts, asked_us)).payment
            checkouts = able(opened, Checkouts, "open a page to pay on")
            made = await self.asking.of(opened.name, checkouts.open_checkout(order))
        except NeedsAction as asked:
            return await self._note(payment.id, unknown=False, url=asked.url, reason=str(asked))
        except Declined as declined:
            await self.fail(payment.id, str(declined))
            raise
        except UnknownOutcome:
            raise
        except (ProviderError, InvalidInput) as error:
            await self._note(payment.id, unknown=False, reason=str(error))
            raise
        return await self._note(
            payment.id,
            unknown=False,
            checkout_id=made.id,
            url=made.url,
            details=json.dumps(dict(made.details)),
        )

    async def verify(self, id: str) -> Payment:
        """Ask the provider what has become of a payment, and believe it."""
        payment = await self.get(id)
        lookups = self._opened(payment).provider
        if not isinstance(lookups, Lookups):
            return payment
        name = payment.external_id or payment.checkout_id
        asked_us = self.clock()
        answer = lookups.fetch_payment(name) if name else lookups.find_payment(payment.id)
        facts = await self.asking.of(payment.provider, answer)
        if facts is not None:
            return (await self.settled(id, facts, asked_us)).payment
        if payment.unknown:
            return await self._note(id, unknown=False)
        return payment

    async def capture(self, id: str, amount: Money | None = None, actor: str = "") -> Payment:
        """Take what was authorised, or a part of it: then the account gets that part of the credits."""
        payment = await self.verify(id)
        if payment.state == SUCCEEDED:
            return payment
        captures = able(self._opened(payment), Captures, "capture payments")
        if not payment.capturable:
            raise InvalidInput(f"The payment {id} is not authorised, so there is nothing to capture.")
        if amount is not None or "asked" in json.loads(payment.terms):
            payment = await self._capture_part(payment, amount)
        await self._audit(actor, "payment.capture", id)
        name = payment.external_id or payment.checkout_id or ""
        asked_us = self.clock()
        try:
            answer = captures.capture_payment(name, amount, f"{id}-capture")
            facts = await self.asking.of(payment.provider, answer)
        except UnknownOutcome:
            return await self.verify(id)
        return (await self.settled(id, facts, asked_us)).payment

    async def cancel(self, id: str, actor: str = "") -> Payment:
        """Give up a payment that nobody has paid."""
        payment = await self.verify(id)
        if payment.state != PENDING:
            raise InvalidInput(f"The payment {id} is {payment.state}; only a pending one can be canceled.")
        name = payment.external_id or payment.checkout_id or ""
        if not name and not payment.unknown:  # no provider has ever heard of it
            await self._audit(actor, "payment.cancel", id)
            facts = PaymentFacts("", id, CANCELED, Money(payment.minor, payment.currency), payment.live)
            return (await self.settled(id, facts)).payment
        captures = able(self._opened(payment), Captures, "cancel payments")
        await self._audit(actor, "payment.cancel", id)
        asked_us = self.clock()
        facts = await self.asking.of(payment.provider, captures.cancel_payment(name))
        return (await self.settled(id, facts, asked_us)).payment

    async def claim(self, id: str, transaction: str, signature: str = "", actor: str = "") -> Payment:
        """A payer names the transaction that pays a payment."""
        payment = await self.get(id)
        claims = able(self._opened(payment), Claims, "be told of transactions")
        asked_us = self.clock()
        answer = claims.claim_payment(id, transaction, signature)
        facts = await self.asking.of(payment.provider, answer)
        await self._audit(actor, "payment.claim", id, {"transaction": transaction})
        return (await self.settled(id, facts, asked_us)).payment

    # -- what the others use -------------------------------------------------------------------------------

    async def settled(self, id: str, facts: PaymentFacts, said_us: int = 0) -> Settled:
        """Believe what a provider says of a payment, with everything that follows."""
        found = await self._believe(id, facts, said_us)
        if facts.approved and found.payment.state == PENDING and not mismatch(found.payment, facts):
            return await self._complete(found.payment, facts.id)
        return found

    async def _complete(self, payment: Payment, name: str) -> Settled:
        """Do what the payer has approved. After a decline he may approve something else on the same page."""
        approvals = able(self._opened(payment), Approvals, "complete what a payer has approved")
        asked_us = self.clock()
        try:
            done = await self.asking.of(payment.provider, approvals.complete_payment(name))
        except (Declined, NeedsAction) as declined:
            return Settled(await self._note(payment.id, reason=str(declined)), ())
        return await self._believe(payment.id, done, asked_us)

    async def _believe(self, id: str, facts: PaymentFacts, said_us: int) -> Settled:
        def work(tx: Tx) -> tuple[Settled, Sequence[Change]]:
            found = settle(tx, id, facts, self.clock(), said_us)
            if found is None:
                raise InvalidInput(f"There is no payment {id:.80}.")
            return found, found.changes

        found = await self.write(work)
        self._count(found.payment, found.became)
        return found

    async def get(self, id: str) -> Payment:
        found = await self.books.ledger.read(lambda tx: payments.get(tx, id))
        if found is None:
            raise InvalidInput(f"There is no payment {id:.80}.", reason="unknown_payment")
        return found

    async def customer(self, opened: Opened, account: Account) -> str:
        """What the provider calls the account; empty where it has no customers."""
        keeper = opened.provider
        if not isinstance(keeper, Customers):
            return ""
        known = await self.books.ledger.read(lambda tx: customers.current(tx, account.id, opened.name))
        if known is not None:
            return known.external_id
        payer = Payer(account.id, account.email, account.name)
        made = await self.asking.of(opened.name, keeper.create_customer(payer))
        return await self._keep_customer(opened, account.id, made.id)

    async def import_customer(
        self, opened: Opened, account: Account, external_id: str, actor: str = ""
    ) -> str:
        """Take a customer that the provider has already; the one before stays in the history."""
        keeper = able(opened, Customers, "keep customers")
        found = await self.asking.of(opened.name, keeper.fetch_customer(external_id))
        if found is None:
            raise InvalidInput(f"{opened.name} has no customer {external_id:.80}.")
        return await self._keep_customer(opened, account.id, found.id, actor or "system")

    async def write(self, work: Work[T]) -> T:
        """Change the ledger and tell the counters, also what they could not be told the last time."""
        owed, self._owed = self._owed, []
        told: list[Change] = []

        def with_owed(tx: Tx) -> tuple[T, Sequence[Change]]:
            result, changes = work(tx)
            told[:] = [*owed, *changes]
            return result, told

        try:
            return await self.books.change(with_owed)
        except NotTold:
            self._owed += [] if self._shared else told
            raise
        except BaseException:
            self._owed += owed
            raise

    def _opened(self, payment: Payment) -> Opened:
        return self.providers.get(payment.provider)

    async def _keep_customer(self, opened: Opened, account: str, external_id: str, actor: str = "") -> str:
        now_us = self.clock()

        def work(tx: Tx) -> tuple[None, Sequence[Change]]:
            customers.put(tx, account, opened.name, external_id, now_us)
            if actor:  # somebody chose it
                told = {"provider": opened.name, "customer": external_id}
                audit.note(tx, now_us, actor, "customer.import", account, told)
            return None, ()

        await self.write(work)
        return external_id

    async def _capture_part(self, payment: Payment, amount: Money | None) -> Payment:
        """Note what is to be taken of what was asked for, also where less was to be taken and was not."""
        terms = json.loads(payment.terms)
        minor, all_credits = terms.setdefault("asked", [payment.minor, payment.credits])
        amount = amount or Money(minor, payment.currency)
        if amount.currency != payment.currency or not 0 < amount.minor <= minor:
            raise InvalidInput(f"Capture at most what was authorised, in {payment.currency}.")
        credits = all_credits * amount.minor // minor
        return await self._note(
            payment.id, minor=amount.minor, credits=credits, terms=json.dumps(terms, sort_keys=True)
        )

    async def fail(self, id: str, reason: str) -> None:
        """A decline ends what is pending, and never what somebody else has seen paid."""

        def work(tx: Tx) -> tuple[Payment | None, Sequence[Change]]:
            held = payments.get(tx, id, lock=True)
            if held is None or held.state != PENDING:
                return None, ()
            ended = {"state": FAILED, "reason": reason, "unknown": False, "look_at_us": None}
            payments.change(tx, id, updated_at_us=self.clock(), **ended)
            telling.moved(tx, held._replace(state=FAILED, reason=reason), self.clock())
            braking.failed(tx, held, self.clock())
            return held, ()

        failed = await self.write(work)
        if failed is not None:
            self._count(failed, FAILED)

    def _count(self, payment: Payment, became: str) -> None:
        if became:
            self.moved[payment.provider, became] += 1
        if became == MISMATCHED:
            sentence = f"The payment {payment.id} is not believed: metergate payments show says why."
            alarms.tell(log, alarms.MISMATCH, sentence)

    async def _audit(
        self, actor: str, action: str, id: str, details: Mapping[str, str] | None = None
    ) -> None:
        def work(tx: Tx) -> tuple[None, Sequence[Change]]:
            audit.note(tx, self.clock(), actor or "system", action, id, details)
            return None, ()

        await self.write(work)

    async def _note(self, id: str, **values: Any) -> Payment:
        def work(tx: Tx) -> tuple[Payment, Sequence[Change]]:
            payments.change(tx, id, updated_at_us=self.clock(), **values)
            found = payments.get(tx, id)
            assert found is not None, "payments are never deleted"
            return found, ()

        return await self.write(work)


def _must_be_payable(account: Account, wanted: Wanted) -> None:
    if wanted.amount.minor <= 0:
        raise InvalidInput("Pay an amount above zero.")
    if wanted.amount.currency != account.currency:
        raise InvalidInput(f"The account {account.id} is kept in {account.currency}: pay in that currency.")


def _must_like(chosen: Opened, amount: Money) -> None:
    picky = chosen.provider
    objection = picky.objection(amount) if isinstance(picky, Picky) else ""
    if objection:
        raise InvalidInput(objection)
