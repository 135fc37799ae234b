"""Money that went back: refunds and disputes as rows, and the credits that go with it.

A reversal takes its credits from the grant of its payment first, then from others as usage would, and what
nobody has any more is recorded debt. Where the money comes after all (a dispute that was lost is won, a
refund fails late), the credits are given again. Each of these happens once: its transaction carries its id
and its number.
"""

import hashlib
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import sqlalchemy as sa

from metergate.core.money import round_half_up
from metergate.ledger import grants, tables, transactions
from metergate.ledger.database import Tx
from metergate.ledger.payment_tables import disputes, refunds
from metergate.ledger.payments import Payment
from metergate.ledger.standing import hold_still, save
from metergate.ledger.transactions import BREAKAGE, Transaction, record, reserve

BACK = ("succeeded", "lost")
"""The states of a refund and of a dispute in which the money is gone."""


class Refund(NamedTuple):
    id: str
    payment: str
    provider: str
    external_id: str | None
    state: str
    currency: str
    minor: int
    taken: int | None
    created_at_us: int
    look_at_us: int | None = None
    said: int = 0
    """Which word about it was the last; 0 before the first that counts."""

    @property
    def name(self) -> tuple[str, str]:
        return "refund", self.id


class Dispute(NamedTuple):
    payment: str
    provider: str
    external_id: str
    state: str
    currency: str
    minor: int
    taken: int | None
    created_at_us: int
    said: int = 0

    @property
    def name(self) -> tuple[str, str]:
        return "dispute", f"{self.provider}:{self.external_id}"


class Moved(NamedTuple):
    """Credits that were taken back, or given again where the amount is above zero."""

    id: str
    account: str
    amount: int


def refunds_of(tx: Tx, payment: str) -> list[Refund]:
    """In the order in which they were made."""
    columns = [refunds.c[name] for name in Refund._fields]
    query = sa.select(*columns).where(refunds.c.org == tx.org, refunds.c.payment == payment)
    return [Refund(*row) for row in tx.execute(query.order_by(refunds.c.seq))]


def disputes_of(tx: Tx, payment: str) -> list[Dispute]:
    columns = [disputes.c[name] for name in Dispute._fields]
    query = sa.select(*columns).where(disputes.c.org == tx.org, disputes.c.payment == payment)
    return [Dispute(*row) for row in tx.execute(query.order_by(disputes.c.seq))]


def refund(tx: Tx, id: str) -> Refund | None:
    columns = [refunds.c[name] for name in Refund._fields]
    row = tx.execute(sa.select(*columns).where(refunds.c.org == tx.org, refunds.c.id == id)).first()
    return Refund(*row) if row else None


def due(tx: Tx, now_us: int, limit: int) -> list[Refund]:
    """Refunds of which nobody knows yet what became of them."""
    columns = [refunds.c[name] for name in Refund._fields]
    query = sa.select(*columns).where(refunds.c.org == tx.org, refunds.c.look_at_us <= now_us)
    return [Refund(*row) for row in tx.execute(query.order_by(refunds.c.look_at_us).limit(limit))]


def add_refund(tx: Tx, new: Refund) -> None:
    tx.execute(refunds.insert().values(org=tx.org, **new._asdict()))


def change_refund(tx: Tx, id: str, **values: Any) -> None:
    tx.execute(refunds.update().where(refunds.c.org == tx.org, refunds.c.id == id).values(**values))


def add_dispute(tx: Tx, new: Dispute) -> None:
    tx.execute(disputes.insert().values(org=tx.org, **new._asdict()))


def change_dispute(tx: Tx, provider: str, external_id: str, **values: Any) -> None:
    same = (disputes.c.provider == provider, disputes.c.external_id == external_id)
    tx.execute(disputes.update().where(disputes.c.org == tx.org, *same).values(**values))


def follow(tx: Tx, payment: Payment, now_us: int) -> list[Moved]:
    """Have as many credits of a paid payment taken back as its refunds and lost disputes come to now.

    In all that is what their share of the price is, rounded once, so their order changes nothing; and never
    more than was given, less what expired of it: that is gone already.
    """
    every: list[Refund | Dispute] = [*refunds_of(tx, payment.id), *disputes_of(tx, payment.id)]
    gone = [each for each in every if each.state in BACK]
    here = [(each, None) for each in every if each.state not in BACK]
    most = payment.credits - _expired(tx, payment)
    moved = [
        _move(tx, payment, each, amount, now_us) for each, amount in (*here, *_amounts(payment, gone, most))
    ]
    return [each for each in moved if each.amount]


def _amounts(
    payment: Payment, gone: Sequence[Refund | Dispute], most: int
) -> list[tuple[Refund | Dispute, int]]:
    """What each of them takes: what it has taken, then its share, and the last what is left to be even."""
    ordered = sorted(gone, key=lambda each: each.taken is None)
    left = min(_share(payment, sum(each.minor for each in ordered)), most)
    amounts = []
    for each in ordered:
        due = _share(payment, each.minor) if each.taken is None else each.taken
        amount = left if each is ordered[-1] else min(due, left)
        amounts.append((each, amount))
        left -= amount
    return amounts


def _share(payment: Payment, minor: int) -> int:
    """The credits of an amount that went back. What was paid too much goes first, and took none."""
    over = max(0, payment.paid_minor - payment.minor)
    return round_half_up(payment.credits * max(0, minor - over), payment.minor)


def _move(tx: Tx, payment: Payment, of: Refund | Dispute, taken: int | None, now_us: int) -> Moved:
    """Bring what was taken for it to an amount; None where nothing is."""
    if taken != of.taken:
        if isinstance(of, Refund):
            change_refund(tx, of.id, taken=taken)
        else:
            change_dispute(tx, of.provider, of.external_id, taken=taken)
    amount = (of.taken or 0) - (taken or 0)
    if not amount:
        return Moved("", payment.account, 0)
    name = _free(tx, *of.name)
    if amount > 0:
        memo = f"Given again: {':'.join(of.name)}"[:500]
        grants.give(tx, payment.account, amount, id=name, at_us=now_us, memo=memo, kind="adjust")
    else:
        purse = (payment.account, payment.currency)
        standing = hold_still(tx, [purse])[purse]
        lines = standing.take(-amount, now_us, f"payment:{payment.id}")
        digest = hashlib.sha256(f"{payment.id} {-amount}".encode()).hexdigest()
        head = Transaction(reserve(tx, 1)[0], name, "adjust", payment.account, now_us, digest)
        record(tx, [(head, lines)])
        save(tx, [standing])
    return Moved(name, payment.account, amount)


def numbered(kind: str, id: str, number: int) -> str:
    """What the first, the second, … movement of credits for a refund or a dispute is called."""
    return f"{kind}:{id}" if number == 1 else f"{kind}#{number:02}:{id}"


def _free(tx: Tx, kind: str, id: str) -> str:
    """The name of its next movement; the payment is locked, so nobody else takes it."""
    return next(
        name
        for name in (numbered(kind, id, number) for number in count(1))
        if transactions.get(tx, name) is None and grants.get(tx, name) is None
    )


def _expired(tx: Tx, payment: Payment) -> int:
    heads, entries = tables.transactions.c, tables.entries.c
    expired = sa.select(heads.seq).where(heads.org == tx.org, heads.id == f"expire:payment:{payment.id}")
    query = sa.select(sa.func.coalesce(sa.func.sum(entries.amount), 0)).where(
        entries.org == tx.org, entries.transaction.in_(expired), entries.book == BREAKAGE
    )
    return int(tx.execute(query).scalar_one())
