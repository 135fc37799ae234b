"""The tables of what providers are told of usage: how far the ledger was read, windows, and intents.

A window is of an account and a meter, and belongs to one provider. Windows do not overlap, so no usage is in
two of them; what they come to is derived from the usage rows, and each difference is an intent of its own.
"""

import sqlalchemy as sa

from metergate.ledger.payment_tables import _flag, _org, _where
from metergate.ledger.tables import INT, _account_of, _int, _range, _seq, _text, metadata

UNFINISHED = "state IN ('pending', 'sent', 'parked')"


def _key(name: str) -> sa.Column[str]:
    return sa.Column(name, sa.Text, primary_key=True)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, INT, primary_key=True, autoincrement=False)


def _of_org() -> sa.Column[int]:
    return sa.Column("org", INT, sa.ForeignKey("organisations.id"), primary_key=True, autoincrement=False)


push_progress = sa.Table(
    "push_progress",
    metadata,
    _of_org(),
    # Every usage row up to this number has been looked at; none below it can still appear.
    _int("seq"),
    # How long windows are, and from which instant on.
    _text("grids"),
    # A restored ledger does not know what was sent after its backup: of windows that end before this instant
    # the provider is asked first.
    _int("doubt_until_us"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

push_accounts = sa.Table(
    "push_accounts",
    metadata,
    _of_org(),
    _key("provider"),
    _key("account"),
    _int("since_us"),
    _account_of(),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

push_splits = sa.Table(
    "push_splits",
    metadata,
    _of_org(),
    _key("account"),
    _number("at_us"),
    _account_of(),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

push_windows = sa.Table(
    "push_windows",
    metadata,
    _of_org(),
    _key("account"),
    _key("meter"),
    _number("start_us"),
    _int("end_us"),
    _text("provider"),
    _text("customer"),
    _int("units"),
    _int("revisions"),
    _flag("changed"),
    _account_of(),
    _range("units", 0),
    _where("push_windows_changed", "end_us", where="changed"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

push_intents = sa.Table(
    "push_intents",
    metadata,
    _seq(),
    _org(),
    _text("provider"),
    _text("account"),
    _text("customer"),
    _text("meter"),
    _int("start_us"),
    _int("end_us"),
    _int("revision"),
    _text("identifier"),
    _int("units"),
    _int("at_us"),
    # It puts right what the provider counts, and is no usage.
    _flag("repair"),
    _text("state"),
    _text("detail"),
    _int("tries"),
    sa.Column("unsure_since_us", INT),
    _int("next_at_us"),
    _int("created_at_us"),
    _int("updated_at_us"),
    sa.UniqueConstraint("org", "identifier", name="push_intents_identifier"),
    sa.UniqueConstraint("org", "account", "meter", "start_us", "revision", name="push_intents_revision"),
    sa.CheckConstraint("state IN ('pending', 'sent', 'accepted', 'parked', 'dropped', 'late')"),
    _where("push_intents_unfinished", "provider", "customer", "meter", "seq", where=UNFINISHED),
    sa.Index("push_intents_of_customer", "org", "provider", "customer", "meter", "at_us"),
    sqlite_strict=True,
)
