"""Who pays, on which plan, since when."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import sqlalchemy as sa

from metergate.core.facts import AccountFacts
from metergate.core.money import MoneyError, exponent
from metergate.errors import InvalidInput
from metergate.ledger import bulk, notices
from metergate.ledger.database import Row, Select, Tx
from metergate.ledger.errors import Conflict
from metergate.ledger.tables import accounts, plan_changes

ID: Final = re.compile(r"[A-Za-z0-9_.@-]{1,64}")


@dataclass(frozen=True, slots=True)
class Account:
    id: str
    plan: str = ""
    plan_since_us: int = 0
    name: str = ""
    email: str = ""
    currency: str = "USD"
    metadata: Mapping[str, Any] = field(default_factory=dict)
    suspended: bool = False
    created_at_us: int = 0
    version: int = 0

    @property
    def facts(self) -> AccountFacts:
        return AccountFacts(self.id, self.plan, self.plan_since_us, self.suspended, self.version)


def create(
    tx: Tx,
    id: str,
    *,
    at_us: int,
    plan: str = "",
    name: str = "",
    email: str = "",
    currency: str = "USD",
    metadata: Mapping[str, Any] | None = None,
) -> Account:
    """Open an account."""
    if not ID.fullmatch(id):
        raise InvalidInput(f"Use an account id of 1 to 64 letters, digits, _ . @ or -, not {id!r:.80}.")
    try:
        exponent(currency)
    except MoneyError as error:
        raise InvalidInput(str(error)) from None
    account = Account(id, plan, at_us if plan else 0, name, email, currency, metadata or {}, False, at_us)
    columns = [column.name for column in accounts.columns]
    row = (tx.org, id, plan, account.plan_since_us, name, email, currency, _json(metadata), False, at_us, 0)
    if not bulk.insert(tx, accounts, columns, [row], "ON CONFLICT DO NOTHING"):
        raise Conflict(f"There is an account {id} already: choose another id.")
    return account


def get(tx: Tx, id: str) -> Account | None:
    row = tx.execute(sa.select(accounts).where(*_is(tx, id))).first()
    return _account(row) if row else None


def page(tx: Tx, limit: int = 100, after: str = "") -> list[Account]:
    """In the order of their ids."""
    query = sa.select(accounts).where(accounts.c.org == tx.org, accounts.c.id > after)
    return [_account(row) for row in tx.execute(query.order_by(accounts.c.id).limit(limit))]


def count(tx: Tx) -> int:
    query = sa.select(sa.func.count()).select_from(accounts).where(accounts.c.org == tx.org)
    return int(tx.execute(query).scalar_one())


def assign_plan(tx: Tx, id: str, plan: str, at_us: int, cause_id: str) -> bool:
    """Put the account on a plan, once per cause; whether anything changed.

    To be put on the plan it is on already leaves the account's anchor where it is.
    """
    account = _known(tx, id, lock=True)
    change = (tx.org, cause_id, id, plan, at_us)
    columns = ("org", "id", "account", "plan", "since_us")
    first = bulk.insert(tx, plan_changes, columns, [change], "ON CONFLICT DO NOTHING")
    if not first or account.plan == plan:
        return False
    _change(tx, id, plan=plan, plan_since_us=at_us)
    notices.tell(
        tx, "plan.changed", id, {"plan": plan or None, "before": account.plan or None}, at_us, cause_id
    )
    return True


def upgrade(tx: Tx, id: str, from_plan: str, plan: str, at_us: int, cause_id: str) -> bool:
    """Assign the plan that usage reached, unless the account has left the one that was outgrown."""
    held = tx.execute(_locked(tx, id)).first()
    if held is None or _account(held).plan not in (from_plan, ""):
        return False
    return assign_plan(tx, id, plan, at_us, cause_id)


def suspend(tx: Tx, id: str, suspended: bool = True) -> bool:
    """Stop an account, or let it go on; whether anything changed."""
    if _known(tx, id, lock=True).suspended == suspended:
        return False
    _change(tx, id, suspended=suspended)
    return True


def update(
    tx: Tx,
    id: str,
    *,
    name: str | None = None,
    email: str | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> Account:
    """Change what is said about an account; what is left out stays."""
    _known(tx, id, lock=True)
    kept = None if metadata is None else _json(metadata)
    given = {"name": name, "email": email, "metadata": kept}
    values = {column: value for column, value in given.items() if value is not None}
    if values:
        tx.execute(accounts.update().where(*_is(tx, id)).values(values))
    return _known(tx, id)


def all_facts(tx: Tx) -> Iterator[AccountFacts]:
    """What the counter store has to know of every account."""
    columns = [accounts.c[name] for name in AccountFacts._fields]
    query = sa.select(*columns).where(accounts.c.org == tx.org).order_by(accounts.c.id)
    for id, plan, plan_since_us, suspended, version in tx.execute(query):
        yield AccountFacts(id, plan, plan_since_us, bool(suspended), version)


def known(tx: Tx, id: str) -> Account:
    """The account, or an error that says to create it."""
    return _known(tx, id)


def _known(tx: Tx, id: str, lock: bool = False) -> Account:
    query = _locked(tx, id) if lock else sa.select(accounts).where(*_is(tx, id))
    row = tx.execute(query).first()
    if row is None:
        raise InvalidInput(f"There is no account {id!r:.80}: create it first.")
    return _account(row)


def _locked(tx: Tx, id: str) -> Select:
    return sa.select(accounts).where(*_is(tx, id)).with_for_update(key_share=True)


def _change(tx: Tx, id: str, **values: object) -> None:
    """Change what the counter store has to know."""
    tx.execute(accounts.update().where(*_is(tx, id)).values(version=accounts.c.version + 1, **values))


def _is(tx: Tx, id: str) -> tuple[sa.ColumnElement[bool], ...]:
    return accounts.c.org == tx.org, accounts.c.id == id


def _json(metadata: Mapping[str, Any] | None) -> str:
    try:
        return json.dumps(metadata or {}, allow_nan=False)
    except (TypeError, ValueError):
        raise InvalidInput("Give metadata as a JSON object of plain values.") from None


def _account(row: Row) -> Account:
    _, id, plan, since, name, email, currency, metadata, suspended, created, version = row
    told = json.loads(metadata)
    return Account(id, plan, since, name, email, currency, told, bool(suspended), created, version)
