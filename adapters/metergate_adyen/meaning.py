"""What each of Adyen's event codes says of a payment."""

from collections.abc import Callable, Mapping
from typing import Final, NamedTuple

from metergate.provider_port import (
    CANCELED,
    FAILED,
    LOST,
    OPEN,
    PENDING,
    SUCCEEDED,
    WON,
    DisputeFacts,
    Method,
    Money,
    PaymentFacts,
    RefundFacts,
)


class Item(NamedTuple):
    """The signed part of a notification, and what people want to read."""

    code: str
    psp: str
    """Adyen's name of what happened: of the payment, the capture, the refund or the dispute."""
    original: str
    """Adyen's name of the payment that it happened to; not always there where that is disputed."""
    reference: str
    amount: Money
    worked: bool
    reason: str
    method: Method | None


class Terms(NamedTuple):
    """What we know of the reference that an item has."""

    order: str
    refund: str
    capture: bool
    """Whether authorised money is taken at once."""


Meaning = Callable[[Item, Terms, bool], PaymentFacts | None]


def _facts(item: Item, state: str, live: bool, id: str = "") -> PaymentFacts:
    return PaymentFacts(id, "", state, item.amount, live)


def _authorisation(item: Item, terms: Terms, live: bool) -> PaymentFacts:
    """One attempt to pay. The next one has another name, so one that fails has none that counts."""
    if not item.worked:
        return _facts(item, PENDING, live)._replace(order=terms.order, reason=item.reason)
    state = SUCCEEDED if terms.capture else PENDING
    told = _facts(item, state, live, item.psp)
    return told._replace(order=terms.order, method=item.method, capturable=not terms.capture)


def _capture(item: Item, _: Terms, live: bool) -> PaymentFacts:
    if item.worked:
        return _facts(item, SUCCEEDED, live, item.original)
    return _facts(item, PENDING, live, item.original)._replace(capturable=True, reason=item.reason)


def _capture_failed(item: Item, _: Terms, live: bool) -> PaymentFacts | None:
    """It had been taken, it was said, and is not ours after all."""
    gone = RefundFacts(f"{item.psp}:failed", item.amount, SUCCEEDED, turn=1)
    return _facts(item, PENDING, live, item.original)._replace(refunds=(gone,)) if item.worked else None


def _cancellation(item: Item, terms: Terms, live: bool) -> PaymentFacts | None:
    """Of money that was to be taken at once it takes back what was given for it."""
    if not item.worked:
        return None
    gone = (RefundFacts(item.psp, item.amount, SUCCEEDED, turn=1),) if terms.capture else ()
    return _facts(item, CANCELED, live, item.original)._replace(refunds=gone)


def _cancel_or_refund(item: Item, _: Terms, live: bool) -> PaymentFacts | None:
    """Which of both it was is not signed: either way the money went back."""
    gone = RefundFacts(item.psp, item.amount, SUCCEEDED, turn=1)
    told = _facts(item, CANCELED, live, item.original)
    return told._replace(refunds=(gone,)) if item.worked else None


def _expiry(item: Item, _: Terms, live: bool) -> PaymentFacts | None:
    return _facts(item, CANCELED, live, item.original) if item.worked else None


def _refund(state: str, turn: int) -> Meaning:
    def meaning(item: Item, terms: Terms, live: bool) -> PaymentFacts | None:
        if not item.worked and turn > 1:
            return None
        became = state if item.worked else FAILED
        told = RefundFacts(item.psp, item.amount, became, terms.refund, turn)
        return _facts(item, PENDING, live, item.original)._replace(refunds=(told,))

    return meaning


def _dispute(state: str, turn: int) -> Meaning:
    """All that happens to a dispute has its name, and happens in this order, however it is told."""

    def meaning(item: Item, _: Terms, live: bool) -> PaymentFacts | None:
        told = DisputeFacts(item.psp, item.amount, state, turn)
        facts = _facts(item, PENDING, live, item.original)._replace(disputes=(told,))
        return facts if item.worked else None

    return meaning


MEANINGS: Final[Mapping[str, Meaning]] = {
    "AUTHORISATION": _authorisation,
    "CAPTURE": _capture,
    "CAPTURE_FAILED": _capture_failed,
    "CANCELLATION": _cancellation,
    "TECHNICAL_CANCEL": _cancellation,
    "CANCEL_OR_REFUND": _cancel_or_refund,
    "EXPIRE": _expiry,
    "REFUND": _refund(SUCCEEDED, 1),
    "REFUND_FAILED": _refund(FAILED, 2),
    "REFUNDED_REVERSED": _refund(FAILED, 2),
    "NOTIFICATION_OF_CHARGEBACK": _dispute(OPEN, 1),
    "CHARGEBACK": _dispute(LOST, 2),  # the money is gone; it comes again with the next
    "CHARGEBACK_REVERSED": _dispute(WON, 3),
    "SECOND_CHARGEBACK": _dispute(LOST, 4),
    "PREARBITRATION_LOST": _dispute(LOST, 5),
    "PREARBITRATION_WON": _dispute(WON, 6),
}
"""What is not here is kept, and nothing follows from it."""
