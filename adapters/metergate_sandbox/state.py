"""What the sandbox knows, and what happens in it. No I/O: the server asks, and sends the news of it."""

from collections.abc import Callable, Mapping
from typing import Any, Final, NamedTuple, TypeVar

from metergate.provider_port import (
    CANCELED,
    FAILED,
    INVOICE,
    PAYMENT,
    PENDING,
    PLAN,
    SUBSCRIPTION,
    SUCCEEDED,
    USAGE,
    CustomerFacts,
    DisputeFacts,
    InvoiceDraft,
    InvoiceFacts,
    Item,
    Method,
    Money,
    Order,
    Payer,
    PaymentFacts,
    ProviderEvent,
    RefundFacts,
    SubscriptionFacts,
    Synced,
    UsageTotal,
)
from metergate_sandbox.cards import ASKS, CARDS, DECLINED, card
from metergate_sandbox.usage import Usage

T = TypeVar("T")

_PERIODS_US: Final = {
    every: days * 86_400 * 10**6 for every, days in {"day": 1, "week": 7, "month": 30, "year": 365}.items()
}


class Refused(Exception):
    """The sandbox says no; the status and the code are those of its answer."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class Sale(NamedTuple):
    """An order and the payment for it."""

    order: Order
    notify: str
    """Where the merchant wants to hear of it."""
    asked: bool = False
    """Whether the payer is being asked to confirm."""


class Sandbox:
    def __init__(self, clock: Callable[[], int], say: Callable[[str, ProviderEvent], None]) -> None:
        """`say` is told of everything that happens, with the address that wants to hear it."""
        self.clock = clock
        self.url = ""
        self.payments: dict[str, PaymentFacts] = {}
        self.sales: dict[str, Sale] = {}
        self.subscriptions: dict[str, SubscriptionFacts] = {}
        self.invoices: dict[str, InvoiceFacts] = {}
        self.customers: dict[str, CustomerFacts] = {}
        self.methods: dict[str, dict[str, Method]] = {}
        self.usage = Usage(clock)
        self.items: dict[tuple[str, str], Item] = {}
        self._cards: dict[str, str] = {}
        self._say = say
        self._events = 0

    # Customers and what they pay with.

    def create_customer(self, payer: Payer) -> CustomerFacts:
        id = f"cus_{payer.account}"
        return self.customers.setdefault(id, CustomerFacts(id, payer.account, payer.email, payer.name))

    def attach(self, customer: str, token: str) -> Method:
        self._known(self.customers, customer)
        if token not in CARDS:
            raise Refused(400, "invalid_token", f"Take one of the test cards, such as tok_visa, not {token}.")
        method = card(token, f"pm_{len(self._cards) + 1}")
        self._cards[method.id] = CARDS[token]
        self.methods.setdefault(customer, {})[method.id] = method
        return method

    def detach(self, customer: str, method: str) -> None:
        self.methods.get(customer, {}).pop(method, None)

    # Payments.

    def order(self, order: Order, notify: str) -> PaymentFacts:
        """The payment of an order, made by the first who asks."""
        id = f"pay_{order.id}"
        if id not in self.payments:
            self.sales[id] = Sale(order, notify)
            url = f"{self.url}/pay/{id}"
            self.payments[id] = PaymentFacts(
                id, order.id, PENDING, order.amount, live=False, customer=order.customer, url=url
            )
            self._news(id, "payment.created")
        elif self.sales[id].order != order:
            raise Refused(409, "other_contents", f"The order {order.id} is known with other contents.")
        return self.payments[id]

    def charge(self, order: Order, method: str, notify: str) -> PaymentFacts:
        kept = self.methods.get(order.customer, {}).get(method)
        if kept is None:
            raise Refused(400, "no_such_method", f"{order.customer} has no payment method {method}.")
        payment = self.order(order, notify)
        if payment.state == PENDING and not self.sales[payment.id].asked:
            self.pay(payment.id, self._cards[method], kept)
        return self.payments[payment.id]

    def pay(self, id: str, does: str, method: Method | None = None) -> PaymentFacts:
        """The payer pays with a card that does one of three things."""
        payment, sale = self._known(self.payments, id), self.sales[id]
        if payment.state in (SUCCEEDED, CANCELED) or payment.capturable:
            return payment
        if 0 < sale.order.expires_at_us <= self.clock():
            return self._become(id, "payment.canceled", state=CANCELED, reason="The checkout has closed.")
        self.sales[id] = sale._replace(asked=does == ASKS)
        if does == ASKS:
            return self._become(id, "payment.requires_action", state=PENDING, method=method)
        if does == DECLINED:
            declined = "Your card was declined."
            return self._become(id, "payment.failed", state=FAILED, reason=declined, method=method)
        method = method or payment.method
        if not sale.order.capture:
            return self._become(id, "payment.authorized", capturable=True, reason="", method=method)
        return self._paid(id, payment.amount, method)

    def capture(self, id: str, amount: Money | None) -> PaymentFacts:
        payment = self._known(self.payments, id)
        if payment.state == SUCCEEDED:
            return payment
        if not payment.capturable:
            raise Refused(400, "not_authorized", f"The payment {id} is not authorised.")
        taken = amount or payment.amount
        if not 0 < taken.minor <= payment.amount.minor or taken.currency != payment.amount.currency:
            raise Refused(400, "amount_too_large", "Capture at most what was authorised.")
        return self._paid(id, taken, payment.method)

    def cancel(self, id: str) -> PaymentFacts:
        payment = self._known(self.payments, id)
        if payment.state == SUCCEEDED:
            raise Refused(400, "already_paid", f"The payment {id} is paid: refund it.")
        return self._become(id, "payment.canceled", state=CANCELED, capturable=False)

    def refund(self, id: str, amount: Money, refund: str) -> RefundFacts:
        payment = self._known(self.payments, id)
        for earlier in payment.refunds:
            if earlier.refund == refund:
                return earlier
        left = payment.amount.minor - sum(each.amount.minor for each in payment.refunds)
        if payment.state != SUCCEEDED or not 0 < amount.minor <= left:
            raise Refused(400, "refund_too_large", f"At most {left} of the payment {id} can be refunded.")
        made = RefundFacts(f"re_{refund}", amount, SUCCEEDED, refund)
        self._become(id, "refund.created", refunds=(*payment.refunds, made))
        return made

    def dispute(self, id: str, dispute: DisputeFacts) -> PaymentFacts:
        """The payer's bank opens a dispute, or ends it."""
        payment = self._known(self.payments, id)
        others = tuple([each for each in payment.disputes if each.id != dispute.id])
        return self._become(id, f"dispute.{dispute.state}", disputes=(*others, dispute))

    def find(self, order: str) -> PaymentFacts | None:
        return self.payments.get(f"pay_{order}")

    # Subscriptions and invoices.

    def cancel_subscription(self, id: str, *, at_period_end: bool) -> SubscriptionFacts:
        found = self._known(self.subscriptions, id)
        state = found.state if at_period_end else "canceled"
        return self._subscribed(found._replace(state=state, ends=True), "subscription.updated")

    def renew(self, id: str, state: str = "active") -> SubscriptionFacts:
        """A period ends, and another begins."""
        found = self._known(self.subscriptions, id)
        length = found.period_end_us - found.period_start_us
        start, end = found.period_end_us, found.period_end_us + length
        renewed = found._replace(
            state="canceled" if found.ends else state, period_start_us=start, period_end_us=end
        )
        return self._subscribed(renewed, "subscription.updated")

    def create_invoice(self, draft: InvoiceDraft, notify: str) -> InvoiceFacts:
        id = f"in_{draft.id}"
        if id not in self.invoices:
            currency = draft.lines[0].amount.currency
            total = Money(sum(line.amount.minor for line in draft.lines), currency)
            order = Order(f"inv_{draft.id}", draft.payer, total, INVOICE, draft.number, draft.customer)
            page = self.order(order, notify).url
            self.invoices[id] = InvoiceFacts(
                id, draft.id, "open", total, Money(0, currency), False, draft.customer, page
            )
            self._invoiced(id, "invoice.created")
        return self.invoices[id]

    def pay_invoice(self, id: str, method: str) -> InvoiceFacts:
        found = self._known(self.invoices, id)
        methods = self.methods.get(found.customer, {})
        chosen = methods.get(method) if method else next(iter(methods.values()), None)
        if chosen is None:
            raise Refused(400, "no_such_method", f"{found.customer} has no payment method to pay with.")
        self.pay(f"pay_inv_{found.invoice}", self._cards[chosen.id], chosen)
        return self.invoices[id]

    def void_invoice(self, id: str) -> InvoiceFacts:
        found = self._known(self.invoices, id)
        if found.state == "paid":
            raise Refused(400, "already_paid", f"The invoice {id} is paid: refund it.")
        self.cancel(f"pay_inv_{found.invoice}")
        self.invoices[id] = found._replace(state="void")
        self._invoiced(id, "invoice.voided")
        return self.invoices[id]

    # Usage and the catalogue.

    def push(self, total: UsageTotal, notify: str) -> str:
        """Why it is not taken; empty when it is, or was a moment ago."""
        if total.customer not in self.customers:
            return f"There is no customer {total.customer}."
        return self.usage.push(total, notify)

    def drop_usage(self, identifier: str, why: str) -> None:
        """A usage total that was taken turns out to be of no use."""
        self._events += 1
        id = f"evt_{self._events}"
        notify = self.usage.drop(identifier, why, id)
        event = ProviderEvent(id, "usage.dropped", USAGE, identifier, False, self.clock())
        self._say(notify, event)

    def sync(self, item: Item) -> Synced:
        key = (item.kind, item.name)
        before = self.items.get(key)
        self.items[key] = item
        change = "created" if before is None else "unchanged" if before == item else "updated"
        return Synced(item.kind, item.name, f"{item.kind}_{item.name}", change)

    # What comes of it.

    def _paid(self, id: str, amount: Money, method: Method | None) -> PaymentFacts:
        paid = self._become(
            id,
            "payment.succeeded",
            state=SUCCEEDED,
            amount=amount,
            capturable=False,
            reason="",
            method=method,
        )
        order = self.sales[id].order
        if order.kind == PLAN:
            now = self.clock()
            end = now + _PERIODS_US.get(order.every, _PERIODS_US["month"])
            begun = SubscriptionFacts(
                f"sub_{order.id}", order.id, order.customer, order.plan, "active", False, now, end
            )
            self._subscribed(begun, "subscription.created")
        if order.kind == INVOICE:
            invoice = f"in_{order.id.removeprefix('inv_')}"
            self.invoices[invoice] = self.invoices[invoice]._replace(state="paid", paid=amount)
            self._invoiced(invoice, "invoice.payment_succeeded")
        return paid

    def _become(self, id: str, type: str, **changes: Any) -> PaymentFacts:
        self.payments[id] = self.payments[id]._replace(**changes)
        self._news(id, type)
        return self.payments[id]

    def _subscribed(self, found: SubscriptionFacts, type: str) -> SubscriptionFacts:
        self.subscriptions[found.id] = found
        self._tell(f"pay_{found.order}", type, SUBSCRIPTION, found.id, found.order)
        return found

    def _invoiced(self, id: str, type: str) -> None:
        self._tell(f"pay_inv_{self.invoices[id].invoice}", type, INVOICE, id, "")

    def _news(self, id: str, type: str) -> None:
        self._tell(id, type, PAYMENT, id, self.payments[id].order)

    def _tell(self, payment: str, type: str, kind: str, object: str, order: str) -> None:
        self._events += 1
        event = ProviderEvent(f"evt_{self._events}", type, kind, object, False, self.clock(), order)
        self._say(self.sales[payment].notify, event)

    def _known(self, things: Mapping[str, T], id: str) -> T:
        if id not in things:
            raise Refused(404, "not_found", f"There is no {id}.")
        return things[id]
