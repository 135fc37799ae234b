"""What the tables are made of: columns, keys and checks that several of them have alike."""

from typing import Final

import sqlalchemy as sa

metadata = sa.MetaData()
INT: Final = sa.BigInteger().with_variant(sa.INTEGER(), "sqlite")
FLAG: Final = sa.Boolean(create_constraint=False).with_variant(sa.INTEGER(), "sqlite")
MONEY_MAX: Final = 2**63 - 1


def org() -> sa.Column[int]:
    return sa.Column("org", INT, sa.ForeignKey("organisations.id"), nullable=False)


def org_key() -> sa.Column[int]:
    """The same as the first column of the primary key."""
    return sa.Column("org", INT, sa.ForeignKey("organisations.id"), primary_key=True, autoincrement=False)


def seq() -> sa.Column[int]:
    return sa.Column("seq", INT, primary_key=True, autoincrement=True)


def text_key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def int_key(name: str) -> sa.Column[int]:
    return sa.Column(name, INT, primary_key=True, autoincrement=False)


def text(name: str, default: str | None = None) -> sa.Column[str]:
    return sa.Column(name, sa.Text, nullable=False, server_default=default)


def integer(name: str, default: str | None = None) -> sa.Column[int]:
    return sa.Column(name, INT, nullable=False, server_default=default)


def flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, FLAG, nullable=False)


def within(column: str, low: int) -> sa.CheckConstraint:
    return sa.CheckConstraint(f"{column} BETWEEN {low} AND {MONEY_MAX}")


def account_of() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["org", "account"], ["accounts.org", "accounts.id"])


def index_where(name: str, *columns: str, where: str) -> sa.Index:
    """An index of the rows that somebody looks for, and of no others."""
    return sa.Index(name, "org", *columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))
