"""What follows from news of subscriptions and of invoices that a provider keeps."""

from collections.abc import Sequence
from typing import NamedTuple

from metergate.billing import telling
from metergate.billing.cashier import Cashier
from metergate.billing.providers import Opened, able
from metergate.ledger import accounts, customers, payments, subscriptions
from metergate.ledger.database import Tx
from metergate.ledger.inbox import DONE, IGNORED, REFUSED
from metergate.ledger.subscriptions import ProviderInvoice, Subscription
from metergate.ports import Change, PutAccount
from metergate.provider_port import (
    SUCCEEDED,
    InvoiceFacts,
    Invoices,
    ProviderEvent,
    SubscriptionFacts,
    Subscriptions,
)

PAID_FOR = ("trialing", "active", "past_due")
"""In these states a customer has the plan; while it is past due, a failed renewal is being tried again."""

RENEWED = ("trialing", "active")


class Handled(NamedTuple):
    state: str
    detail: str


async def subscription(cashier: Cashier, opened: Opened, event: ProviderEvent) -> Handled:
    """Ask for the subscription, and put its account on the plan that it pays for, or off it."""
    asked_us = cashier.clock()
    asked = able(opened, Subscriptions, "be asked for subscriptions").fetch_subscription(event.object)
    facts = await cashier.asking.of(opened.name, asked)
    if facts is None:
        return Handled(IGNORED, f"{opened.name} has no subscription {event.object:.80}.")
    return await believe(cashier, opened, facts, asked_us)


async def believe(cashier: Cashier, opened: Opened, facts: SubscriptionFacts, asked_us: int) -> Handled:
    """Write down what a subscription is now, if it is one of ours."""
    if facts.live != opened.provider.live:
        return Handled(REFUSED, "The subscription is of the other mode.")

    def work(tx: Tx) -> tuple[Handled, Sequence[Change]]:
        account = _account(tx, opened.name, facts.order, facts.customer)
        if not account:
            return Handled(IGNORED, "It is about no account of ours."), ()
        return Handled(DONE, facts.id), follow(tx, opened.name, account, facts, asked_us)

    return await cashier.write(work)


def follow(tx: Tx, provider: str, account: str, facts: SubscriptionFacts, now_us: int) -> Sequence[Change]:
    """Write down what a subscription is now, and the plan that follows from it."""
    known = subscriptions.named(tx, provider, facts.id)
    id = known.id if known else facts.order or f"{provider}:{facts.id}"
    period = (facts.period_start_us, facts.period_end_us, facts.ends)
    since = known.created_at_us if known else now_us
    named = (id, account, provider, facts.id, facts.plan, facts.state, facts.live)
    row = Subscription(*named, *period, since, now_us)
    if not subscriptions.put(tx, row):
        return ()
    telling.subscribed(tx, known, row)
    cause = f"subscription:{provider}:{facts.id}:{facts.state}:{facts.plan}:{now_us}"
    owner = accounts.known(tx, account)
    if facts.state not in PAID_FOR and owner.plan != _plan_before(tx, known, facts):
        return ()
    plan = subscriptions.paid_plan(tx, account, PAID_FOR)  # empty is the policy's default plan
    if owner.plan == plan or not accounts.assign_plan(tx, account, plan, now_us, cause):
        return ()
    return (PutAccount(accounts.known(tx, account).facts),)


def _plan_before(tx: Tx, known: Subscription | None, facts: SubscriptionFacts) -> str | None:
    """The plan that a subscription gave until it ended; of one that nobody told us of, what began it did."""
    if known is not None:
        return known.plan if known.state in PAID_FOR else None
    began = payments.get(tx, facts.order) if facts.order else None
    return began.subject if began is not None and began.state == SUCCEEDED else None


async def look_again(cashier: Cashier, known: Subscription) -> None:
    """Ask for a subscription whose period is over and of which no news has come."""
    opened = cashier.providers.find(known.provider)
    if opened is None or not isinstance(opened.provider, Subscriptions) or known.external_id is None:
        return
    asked_us = cashier.clock()
    facts = await cashier.asking.of(opened.name, opened.provider.fetch_subscription(known.external_id))
    if facts is not None:
        await believe(cashier, opened, facts, asked_us)


async def end_outdone(cashier: Cashier, known: Subscription) -> None:
    """Who bought another plan does not go on paying for the one before: it is not renewed any more."""
    opened = cashier.providers.find(known.provider)
    if opened is None or not isinstance(opened.provider, Subscriptions) or known.external_id is None:
        return
    asked_us = cashier.clock()
    asked = opened.provider.cancel_subscription(known.external_id, at_period_end=True)
    await believe(cashier, opened, await cashier.asking.of(opened.name, asked), asked_us)


async def invoice(cashier: Cashier, opened: Opened, event: ProviderEvent) -> Handled:
    """Ask for the invoice, and keep what it is now."""
    asked_us = cashier.clock()
    asked = able(opened, Invoices, "be asked for invoices").fetch_invoice(event.object)
    facts = await cashier.asking.of(opened.name, asked)
    if facts is None:
        return Handled(IGNORED, f"{opened.name} has no invoice {event.object:.80}.")
    if facts.live != opened.provider.live:
        return Handled(REFUSED, "The invoice is of the other mode.")

    def work(tx: Tx) -> tuple[Handled, Sequence[Change]]:
        account = _account(tx, opened.name, "", facts.customer)
        if not account:
            return Handled(IGNORED, "It is about no account of ours."), ()
        known = subscriptions.invoice(tx, opened.name, facts.id)
        row = _row(opened.name, account, facts, asked_us)
        if subscriptions.put_invoice(tx, row):
            telling.invoiced(tx, known, row)
        return Handled(DONE, facts.id), ()

    return await cashier.write(work)


def _row(provider: str, account: str, facts: InvoiceFacts, now_us: int) -> ProviderInvoice:
    return ProviderInvoice(
        account=account,
        provider=provider,
        external_id=facts.id,
        invoice=facts.invoice,
        subscription=facts.subscription,
        state=facts.state,
        live=facts.live,
        currency=facts.amount.currency,
        minor=facts.amount.minor,
        paid_minor=facts.paid.minor,
        url=facts.url,
        reason=facts.reason,
        created_at_us=now_us,
        updated_at_us=now_us,
    )


def _account(tx: Tx, provider: str, order: str, customer: str) -> str:
    """Whose it is: by the payment that it began with, or by the customer."""
    payment = payments.get(tx, order) if order else None
    if payment is not None and payment.provider == provider:
        return payment.account
    known = customers.named(tx, provider, customer) if customer else None
    return known.account if known else ""
