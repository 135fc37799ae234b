"""The brakes: how often an account, or an address, may pay, fail, and add a means of payment.

Cards that were stolen are tried in series, by many accounts from few places. What is counted is counted in
the transaction that does it, so a hundred who ask at once are not one more than was allowed.
"""

import json
from typing import NamedTuple

from metergate.core import identity
from metergate.core.addresses import one_caller
from metergate.core.guards import Brakes
from metergate.core.periods import rfc3339
from metergate.errors import UsageLimitExceeded
from metergate.ledger import brakes
from metergate.ledger.brakes import ACCOUNT, FAILURE, METHOD, PAYMENT, SOURCE
from metergate.ledger.database import Tx
from metergate.ledger.payments import Payment


class TooOften(UsageLimitExceeded):
    """The same again helps when some time has passed."""

    reason = "too_often"

    def __init__(self, message: str, reason: str, after_s: float) -> None:
        super().__init__(message, reason=reason)
        self.after_s = after_s


class Bound(NamedTuple):
    what: str
    most: int
    per_source: int
    reason: str
    told: str


def may_pay(tx: Tx, limits: Brakes, account: str, source: str, now_us: int) -> None:
    """Count one more payment, or say since when there were too many."""
    failures = _failures(limits)
    begun = Bound(PAYMENT, limits.payments, limits.payments_per_source, "too_many_payments", "payments")
    _check(tx, limits, (failures, begun), account, source, now_us)
    brakes.mark(tx, PAYMENT, account, source, now_us)


def may_attach(tx: Tx, limits: Brakes, account: str, source: str, now_us: int) -> None:
    """Count one more means of payment: providers try a card when it is added."""
    added = Bound(
        METHOD, limits.methods, limits.methods_per_source, "too_many_methods", "added payment methods"
    )
    _check(tx, limits, (_failures(limits), added), account, source, now_us)
    brakes.mark(tx, METHOD, account, source, now_us)


def failed(tx: Tx, payment: Payment, now_us: int) -> None:
    """A payment failed: that counts against the account, and against whoever asked for it."""
    brakes.mark(tx, FAILURE, payment.account, json.loads(payment.terms).get("source", ""), now_us)


def source_of(host: str) -> str:
    """What is kept of an address: who asks from there again can be recognised."""
    return identity.digest("source", one_caller(host)) if host else ""


def _failures(limits: Brakes) -> Bound:
    told = "failed payments"
    return Bound(FAILURE, limits.failures, limits.failures_per_source, "too_many_failed_payments", told)


def _check(tx: Tx, limits: Brakes, bounds: tuple[Bound, ...], account: str, source: str, now_us: int) -> None:
    brakes.hold_still(tx, account, source)
    for bound in bounds:
        _within(tx, limits, bound, f"{ACCOUNT}{account}", bound.most, f"The account {account}", now_us)
        if source:
            _within(tx, limits, bound, f"{SOURCE}{source}", bound.per_source, "This address", now_us)


def _within(tx: Tx, limits: Brakes, bound: Bound, who: str, most: int, called: str, now_us: int) -> None:
    if not most:
        return
    brakes.forget(tx, bound.what, who, now_us - limits.every_us)
    found = brakes.since(tx, bound.what, who, now_us - limits.every_us, most)
    if len(found) >= most:
        again_us = found[-1] + limits.every_us
        minutes = limits.every_us // (60 * 10**6)
        raise TooOften(
            f"{called} has {most} {bound.told} within {minutes} minutes, which is the most: try again after "
            f"{rfc3339(again_us)}.",
            bound.reason,
            (again_us - now_us) / 10**6,
        )
