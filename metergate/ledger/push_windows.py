"""Windows of usage: how far the ledger was read, which windows that changed, and what they come to.

Usage rows are read once, in the order of their numbers; a window in which one was seen is `changed` until it
is over and its total was derived again from all of its rows. So late usage changes a window once more.
"""

import json
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import sqlalchemy as sa

from metergate.ledger import bulk, sums
from metergate.ledger.columns import MONEY_MAX
from metergate.ledger.database import Select, Tx
from metergate.ledger.payment_tables import customers, subscriptions
from metergate.ledger.push_tables import push_accounts, push_progress, push_splits, push_windows
from metergate.ledger.tables import usage

Grid = tuple[int, int]
"""From which instant on windows have which length, in microseconds."""
FIRST: Final = -(2**63)
SHADOW: Final = "shadow"
"""How a call is measured that was only let through to see what would become of it: it is never pushed."""
_KEY: Final = ("org", "account", "meter", "start_us")
_COLUMNS: Final = (*_KEY, "end_us", "provider", "customer", "units", "revisions", "changed")


class Progress(NamedTuple):
    seq: int
    grids: list[Grid]
    doubt_until_us: int


class Slot(NamedTuple):
    """Usage of an account and a meter was seen in a cell of a grid."""

    account: str
    meter: str
    start_us: int
    end_us: int


class Window(NamedTuple):
    account: str
    meter: str
    start_us: int
    end_us: int
    provider: str
    customer: str
    """Whom the provider was told of; empty before the first time."""
    units: int
    revisions: int


class Derived(NamedTuple):
    """A window, and what its usage rows come to."""

    window: Window
    total: int


def progress(tx: Tx, *, lock: bool = False) -> Progress | None:
    columns = (push_progress.c.seq, push_progress.c.grids, push_progress.c.doubt_until_us)
    query = sa.select(*columns).where(push_progress.c.org == tx.org)
    row = tx.execute(query.with_for_update() if lock else query).first()
    return Progress(row[0], [(cut, length) for cut, length in json.loads(row[1])], row[2]) if row else None


def advance(tx: Tx, known: Progress) -> None:
    row = (tx.org, known.seq, json.dumps(known.grids), known.doubt_until_us)
    bulk.replace(tx, push_progress, ("org", "seq", "grids", "doubt_until_us"), [row])


def doubt(tx: Tx, now_us: int) -> None:
    """Ask providers first of all that may have been sent by a ledger that knew more than this one."""
    known = progress(tx) or Progress(FIRST, [], 0)
    advance(tx, known._replace(doubt_until_us=now_us))


# -- whose usage is pushed ---------------------------------------------------------------------------------


def newcomers(tx: Tx, providers: Collection[str]) -> list[tuple[str, str, int]]:
    """Accounts that a provider has come to know: its name, the account, since when."""
    here = sa.and_(
        push_accounts.c.org == customers.c.org,
        push_accounts.c.provider == customers.c.provider,
        push_accounts.c.account == customers.c.account,
    )
    query = (
        sa.select(customers.c.provider, customers.c.account, sa.func.min(customers.c.since_us))
        .select_from(customers.outerjoin(push_accounts, here))
        .where(
            customers.c.org == tx.org, customers.c.provider.in_(providers), push_accounts.c.account.is_(None)
        )
        .group_by(customers.c.provider, customers.c.account)
    )
    return [(row[0], row[1], int(row[2])) for row in tx.execute(query)]


def know(tx: Tx, found: Iterable[tuple[str, str, int]]) -> None:
    rows = [(tx.org, *each) for each in found]
    bulk.insert(tx, push_accounts, ("org", "provider", "account", "since_us"), rows, "ON CONFLICT DO NOTHING")


def known_since(tx: Tx, accounts: Sequence[str]) -> Mapping[tuple[str, str], int]:
    """Since when providers know accounts, by provider and account."""
    ask = "SELECT provider, account, since_us FROM push_accounts WHERE org = {_} AND {among}"
    found = bulk.among(tx, "account", accounts, (tx.org,), ask)
    return {(provider, account): since_us for provider, account, since_us in found}


def pushed_accounts(tx: Tx) -> list[tuple[str, str, int]]:
    """Everybody whose usage is pushed: provider, account, since when."""
    query = sa.select(push_accounts.c.provider, push_accounts.c.account, push_accounts.c.since_us)
    found = tx.execute(query.where(push_accounts.c.org == tx.org).order_by(push_accounts.c.account))
    return [(row[0], row[1], row[2]) for row in found]


def current_customers(tx: Tx, accounts: Sequence[str]) -> Mapping[tuple[str, str], str]:
    """What providers call accounts now, by provider and account."""
    now = "FROM customers WHERE org = {_} AND until_us IS NULL AND {among}"
    ask = f"SELECT provider, account, external_id {now}"
    return {(row[0], row[1]): row[2] for row in bulk.among(tx, "account", accounts, (tx.org,), ask)}


# -- where periods end -------------------------------------------------------------------------------------


def period_ends(tx: Tx, since_us: int, until_us: int) -> list[tuple[str, int]]:
    """The instants at which periods of subscriptions began or ended, by account."""
    found: set[tuple[str, int]] = set()
    for column in (subscriptions.c.period_start_us, subscriptions.c.period_end_us):
        query = sa.select(subscriptions.c.account, column).where(
            subscriptions.c.org == tx.org, column >= since_us, column <= until_us
        )
        found.update((row[0], row[1]) for row in tx.execute(query))
    return sorted(found)


def splits(tx: Tx, accounts: Sequence[str]) -> Mapping[str, list[int]]:
    ask = "SELECT account, at_us FROM push_splits WHERE org = {_} AND {among} ORDER BY at_us"
    found: dict[str, list[int]] = {}
    for account, at_us in bulk.among(tx, "account", accounts, (tx.org,), ask):
        found.setdefault(account, []).append(at_us)
    return found


def split(tx: Tx, account: str, at_us: int, cell: tuple[int, int]) -> None:
    """Have windows of an account end at an instant too, unless something of that cell was told already."""
    here = (push_windows.c.org == tx.org, push_windows.c.account == account)
    inside = (*here, push_windows.c.start_us >= cell[0], push_windows.c.start_us < cell[1])
    if tx.execute(
        sa.select(push_windows.c.meter).where(*inside, push_windows.c.revisions > 0).limit(1)
    ).first():
        return
    row = (tx.org, account, at_us)
    if not bulk.insert(tx, push_splits, ("org", "account", "at_us"), [row], "ON CONFLICT DO NOTHING"):
        return
    across = (*inside, push_windows.c.start_us < at_us, push_windows.c.end_us > at_us)
    cut = [Window(*found) for found in tx.execute(_windows(tx).where(*across))]
    tx.execute(push_windows.delete().where(*across))
    mark(tx, [half for window in cut for half in _halves(window, at_us)])


def _halves(window: Window, at_us: int) -> tuple[Window, Window]:
    return window._replace(end_us=at_us), window._replace(start_us=at_us)


# -- what changed ------------------------------------------------------------------------------------------


def touched(
    tx: Tx,
    grids: Sequence[Grid],
    meters: Collection[str],
    *,
    after: int,
    until: int,
    account: str | None = None,
    since_us: int = 0,
) -> list[Slot]:
    """In which cells there are usage rows with these numbers, of accounts that are pushed."""
    found: list[Slot] = []
    ends = [cut for cut, _ in grids[1:]] + [2**63 - 1]
    for (cut, length), end in zip(grids, ends, strict=True):
        cell = usage.c.at_us // length
        query = sa.select(usage.c.account, usage.c.meter, cell).where(
            usage.c.org == tx.org,
            usage.c.seq > after,
            usage.c.seq <= until,
            usage.c.units > 0,
            usage.c.measured != SHADOW,
            usage.c.at_us >= max(cut, since_us),
            usage.c.at_us < end,
            usage.c.meter.in_(meters),
        )
        if account is not None:
            query = query.where(usage.c.account == account)
        else:
            pushed = sa.select(push_accounts.c.account).where(push_accounts.c.org == tx.org)
            query = query.where(usage.c.account.in_(pushed))
        grouped = query.group_by(usage.c.account, usage.c.meter, cell)
        found += [Slot(row[0], row[1], row[2] * length, (row[2] + 1) * length) for row in tx.execute(grouped)]
    return found


def beyond(tx: Tx, after: int, until: int, rows: int) -> int:
    """The number of the last of so many usage rows; `until` where there are fewer."""
    query = sa.select(usage.c.seq).where(usage.c.org == tx.org, usage.c.seq > after, usage.c.seq <= until)
    found = tx.execute(query.order_by(usage.c.seq).offset(rows - 1).limit(1)).scalar()
    return until if found is None else int(found)


def standing(tx: Tx, accounts: Sequence[str], since_us: int) -> list[Window]:
    """Windows of the accounts that end behind an instant."""
    names = ", ".join(Window._fields)
    ask = f"SELECT {names} FROM push_windows WHERE org = {{_}} AND end_us > {{_}} AND {{among}}"  # noqa: S608 - ours
    return [Window(*row) for row in bulk.among(tx, "account", accounts, (tx.org, since_us), ask)]


def first_windows(tx: Tx) -> Mapping[tuple[str, str], int]:
    """When the first window of each provider and meter began."""
    query = sa.select(push_windows.c.provider, push_windows.c.meter, sa.func.min(push_windows.c.start_us))
    grouped = query.where(push_windows.c.org == tx.org).group_by(
        push_windows.c.provider, push_windows.c.meter
    )
    return {(row[0], row[1]): row[2] for row in tx.execute(grouped)}


def mark(tx: Tx, windows: Sequence[Window]) -> None:
    """Have the totals of windows derived again when they are over."""
    rows = [(tx.org, *window, True) for window in windows]
    keys = ", ".join(_KEY)
    true = "1" if tx.sqlite else "true"
    bulk.insert(tx, push_windows, _COLUMNS, rows, f"ON CONFLICT ({keys}) DO UPDATE SET changed = {true}")


# -- what they come to -------------------------------------------------------------------------------------


def over(tx: Tx, until_us: int, upto: int, limit: int) -> list[Derived]:
    """Windows that changed and are over, with their totals of the usage rows up to a number."""
    due = _windows(tx).where(push_windows.c.changed, push_windows.c.end_us <= until_us)
    order = (push_windows.c.end_us, push_windows.c.account, push_windows.c.meter)
    return _derived(tx, due.order_by(*order).limit(limit), upto)


def not_as_derived(tx: Tx) -> list[Window]:
    """Windows that nothing has changed, and that are not what their rows come to: there should be none."""
    known = progress(tx)
    still = _windows(tx).where(sa.not_(push_windows.c.changed))
    found = _derived(tx, still, known.seq) if known else []
    return [each.window for each in found if each.total != each.window.units]


def derived(tx: Tx, window: Window, upto: int) -> Derived:
    """A window that nobody has marked, with its total."""
    own = (usage.c.org == tx.org, usage.c.account == window.account, usage.c.meter == window.meter)
    when = (usage.c.at_us >= window.start_us, usage.c.at_us < window.end_us, usage.c.seq <= upto)
    query = sa.select(*sums.halves(usage.c.units)).where(*own, *when, usage.c.measured != SHADOW)
    upper, lower = tx.execute(query).one()
    return Derived(window, sums.whole(upper or 0, lower or 0))


def _derived(tx: Tx, which: Select, upto: int) -> list[Derived]:
    due = which.subquery("w")
    here = sa.and_(
        usage.c.org == tx.org,
        usage.c.account == due.c.account,
        usage.c.meter == due.c.meter,
        usage.c.at_us >= due.c.start_us,
        usage.c.at_us < due.c.end_us,
        usage.c.seq <= upto,
        usage.c.measured != SHADOW,
    )
    columns = tuple(due.c)
    query = sa.select(*columns, *sums.halves(usage.c.units)).select_from(due.outerjoin(usage, here))
    found = tx.execute(query.group_by(*columns).order_by(due.c.end_us, due.c.account, due.c.meter))
    return [
        Derived(Window(*row[:-2]), min(sums.whole(row[-2] or 0, row[-1] or 0), MONEY_MAX)) for row in found
    ]


def settle(tx: Tx, windows: Sequence[Window]) -> None:
    """Write down what windows come to: nothing of them has changed since."""
    bulk.replace(tx, push_windows, _COLUMNS, [(tx.org, *window, False) for window in windows])


def told_again(tx: Tx, window: Window) -> None:
    """One more intent was made for a window, perhaps for another customer; its total is the same."""
    own = (push_windows.c.account == window.account, push_windows.c.meter == window.meter)
    here = (push_windows.c.org == tx.org, *own, push_windows.c.start_us == window.start_us)
    values = {"revisions": window.revisions + 1, "customer": window.customer}
    tx.execute(push_windows.update().where(*here).values(values))


def get(tx: Tx, account: str, meter: str, start_us: int) -> Window | None:
    own = (push_windows.c.account == account, push_windows.c.meter == meter)
    query = _windows(tx).where(*own, push_windows.c.start_us == start_us)
    row = tx.execute(query.with_for_update()).first()
    return Window(*row) if row else None


def _windows(tx: Tx) -> Select:
    return sa.select(*(push_windows.c[name] for name in Window._fields)).where(push_windows.c.org == tx.org)
