"""What a provider says of a payment becomes rows, credits and plans: once, in whatever order it is said.

The facts are the whole state of the payment. Each effect has an id made from what it is about (the payment,
the refund, the dispute), so saying them again changes nothing; what went back is taken of what was given.
"""

import json
from collections.abc import Sequence
from typing import Final, NamedTuple

from metergate.billing import braking, orders, telling
from metergate.billing.matching import mismatch
from metergate.ledger import accounts, audit, grants, payments, reversals, subscriptions
from metergate.ledger.database import Tx
from metergate.ledger.payments import Payment
from metergate.ledger.reversals import Dispute, Refund
from metergate.ports import Adjust, Change, PutAccount
from metergate.provider_port import (
    CANCELED,
    CREDITS,
    FAILED,
    LOST,
    OPEN,
    PENDING,
    PLAN,
    SUCCEEDED,
    WON,
    DisputeFacts,
    PaymentFacts,
    RefundFacts,
)

# What is known for certain is not taken back by older news.
_CERTAINTY: Final = {PENDING: 0, FAILED: 1, CANCELED: 2, SUCCEEDED: 3}
_BEGINNINGS: Final = (PENDING, OPEN)
_ENDINGS: Final = {PENDING: 0, FAILED: 1, SUCCEEDED: 2, OPEN: 0, WON: 1, LOST: 2}
"""Of two words that are equally late about a refund or a dispute, the one with the higher number holds."""
MISMATCHED: Final = "mismatched"
_HOUR_US: Final = 3600 * 10**6
_WAITS: Final = ((_HOUR_US // 4, 60 * 10**6), (_HOUR_US, _HOUR_US // 12), (24 * _HOUR_US, _HOUR_US))
"""How often a provider is asked for a payment of this age that nobody has finished."""
FORGOTTEN_US: Final = 30 * 24 * _HOUR_US


class Settled(NamedTuple):
    payment: Payment
    changes: Sequence[Change]
    became: str = ""
    """The state that it has come to now, or that it does not match; empty where that was known."""


def settle(tx: Tx, id: str, facts: PaymentFacts, now_us: int, said_us: int = 0) -> Settled | None:
    """Believe the facts, if they are about this payment; None where there is no such payment.

    `said_us` is when they were surely true: before they were asked for, or when the news says.
    """
    payment = payments.get(tx, id, lock=True)
    if payment is None:
        return None
    problem = mismatch(payment, facts)
    if problem:
        return _doubted(tx, payment, problem, now_us)
    if payment.state == SUCCEEDED and facts.id not in ("", payment.external_id):
        return Settled(payment, ())  # of another attempt to pay it, which came to nothing
    before = payment.state
    _move(tx, payment, facts, now_us)
    payment = _again(tx, id)
    became = payment.state if payment.state != before else ""
    if became:
        telling.moved(tx, payment, now_us)
        if payment.state == FAILED:
            braking.failed(tx, payment, now_us)
    _reverse(tx, payment, facts, now_us, said_us or now_us)
    return Settled(payment, _effects(tx, payment, now_us), became)


def next_look_us(payment: Payment, now_us: int) -> int | None:
    """When to ask for an unfinished payment again: often at first, then less, and not for ever."""
    age = now_us - payment.created_at_us
    if age > FORGOTTEN_US:
        return None
    for younger, wait in _WAITS:
        if age < younger:
            return now_us + wait
    return now_us + 6 * _HOUR_US


def _doubted(tx: Tx, payment: Payment, problem: str, now_us: int) -> Settled:
    if payment.mismatch == problem:
        return Settled(payment, ())
    payments.change(tx, payment.id, mismatch=problem, unknown=False, updated_at_us=now_us)
    return Settled(_again(tx, payment.id), (), MISMATCHED)


def _move(tx: Tx, payment: Payment, facts: PaymentFacts, now_us: int) -> None:
    certain = _CERTAINTY[facts.state] >= _CERTAINTY[payment.state]
    state = facts.state if certain else payment.state
    changed: dict[str, object] = {
        "state": state,
        "capturable": facts.capturable and state == PENDING,
        "unknown": False,
    }
    if certain:
        changed["reason"] = facts.reason
    if certain and facts.state != PENDING:
        changed["mismatch"] = ""
    if facts.id and (facts.id != payment.checkout_id or state == SUCCEEDED):
        changed["external_id"] = facts.id
    if state == SUCCEEDED and not payment.paid_minor:
        changed |= _paid(tx, payment, facts, now_us)
    if facts.method is not None:
        changed["method"] = json.dumps(facts.method._asdict())
    if facts.customer and not payment.customer:
        changed["customer"] = facts.customer
    if facts.url:
        changed["url"] = facts.url
    different = {name: value for name, value in changed.items() if getattr(payment, name) != value}
    look_at_us = None if state in (SUCCEEDED, CANCELED) else next_look_us(payment, now_us)
    if different:
        different["updated_at_us"] = now_us
    payments.change(tx, payment.id, look_at_us=look_at_us, **different)


def _paid(tx: Tx, payment: Payment, facts: PaymentFacts, now_us: int) -> dict[str, object]:
    paid: dict[str, object] = {"paid_minor": facts.amount.minor}
    if facts.amount.minor > payment.minor:
        told = {"minor": payment.minor, "paid": facts.amount.minor, "currency": payment.currency}
        audit.note(tx, now_us, payment.provider, "payment.overpaid", payment.id, told)
        if facts.keeps_excess and payment.kind == CREDITS:
            paid |= orders.grown(payment, facts.amount.minor)
    return paid


def _reverse(tx: Tx, payment: Payment, facts: PaymentFacts, now_us: int, said_us: int) -> None:
    for each in facts.refunds:
        _refund(tx, payment, each, now_us, each.turn or said_us)
    disputes = {each.external_id: each for each in reversals.disputes_of(tx, payment.id)}
    for dispute in facts.disputes:
        _dispute(tx, payment, disputes.get(dispute.id), dispute, now_us, dispute.turn or said_us)


def _refund(tx: Tx, payment: Payment, facts: RefundFacts, now_us: int, said: int) -> None:
    known = reversals.refunds_of(tx, payment.id)
    same = [each for each in known if each.external_id == facts.id]
    same = same or [each for each in known if _is_ours(each, facts)]
    look_at_us = now_us + _HOUR_US if facts.state == PENDING else None
    if not same:
        id = f"{payment.provider}:{facts.id}"
        new = (payment.id, payment.provider, facts.id, facts.state, payment.currency, facts.amount.minor)
        row = Refund(id, *new, None, now_us, look_at_us, _word(facts, said))
        reversals.add_refund(tx, row)
        telling.refunded(tx, payment, row, now_us)
        return
    ours = same[0]
    if _later(ours, facts, said):
        word = _word(facts, said)
        reversals.change_refund(tx, ours.id, state=facts.state, said=word, look_at_us=look_at_us)
        telling.refunded(tx, payment, ours._replace(state=facts.state, said=word), now_us)
    if ours.external_id is None:
        reversals.change_refund(tx, ours.id, external_id=facts.id)


def _later(known: Refund | Dispute, facts: RefundFacts | DisputeFacts, said: int) -> bool:
    """Whether this is news of it, and not what was said before; nothing ends and begins again."""
    if facts.state in _BEGINNINGS or known.state in _BEGINNINGS:
        return facts.state != known.state and known.state in _BEGINNINGS
    return (said, _ENDINGS[facts.state]) > (known.said, _ENDINGS[known.state])


def _word(facts: RefundFacts | DisputeFacts, said: int) -> int:
    """A beginning is older than all that comes of it."""
    return 0 if facts.state in _BEGINNINGS else said


def _is_ours(known: Refund, facts: RefundFacts) -> bool:
    """Whether it is one whose answer was lost, also where the provider keeps no id of ours."""
    if known.external_id is not None:
        return False
    return known.id == facts.refund if facts.refund else known.minor == facts.amount.minor


def _dispute(
    tx: Tx, payment: Payment, known: Dispute | None, facts: DisputeFacts, now_us: int, said: int
) -> None:
    word = _word(facts, said)
    if known is None:
        new = (payment.id, payment.provider, facts.id, facts.state, payment.currency, facts.amount.minor)
        row = Dispute(*new, None, now_us, word)
        reversals.add_dispute(tx, row)
        telling.disputed(tx, payment, row, now_us)
    elif _later(known, facts, said):
        change = {"state": facts.state, "minor": facts.amount.minor, "said": word}
        reversals.change_dispute(tx, payment.provider, facts.id, **change)
        row = known._replace(state=facts.state, minor=facts.amount.minor, said=word)
        telling.disputed(tx, payment, row, now_us)


def _effects(tx: Tx, payment: Payment, now_us: int) -> list[Change]:
    if payment.state != SUCCEEDED:
        return []
    changes: list[Change] = []
    if payment.kind == CREDITS:
        id = f"payment:{payment.id}"
        if grants.get(tx, id) is None:
            memo = payment.description[:500]
            given = grants.give(tx, payment.account, payment.credits, id=id, at_us=now_us, memo=memo)
            changes.append(Adjust(f"grant:{id}", payment.account, given.delta))
        moved = reversals.follow(tx, payment, now_us)
        changes += [Adjust(each.id, each.account, each.amount) for each in moved]
    # Where the subscription that it began is known, that says which plan the account is on.
    begins = payment.kind == PLAN and subscriptions.get(tx, payment.id) is None
    cause = f"payment:{payment.id}"
    if begins and accounts.assign_plan(tx, payment.account, payment.subject, now_us, cause):
        changes.append(PutAccount(accounts.known(tx, payment.account).facts))
    return changes


def _again(tx: Tx, id: str) -> Payment:
    payment = payments.get(tx, id)
    assert payment is not None, "payments are never deleted"
    return payment
