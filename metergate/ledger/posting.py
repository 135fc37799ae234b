"""Usage events become rows and entries: each event once, however often and in whatever company it comes.

One call is one transaction's work. Rows that are already there are left alone and cost nothing; the new ones
of an account become one ledger transaction and every usage row names the transaction that charged it.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from metergate.core.batch import Batch, Lot
from metergate.core.hold import UsageEvent
from metergate.core.money import MAX
from metergate.ledger import accounts, bulk, keys, rows, tables
from metergate.ledger.database import Tx
from metergate.ledger.standing import Purse, Standing, hold_still, save
from metergate.ledger.transactions import Transaction, record, reserve


class Upgrade(NamedTuple):
    """An account that reached the next plan by its usage."""

    account: str
    plan: str
    since_us: int


class Posted(NamedTuple):
    new: int
    repeated: int
    upgrades: list[Upgrade]
    apart: int = 0
    """How many events could not be posted and are kept in the audit table from now on."""


def post(tx: Tx, events: Sequence[UsageEvent]) -> Posted:
    """Write the events that are not in the ledger yet, and what they cost."""
    return post_batch(tx, Batch(events))


def post_batch(tx: Tx, batch: Batch) -> Posted:
    """The same for events that were read as columns."""
    came = len(batch)
    lots = batch.lots()
    if not lots:
        return Posted(0, 0, [])
    standings = hold_still(tx, {(lot.terms.account, lot.terms.currency) for lot in lots})
    seqs = dict(zip(standings, reserve(tx, len(standings)), strict=True))
    known = rows.insert(tx, batch, seqs)
    if known is not None:
        batch = batch.without(known)
        lots = batch.lots()
    _charge(tx, _charged(lots), seqs, standings)
    _count(tx, lots)
    _remember(tx, batch)
    _note_keys(tx, lots)
    return Posted(len(batch), came - len(batch), _upgrade(tx, lots))


def _charged(lots: Iterable[Lot]) -> Mapping[Purse, Sequence[Lot]]:
    charged: dict[Purse, list[Lot]] = {}
    for lot in lots:
        if lot.charged:
            charged.setdefault((lot.terms.account, lot.terms.currency), []).append(lot)
    return charged


def _charge(
    tx: Tx,
    charged: Mapping[Purse, Sequence[Lot]],
    seqs: Mapping[Purse, int],
    standings: Mapping[Purse, Standing],
) -> None:
    written = []
    for purse, lots in charged.items():
        total = sum([lot.cost for lot in lots])
        written.append((_transaction(seqs[purse], purse[0], lots, total), standings[purse].use(lots, total)))
    record(tx, written)
    save(tx, [standings[purse] for purse in charged])


def _transaction(seq: int, account: str, lots: Sequence[Lot], total: int) -> Transaction:
    ops = [op for lot in lots for op in lot.ops]
    digest = hashlib.sha256("\n".join(ops).encode()).hexdigest()
    at_us = max([max(lot.instants) for lot in lots])
    return Transaction(seq, f"usage:{digest}", "usage", account, at_us, f"{len(ops)} rows, {total} nanos")


def _count(tx: Tx, lots: Iterable[Lot]) -> None:
    """Add to the totals of windows what their budgets were really charged; a full counter stays full."""
    totals: dict[str, list[int]] = {}
    for lot in lots:
        counted = lot.counted
        for at, draw in rows.quotas(lot.terms):
            total = totals.setdefault(draw.name, [0, 0])
            total[0] += sum([outcome.amounts[at] * count for outcome, count in counted])
            total[1] = draw.until_us
    add = (
        "ON CONFLICT (org, name) DO UPDATE"
        f" SET value = CASE WHEN window_totals.value > {MAX} - excluded.value THEN {MAX}"
        " ELSE window_totals.value + excluded.value END, until_us = excluded.until_us"
    )
    written = [
        (tx.org, name, min(value, MAX), until_us)
        for name, (value, until_us) in sorted(totals.items())
        if value
    ]
    bulk.insert(tx, tables.window_totals, ("org", "name", "value", "until_us"), written, add)


def _remember(tx: Tx, batch: Batch) -> None:
    """Keep the twins, so that a store that starts anew still knows what was answered."""
    twins = {twin[0]: (tx.org, *twin, op, answer) for op, twin, answer in batch.twins}
    columns = ("org", "id", "fingerprint", "until_us", "op", "answer")
    bulk.replace(tx, tables.twins, columns, [twins[id] for id in sorted(twins)])


def _note_keys(tx: Tx, lots: Iterable[Lot]) -> None:
    uses: dict[str, int] = {}
    for lot in lots:
        key = lot.terms.key
        if key:
            last = max(lot.instants)
            uses[key] = max(uses.get(key, last), last)
    keys.used(tx, uses)


def _upgrade(tx: Tx, lots: Iterable[Lot]) -> list[Upgrade]:
    upgrades = []
    reached = [lot for lot in lots if lot.terms.upgraded_from]
    for lot in sorted(reached, key=lambda lot: lot.terms.account):
        terms = lot.terms
        for op, since_us in zip(lot.ops, lot.instants, strict=True):
            if accounts.upgrade(
                tx, terms.account, terms.upgraded_from, terms.plan, since_us, f"upgrade:{op}"
            ):
                upgrades.append(Upgrade(terms.account, terms.plan, since_us))
    return upgrades
