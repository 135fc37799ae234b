"""The tables of the newest revision. Every row belongs to an organisation, every unique key begins with it.

Money is whole nanos, time whole microseconds. `usage`, `transactions`, `entries`, `audit` and `links` only
ever grow: triggers of the migrations refuse to change or delete their rows. They have no foreign keys, for
one row of theirs is written per call and a check costs as much as the row; `verify` looks for orphans.
"""

from typing import Final

import sqlalchemy as sa

metadata = sa.MetaData()

INT: Final = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
FLAG: Final = sa.Boolean(create_constraint=False).with_variant(sa.INTEGER(), "sqlite")
MONEY_MAX: Final = 2**63 - 1
_OTHER_ID: Final = sa.text("request_id <> id")


def _org() -> sa.Column[int]:
    return sa.Column("org", INT, sa.ForeignKey("organisations.id"), primary_key=True, autoincrement=False)


def _seq() -> sa.Column[int]:
    return sa.Column("seq", INT, primary_key=True, autoincrement=True)


def _text(name: str, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default=default)


def _int(name: str, default: str | None = None) -> sa.Column[int]:
    return sa.Column(name, INT, nullable=False, server_default=default)


def _range(column: str, low: int) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} BETWEEN {low} AND {MONEY_MAX}")


def _account_of() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["org", "account"], ["accounts.org", "accounts.id"])


organisations = sa.Table(
    "organisations",
    metadata,
    sa.Column("id", INT, primary_key=True, autoincrement=False),
    _text("name"),
    # False after the snapshots were dropped: the next writer derives them again before it goes on.
    sa.Column("snapshots", FLAG, nullable=False),
    sqlite_strict=True,
)

accounts = sa.Table(
    "accounts",
    metadata,
    _org(),
    sa.Column("id", sa.Text, primary_key=True),
    _text("plan"),
    _int("plan_since_us"),
    _text("name"),
    _text("email"),
    _text("currency"),
    _text("metadata"),
    sa.Column("suspended", FLAG, nullable=False),
    _int("created_at_us"),
    _int("version", "0"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

plan_changes = sa.Table(
    "plan_changes",
    metadata,
    _org(),
    sa.Column("id", sa.Text, primary_key=True),
    _text("account"),
    _text("plan"),
    _int("since_us"),
    _account_of(),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

keys = sa.Table(
    "keys",
    metadata,
    _org(),
    sa.Column("kid", sa.Text, primary_key=True),
    _text("account"),
    _text("digest"),
    _int("pepper"),
    _text("environment"),
    _text("scopes"),
    _int("revoked_at_us"),
    _int("expires_at_us"),
    _text("last4"),
    _text("replaced_by"),
    _int("cap_nanos"),
    _text("cap_every"),
    _int("created_at_us"),
    _int("version", "0"),
    _account_of(),
    _range("cap_nanos", 0),
    sa.Index("keys_of_account", "org", "account"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

grants = sa.Table(
    "grants",
    metadata,
    _seq(),
    sa.Column("org", INT, sa.ForeignKey("organisations.id"), nullable=False),
    _text("id"),
    _text("account"),
    _text("currency"),
    _int("amount"),
    _int("priority"),
    sa.Column("promotional", FLAG, nullable=False),
    _int("effective_at_us"),
    sa.Column("expires_at_us", INT),
    _text("memo"),
    _int("created_at_us"),
    _account_of(),
    sa.UniqueConstraint("org", "id", name="grants_id"),
    _range("amount", 1),
    sa.Index("grants_of_account", "org", "account", "seq"),
    sqlite_strict=True,
)

transactions = sa.Table(
    "transactions",
    metadata,
    _seq(),
    _int("org"),
    _text("id"),
    _text("kind"),
    _text("account"),
    _int("at_us"),
    _text("fingerprint"),
    sa.UniqueConstraint("org", "id", name="transactions_id"),
    sa.CheckConstraint("kind IN ('grant', 'usage', 'expire', 'adjust')"),
    sa.Index("transactions_of_account", "org", "account", "seq"),
    sqlite_strict=True,
)

entries = sa.Table(
    "entries",
    metadata,
    sa.Column("org", INT, primary_key=True, autoincrement=False),
    sa.Column("transaction", INT, primary_key=True, autoincrement=False),
    sa.Column("line", INT, primary_key=True, autoincrement=False),
    _text("account"),
    _text("book"),
    sa.Column("grant", sa.Text),
    _text("currency"),
    _int("amount"),
    sa.CheckConstraint("book IN ('credits', 'debt', 'funding', 'revenue', 'breakage')"),
    _range("amount", -MONEY_MAX),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

usage = sa.Table(
    "usage",
    metadata,
    _seq(),
    _int("org"),
    _text("id"),
    _text("request_id"),
    _text("account"),
    _text("key"),
    _text("service"),
    _text("route"),
    _text("path"),
    _text("meter"),
    _int("units"),
    _text("dimensions"),
    _int("cost"),
    _text("currency"),
    _text("measured"),
    _text("plan"),
    _text("policy"),
    _text("budgets"),
    _int("at_us"),
    sa.Column("transaction", INT),
    sa.UniqueConstraint("org", "id", name="usage_id"),
    _range("units", 0),
    _range("cost", 0),
    sa.Index("usage_of_account", "org", "account", "at_us"),
    # The first charge of a request may carry its id: then there is nothing to write here.
    sa.Index("usage_of_request", "org", "request_id", sqlite_where=_OTHER_ID, postgresql_where=_OTHER_ID),
    sqlite_strict=True,
)

twins = sa.Table(
    "twins",
    metadata,
    _org(),
    sa.Column("id", sa.Text, primary_key=True),
    _text("fingerprint"),
    _int("until_us"),
    _text("op"),
    sa.Column("answer", sa.LargeBinary),
    sa.Index("twins_until", "org", "until_us"),
    sqlite_strict=True,
)

audit = sa.Table(
    "audit",
    metadata,
    _seq(),
    _int("org"),
    _int("at_us"),
    _text("actor"),
    _text("action"),
    _text("subject"),
    _text("details"),
    sa.Index("audit_in_order", "org", "seq"),
    sqlite_strict=True,
)

# Hashes over ranges of the tables above that only grow; see `chain`.

links = sa.Table(
    "links",
    metadata,
    sa.Column("org", INT, primary_key=True, autoincrement=False),
    sa.Column("link", INT, primary_key=True, autoincrement=False),
    _text("hash"),
    _text("before"),
    _text("parts"),
    _int("at_us"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# What a counter store that several processes share has been told, and the proof that they share one pepper.

epochs = sa.Table(
    "epochs",
    metadata,
    _org(),
    _text("space"),
    _text("epoch"),
    _text("sequence"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

untold = sa.Table(
    "untold",
    metadata,
    _seq(),
    sa.Column("org", INT, sa.ForeignKey("organisations.id"), nullable=False),
    _int("at_us"),
    _text("changes"),
    sqlite_strict=True,
)

peppers = sa.Table(
    "peppers",
    metadata,
    _org(),
    sa.Column("version", INT, primary_key=True, autoincrement=False),
    _text("proof"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# From here on everything is derived: it can be dropped, and is made again from the tables above.

account_balances = sa.Table(
    "account_balances",
    metadata,
    _org(),
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("currency", sa.Text, primary_key=True),
    _int("balance"),
    _int("debt"),
    _range("balance", -MONEY_MAX),
    _range("debt", 0),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

grant_balances = sa.Table(
    "grant_balances",
    metadata,
    _org(),
    sa.Column("grant", sa.Text, primary_key=True),
    _text("account"),
    _int("remaining"),
    sa.Column("expires_at_us", INT),
    _range("remaining", 1),
    sa.Index("grant_balances_account", "org", "account"),
    sa.Index("grant_balances_expiry", "org", "expires_at_us"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

window_totals = sa.Table(
    "window_totals",
    metadata,
    _org(),
    sa.Column("name", sa.Text, primary_key=True),
    _int("value"),
    _int("until_us"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
