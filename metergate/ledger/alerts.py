"""Alerts: who has crossed which threshold, and who was told already.

A balance has to be at or above its threshold once before it can fall below it: until then it is not armed.
What was spent is summed up as usage comes in, up to the row that the chain has closed: behind that one
nothing appears.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec
import sqlalchemy as sa

from metergate.core.guards import Alerts, SpendAlert
from metergate.core.periods import Window
from metergate.ledger import bulk, chain
from metergate.ledger.database import Tx
from metergate.ledger.tables import account_balances, accounts, usage
from metergate.ledger.watch_tables import alert_marks, alert_settings, spend_counted, spend_totals

BALANCE, SPEND = "balance", "spend"
ARMED, FIRED = "armed", "fired"
_spends: Final = msgspec.json.Decoder(tuple[SpendAlert, ...])


class Own(NamedTuple):
    """The thresholds that an account has for itself; None is what the policy says."""

    account: str
    balance: tuple[int, ...] | None
    spend: tuple[SpendAlert, ...] | None


class Crossing(NamedTuple):
    account: str
    currency: str
    value: int
    fired: bool
    """Whether it fell below or went above, and is not merely armed or mended."""


def own(tx: Tx, account: str | None = None) -> list[Own]:
    columns = (alert_settings.c.account, alert_settings.c.balance, alert_settings.c.spend)
    query = sa.select(*columns).where(alert_settings.c.org == tx.org)
    if account is not None:
        query = query.where(alert_settings.c.account == account)
    return [
        Own(id, _balances(balance), None if spend is None else _spends.decode(spend))
        for id, balance, spend in tx.execute(query.order_by(alert_settings.c.account))
    ]


def put(tx: Tx, row: Own) -> None:
    balance = None if row.balance is None else json.dumps(list(row.balance))
    spend = None if row.spend is None else msgspec.json.encode(row.spend).decode()
    tx.execute(alert_settings.delete().where(*_of(tx, alert_settings, row.account)))
    tx.execute(alert_settings.insert().values(org=tx.org, account=row.account, balance=balance, spend=spend))


def of(tx: Tx, account: str, policy: Alerts) -> Alerts:
    """What holds for an account."""
    found = own(tx, account)
    if not found:
        return policy
    mine = found[0]
    return Alerts(
        policy.balance if mine.balance is None else mine.balance,
        policy.spend if mine.spend is None else mine.spend,
    )


def balances(
    tx: Tx, level: int, currency: str = "", only: Sequence[str] | None = None, limit: int = 1000
) -> list[Crossing]:
    """Whose mark for a threshold does not say what the balance says; `only` names the accounts.

    Without names it is everybody with this currency who has no thresholds of their own.
    """
    kept, marks = account_balances.c, alert_marks.c
    purse = sa.and_(kept.org == accounts.c.org, kept.account == accounts.c.id)
    own_purse = sa.and_(purse, kept.currency == accounts.c.currency)
    mark = sa.and_(
        *(marks.org == accounts.c.org, marks.account == accounts.c.id),
        *(marks.alert == name(BALANCE, level), marks.window_us == 0),
    )
    state = sa.func.coalesce(marks.state, "")
    rises = sa.and_(kept.balance >= level, state != ARMED)
    falls = sa.and_(kept.balance < level, state == ARMED)
    query = (
        sa.select(accounts.c.id, accounts.c.currency, kept.balance, falls)
        .select_from(accounts.join(account_balances, own_purse).outerjoin(alert_marks, mark))
        .where(accounts.c.org == tx.org, sa.or_(rises, falls), *_whose(accounts.c.id, BALANCE, only))
    )
    if only is None:
        query = query.where(accounts.c.currency == currency)
    found = tx.execute(query.order_by(accounts.c.id).limit(limit))
    return [Crossing(id, money, value, bool(fell)) for id, money, value, fell in found]


def spends(
    tx: Tx, alert: SpendAlert, window_us: int, currency: str = "", only: Sequence[str] | None = None
) -> list[Crossing]:
    """Who has spent so much in a window and was not told."""
    marks, totals = alert_marks.c, spend_totals.c
    named = name(SPEND, alert.amount, alert.every)
    told = sa.exists().where(
        *(marks.org == totals.org, marks.account == totals.account),
        *(marks.alert == named, marks.window_us == window_us),
    )
    same = sa.and_(accounts.c.org == totals.org, accounts.c.id == totals.account)
    query = (
        sa.select(totals.account, accounts.c.currency, totals.spent)
        .select_from(spend_totals.join(accounts, same))
        .where(totals.org == tx.org, totals.every == alert.every, totals.window_us == window_us)
        .where(totals.spent >= alert.amount, ~told, *_whose(totals.account, SPEND, only))
    )
    if only is None:
        query = query.where(accounts.c.currency == currency)
    found = tx.execute(query.order_by(totals.account).limit(1000))
    return [Crossing(id, money, spent, fired=True) for id, money, spent in found]


def mark(tx: Tx, account: str, alert: str, window_us: int, state: str, now_us: int) -> bool:
    """Note where an account stands; whether that is news, so that of two who look only one tells."""
    lock = sa.select(accounts.c.id).where(accounts.c.org == tx.org, accounts.c.id == account)
    tx.execute(lock.with_for_update(key_share=True))
    own = (*_of(tx, alert_marks, account), alert_marks.c.alert == alert, alert_marks.c.window_us == window_us)
    if tx.execute(sa.select(alert_marks.c.state).where(*own)).scalar() == state:
        return False
    columns = ("org", "account", "alert", "window_us", "state", "at_us")
    bulk.replace(tx, alert_marks, columns, [(tx.org, account, alert, window_us, state, now_us)])
    return True


def count_spending(tx: Tx, windows: Sequence[Window], every: str) -> int:
    """Add the usage that came since the last time to the totals of its windows; up to which row."""
    names = ("org", "every", "until_seq")
    bulk.insert(tx, spend_counted, names, [(tx.org, every, chain.LOWEST)], "ON CONFLICT DO NOTHING")
    mine = (spend_counted.c.org == tx.org, spend_counted.c.every == every)
    after = int(tx.execute(sa.select(spend_counted.c.until_seq).where(*mine).with_for_update()).scalar_one())
    until = closed_until(tx)
    if until <= after:
        return after
    same = sa.and_(
        *(accounts.c.org == usage.c.org, accounts.c.id == usage.c.account),
        accounts.c.currency == usage.c.currency,
    )
    fresh = (usage.c.org == tx.org, usage.c.seq > after, usage.c.seq <= until, usage.c.cost > 0)
    for each in windows:
        inside = (usage.c.at_us >= each.start_us, usage.c.at_us < each.end_us)
        query = sa.select(usage.c.account, sa.func.sum(usage.c.cost)).select_from(usage.join(accounts, same))
        summed = tx.execute(query.where(*fresh, *inside).group_by(usage.c.account)).all()
        _add(tx, every, each.start_us, {account: int(spent) for account, spent in summed})
    tx.execute(spend_counted.update().where(*mine).values(until_seq=until))
    old = (spend_totals.c.org == tx.org, spend_totals.c.every == every)
    tx.execute(spend_totals.delete().where(*old, spend_totals.c.window_us < windows[0].start_us))
    return until


def closed_until(tx: Tx) -> int:
    """The last usage row behind which nothing appears any more."""
    return {part.table: part.until for part in chain.head(tx).parts}.get("usage", chain.LOWEST)


def counted_until(tx: Tx, every: str) -> int | None:
    query = sa.select(spend_counted.c.until_seq).where(spend_counted.c.org == tx.org)
    found = tx.execute(query.where(spend_counted.c.every == every)).scalar()
    return None if found is None else int(found)


def name(kind: str, level: int, every: str = "") -> str:
    return f"{kind}:{every}:{level}" if every else f"{kind}:{level}"


def _add(tx: Tx, every: str, window_us: int, spent: Mapping[str, int]) -> None:
    rows = [(tx.org, every, window_us, account, amount) for account, amount in sorted(spent.items())]
    add = (
        "ON CONFLICT (org, every, window_us, account) DO UPDATE"
        " SET spent = spend_totals.spent + excluded.spent"
    )
    bulk.insert(tx, spend_totals, ("org", "every", "window_us", "account", "spent"), rows, add)


def _whose(account: sa.Column[str], kind: str, only: Sequence[str] | None) -> list[sa.ColumnElement[bool]]:
    if only is not None:
        return [account.in_(list(only))]
    chosen = alert_settings.c
    return [
        ~sa.exists().where(
            *(chosen.org == accounts.c.org, chosen.account == account, chosen[kind].is_not(None))
        )
    ]


def _balances(text: str | None) -> tuple[int, ...] | None:
    return None if text is None else tuple(json.loads(text))


def _of(tx: Tx, table: sa.Table, account: str) -> tuple[Any, ...]:
    return table.c.org == tx.org, table.c.account == account
