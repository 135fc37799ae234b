"""The tables of what is watched: top-ups by themselves, alerts, and who was braked."""

import sqlalchemy as sa

from metergate.ledger.columns import (
    account_of,
    int_key,
    integer,
    metadata,
    org,
    org_key,
    seq,
    text,
    text_key,
    within,
)

top_ups = sa.Table(
    "top_ups",
    metadata,
    org_key(),
    text_key("account"),
    text("state"),
    integer("threshold"),
    integer("amount"),
    text("pack"),
    integer("monthly_cap"),
    text("method"),
    # How many payments were begun: the next one's id is made from it. `payment` is the one in flight.
    integer("round"),
    text("payment"),
    text("terms"),
    integer("declines"),
    integer("tries"),
    integer("next_at_us"),
    integer("window_us"),
    integer("spent"),
    text("reason"),
    integer("updated_at_us"),
    account_of(),
    sa.CheckConstraint("state IN ('on', 'off', 'stopped')"),
    within("threshold", 0),
    within("amount", 0),
    within("monthly_cap", 0),
    within("spent", 0),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# What an account has of its own, as JSON; NULL is what the policy says.
alert_settings = sa.Table(
    "alert_settings",
    metadata,
    org_key(),
    text_key("account"),
    sa.Column("balance", sa.Text),
    sa.Column("spend", sa.Text),
    account_of(),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

alert_marks = sa.Table(
    "alert_marks",
    metadata,
    org_key(),
    text_key("account"),
    text_key("alert"),
    int_key("window_us"),
    text("state"),
    integer("at_us"),
    account_of(),
    sa.CheckConstraint("state IN ('armed', 'fired')"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# How much was spent in a period, counted up to a usage row that the chain has closed.
spend_counted = sa.Table(
    "spend_counted",
    metadata,
    org_key(),
    text_key("every"),
    integer("until_seq"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

spend_totals = sa.Table(
    "spend_totals",
    metadata,
    org_key(),
    text_key("every"),
    int_key("window_us"),
    text_key("account"),
    integer("spent"),
    within("spent", 0),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

promotions = sa.Table(
    "promotions",
    metadata,
    org_key(),
    text_key("promotion"),
    text_key("identity"),
    text("account"),
    text("grant_id"),
    integer("at_us"),
    account_of(),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

brake_marks = sa.Table(
    "brake_marks",
    metadata,
    seq(),
    org(),
    text("what"),
    text("who"),
    integer("at_us"),
    sa.Index("brake_marks_of", "org", "what", "who", "at_us"),
    sqlite_strict=True,
)
