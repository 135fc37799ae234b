"""What can be read off: balances, what is left of grants, and the totals of windows.

The answers come from snapshots. Dropping them changes no answer: until the next writer has made them again,
reading derives from the entries and the usage rows themselves.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec
import sqlalchemy as sa

from metergate.core.grants import Grant
from metergate.core.money import MAX
from metergate.ledger import bulk, sums, tables
from metergate.ledger.database import Tx
from metergate.ledger.tables import organisations


class Left(NamedTuple):
    """A balance as the entries have it."""

    balance: int
    debt: int


_budgets = msgspec.json.Decoder(list[tuple[str, int, int]])


def balance(tx: Tx, account: str, currency: str = "") -> int:
    """What the account can spend in a currency (its own, unless another is named); below zero it owes."""
    currency = currency or _currency(tx, account)
    if not complete(tx):
        return derived_accounts(tx, account).get((account, currency), Left(0, 0)).balance
    kept = tables.account_balances.c
    query = sa.select(kept.balance).where(
        kept.org == tx.org, kept.account == account, kept.currency == currency
    )
    return tx.execute(query).scalar() or 0


def all_balances(tx: Tx) -> Iterator[tuple[str, int]]:
    """Every account and its balance in its own currency."""
    accounts = tables.accounts.c
    if not complete(tx):
        derived = derived_accounts(tx)
        for id, currency in tx.execute(
            sa.select(accounts.id, accounts.currency).where(accounts.org == tx.org)
        ):
            yield id, derived.get((id, currency), Left(0, 0)).balance
        return
    kept = tables.account_balances.c
    same = sa.and_(kept.org == accounts.org, kept.account == accounts.id, kept.currency == accounts.currency)
    query = (
        sa.select(accounts.id, sa.func.coalesce(kept.balance, 0))
        .select_from(tables.accounts.outerjoin(tables.account_balances, same))
        .where(accounts.org == tx.org)
        .order_by(accounts.id)
    )
    for id, value in tx.execute(query):
        yield id, value


def of_accounts(tx: Tx, accounts: Sequence[str]) -> dict[str, int]:
    """What these accounts can spend in their own currencies; those that never had anything are left out."""
    if not complete(tx):
        return {account: balance(tx, account) for account in accounts}
    query = (
        "SELECT b.account, b.balance FROM account_balances b JOIN accounts a"
        " ON a.org = b.org AND a.id = b.account AND a.currency = b.currency WHERE b.org = {_} AND {among}"
    )
    return {row.account: row.balance for row in bulk.among(tx, "b.account", accounts, (tx.org,), query)}


def grants_left(tx: Tx, account: str) -> list[Grant]:
    """The account's grants with something left, in no particular order (`core.grants.order` has the one)."""
    grants = tables.grants.c
    query = sa.select(tables.grants).where(grants.org == tx.org, grants.account == account)
    if complete(tx):
        kept = tables.grant_balances.c
        found = tx.execute(
            sa.select(kept.grant, kept.remaining).where(kept.org == tx.org, kept.account == account)
        )
        left: Mapping[str, int] = {row[0]: row[1] for row in found}
        query = query.where(grants.id.in_(list(left)))
    else:
        left = derived_grants(tx, account)
    rows = tx.execute(query).all()
    return [
        Grant(g.id, left[g.id], g.priority, g.expires_at_us, bool(g.promotional), g.effective_at_us)
        for g in rows
        if left.get(g.id)
    ]


def windows(tx: Tx, now_us: int) -> Iterator[tuple[str, int, int]]:
    """(budget name, value, until when) of every window that somebody may still ask for."""
    if not complete(tx):
        for name, (value, until_us) in derived_windows(tx).items():
            if until_us == 0 or until_us > now_us:
                yield name, value, until_us
        return
    kept = tables.window_totals.c
    lasting = sa.or_(kept.until_us == 0, kept.until_us > now_us)
    query = sa.select(kept.name, kept.value, kept.until_us).where(kept.org == tx.org, lasting)
    for name, value, until_us in tx.execute(query):
        yield name, value, until_us


def drop_snapshots(tx: Tx) -> None:
    """Forget everything that can be derived."""
    _organisation(tx, sa.select(organisations.c.id).with_for_update())
    for table in (tables.account_balances, tables.grant_balances, tables.window_totals):
        tx.execute(table.delete().where(table.c.org == tx.org))
    tx.execute(organisations.update().where(organisations.c.id == tx.org).values(snapshots=False))


def rebuild(tx: Tx) -> None:
    """Derive everything again."""
    drop_snapshots(tx)
    accounts = [(tx.org, *purse, *left) for purse, left in sorted(derived_accounts(tx).items())]
    bulk.insert(tx, tables.account_balances, ("org", "account", "currency", "balance", "debt"), accounts)
    made = tables.grants.c
    query = sa.select(made.id, made.account, made.expires_at_us).where(made.org == tx.org)
    left = derived_grants(tx)
    grants = [
        (tx.org, id, account, left[id], expires_at_us)
        for id, account, expires_at_us in tx.execute(query)
        if left.get(id)
    ]
    bulk.insert(tx, tables.grant_balances, ("org", "grant", "account", "remaining", "expires_at_us"), grants)
    totals = [(tx.org, name, *total) for name, total in sorted(derived_windows(tx).items())]
    bulk.insert(tx, tables.window_totals, ("org", "name", "value", "until_us"), totals)
    tx.execute(organisations.update().where(organisations.c.id == tx.org).values(snapshots=True))


def ensure_snapshots(tx: Tx) -> None:
    """Before a writer relies on the snapshots: they are there, and stay until its transaction ends."""
    if not _keep_snapshots(tx):
        # Whoever comes first does it; the others find it done.
        flag = sa.select(organisations.c.snapshots).with_for_update()
        if not _organisation(tx, flag):
            rebuild(tx)


def _keep_snapshots(tx: Tx) -> bool:
    if tx.sqlite:
        return complete(tx)
    with tx.connection.begin_nested() as look:
        if _organisation(tx, sa.select(organisations.c.snapshots).with_for_update(read=True)):
            return True
        # Let go of the shared lock: two writers that both keep it would wait for each other to rebuild.
        look.rollback()
    return False


def derived_accounts(tx: Tx, account: str = "") -> dict[tuple[str, str], Left]:
    """(account, currency) -> balance and debt, from the entries alone."""
    entries = tables.entries.c
    owed = sa.case((entries.book == "debt", entries.amount), else_=0)
    query = sa.select(
        entries.account, entries.currency, *sums.halves(entries.amount), *sums.halves(owed)
    ).where(entries.org == tx.org, entries.book.in_(["credits", "debt"]), *_of(account))
    rows = tx.execute(query.group_by(entries.account, entries.currency))
    return {(row[0], row[1]): Left(sums.whole(*row[2:4]), -sums.whole(*row[4:6])) for row in rows}


def derived_grants(tx: Tx, account: str = "") -> dict[str, int]:
    """What is left of every grant, from the entries alone."""
    entries = tables.entries.c
    query = sa.select(entries.grant, sa.func.sum(entries.amount)).where(
        entries.org == tx.org, entries.book == "credits", entries.grant.is_not(None), *_of(account)
    )
    return {id: int(left) for id, left in tx.execute(query.group_by(entries.grant))}


def derived_windows(tx: Tx) -> dict[str, tuple[int, int]]:
    """(value, until when) of every window, from the usage rows alone."""
    usage = tables.usage.c
    query = (
        sa.select(usage.budgets, sa.func.count())
        .where(usage.org == tx.org, usage.budgets != "[]")
        .group_by(usage.budgets)
    )
    totals: dict[str, tuple[int, int]] = {}
    for budgets, times in tx.execute(query):
        for name, amount, until_us in _budgets.decode(budgets):
            totals[name] = (min(totals.get(name, (0, 0))[0] + amount * times, MAX), until_us)
    return totals


def _of(account: str) -> list[sa.ColumnElement[bool]]:
    # Entries have no index by account, transactions do.
    if not account:
        return []
    heads = tables.transactions.c
    own = sa.select(heads.seq).where(heads.org == tables.entries.c.org, heads.account == account)
    return [tables.entries.c.transaction.in_(own)]


def complete(tx: Tx) -> bool:
    """Whether the snapshots are there."""
    return bool(_organisation(tx, sa.select(organisations.c.snapshots)))


def _organisation(tx: Tx, query: sa.Select[tuple[int]] | sa.Select[tuple[bool]]) -> object:
    return tx.execute(query.where(organisations.c.id == tx.org)).scalar_one()


def _currency(tx: Tx, account: str) -> str:
    accounts = tables.accounts.c
    query = sa.select(accounts.currency).where(accounts.org == tx.org, accounts.id == account)
    return tx.execute(query).scalar() or "USD"
