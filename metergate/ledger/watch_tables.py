"""The tables of what is watched: top-ups by themselves, alerts, and who was braked."""

import sqlalchemy as sa

from metergate.ledger.payment_tables import _org as _org_column
from metergate.ledger.tables import INT, _account_of, _int, _org, _range, _seq, _text, metadata

top_ups = sa.Table(
    "top_ups",
    metadata,
    _org(),
    sa.Column("account", sa.Text, primary_key=True),
    _text("state"),
    _int("threshold"),
    _int("amount"),
    _text("pack"),
    _int("monthly_cap"),
    _text("method"),
    # How many payments were begun: the next one's id is made from it. `payment` is the one in flight.
    _int("round"),
    _text("payment"),
    _text("terms"),
    _int("declines"),
    _int("tries"),
    _int("next_at_us"),
    _int("window_us"),
    _int("spent"),
    _text("reason"),
    _int("updated_at_us"),
    _account_of(),
    sa.CheckConstraint("state IN ('on', 'off', 'stopped')"),
    _range("threshold", 0),
    _range("amount", 0),
    _range("monthly_cap", 0),
    _range("spent", 0),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# What an account has of its own, as JSON; NULL is what the policy says.
alert_settings = sa.Table(
    "alert_settings",
    metadata,
    _org(),
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("balance", sa.Text),
    sa.Column("spend", sa.Text),
    _account_of(),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

alert_marks = sa.Table(
    "alert_marks",
    metadata,
    _org(),
    sa.Column("account", sa.Text, primary_key=True),
    sa.Column("alert", sa.Text, primary_key=True),
    sa.Column("window_us", INT, primary_key=True),
    _text("state"),
    _int("at_us"),
    _account_of(),
    sa.CheckConstraint("state IN ('armed', 'fired')"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# How much was spent in a period, counted up to a usage row that the chain has closed.
spend_counted = sa.Table(
    "spend_counted",
    metadata,
    _org(),
    sa.Column("every", sa.Text, primary_key=True),
    _int("until_seq"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

spend_totals = sa.Table(
    "spend_totals",
    metadata,
    _org(),
    sa.Column("every", sa.Text, primary_key=True),
    sa.Column("window_us", INT, primary_key=True),
    sa.Column("account", sa.Text, primary_key=True),
    _int("spent"),
    _range("spent", 0),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

promotions = sa.Table(
    "promotions",
    metadata,
    _org(),
    sa.Column("promotion", sa.Text, primary_key=True),
    sa.Column("identity", sa.Text, primary_key=True),
    _text("account"),
    _text("grant_id"),
    _int("at_us"),
    _account_of(),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

brake_marks = sa.Table(
    "brake_marks",
    metadata,
    _seq(),
    _org_column(),
    _text("what"),
    _text("who"),
    _int("at_us"),
    sa.Index("brake_marks_of", "org", "what", "who", "at_us"),
    sqlite_strict=True,
)
