"""Money that went back: refunds and disputes as rows, and the credits that go with it.

A reversal takes its credits from the grant of its payment first, then from others as usage would, and what
nobody has any more is recorded debt. Each happens once: its transaction carries its id.
"""

import hashlib
from typing import Any, NamedTuple

import sqlalchemy as sa

from metergate.core.money import round_half_up
from metergate.ledger.database import Tx
from metergate.ledger.payment_tables import disputes, refunds
from metergate.ledger.payments import Payment
from metergate.ledger.standing import hold_still, save
from metergate.ledger.tables import entries, transactions
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


class Dispute(NamedTuple):
    payment: str
    provider: str
    external_id: str
    state: str
    currency: str
    minor: int
    taken: int | None
    created_at_us: int


class TakenBack(NamedTuple):
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


def take_back(tx: Tx, payment: Payment, now_us: int) -> list[TakenBack]:
    """Take the credits of every refund and lost dispute of a paid payment that has not taken them yet.

    In all they take of the credits what their share of the price is, so their order changes nothing; and
    never more than was given, less what expired of it: that is gone already.
    """
    reversals: list[Refund | Dispute] = [*refunds_of(tx, payment.id), *disputes_of(tx, payment.id)]
    gone_back = [each for each in reversals if each.state in BACK]
    took = sum(each.taken or 0 for each in gone_back)
    minor = sum(each.minor for each in gone_back if each.taken is not None)
    most = payment.credits - _expired(tx, payment)
    done = []
    for each in gone_back:
        if each.taken is not None:
            continue
        minor += each.minor
        share = min(round_half_up(payment.credits * minor, payment.paid_minor or payment.minor), most)
        amount = max(0, share - took)
        took += amount
        id = _take(tx, payment, each, amount, now_us)
        if amount:
            done.append(TakenBack(id, payment.account, amount))
    return done


def _take(tx: Tx, payment: Payment, reversal: Refund | Dispute, amount: int, now_us: int) -> str:
    if isinstance(reversal, Refund):
        id = f"refund:{reversal.id}"
        change_refund(tx, reversal.id, taken=amount)
    else:
        id = f"dispute:{reversal.provider}:{reversal.external_id}"
        change_dispute(tx, reversal.provider, reversal.external_id, taken=amount)
    if amount:
        purse = (payment.account, payment.currency)
        standing = hold_still(tx, [purse])[purse]
        lines = standing.take(amount, now_us, f"payment:{payment.id}")
        digest = hashlib.sha256(f"{payment.id} {amount}".encode()).hexdigest()
        head = Transaction(reserve(tx, 1)[0], id, "adjust", payment.account, now_us, digest)
        record(tx, [(head, lines)])
        save(tx, [standing])
    return id


def _expired(tx: Tx, payment: Payment) -> int:
    heads = sa.select(transactions.c.seq).where(
        transactions.c.org == tx.org, transactions.c.id == f"expire:payment:{payment.id}"
    )
    query = sa.select(sa.func.coalesce(sa.func.sum(entries.c.amount), 0)).where(
        entries.c.org == tx.org, entries.c.transaction.in_(heads), entries.c.book == BREAKAGE
    )
    return int(tx.execute(query).scalar_one())
