"""The tables of what providers are told of usage: how far the ledger was read, windows, and intents.

A window is of an account and a meter, and belongs to one provider. Windows do not overlap, so no usage is in
two of them; what they come to is derived from the usage rows, and each difference is an intent of its own.
"""

import sqlalchemy as sa

from metergate.ledger.columns import (
    INT,
    account_of,
    flag,
    index_where,
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

UNFINISHED = "state IN ('pending', 'sent', 'parked')"


push_progress = sa.Table(
    "push_progress",
    metadata,
    org_key(),
    # Every usage row up to this number has been looked at; none below it can still appear.
    integer("seq"),
    # How long windows are, and from which instant on.
    text("grids"),
    # A restored ledger does not know what was sent after its backup: of windows that end before this instant
    # the provider is asked first.
    integer("doubt_until_us"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

push_accounts = sa.Table(
    "push_accounts",
    metadata,
    org_key(),
    text_key("provider"),
    text_key("account"),
    integer("since_us"),
    account_of(),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

push_splits = sa.Table(
    "push_splits",
    metadata,
    org_key(),
    text_key("account"),
    int_key("at_us"),
    account_of(),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

push_windows = sa.Table(
    "push_windows",
    metadata,
    org_key(),
    text_key("account"),
    text_key("meter"),
    int_key("start_us"),
    integer("end_us"),
    text("provider"),
    text("customer"),
    integer("units"),
    integer("revisions"),
    flag("changed"),
    account_of(),
    within("units", 0),
    index_where("push_windows_changed", "end_us", where="changed"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

push_intents = sa.Table(
    "push_intents",
    metadata,
    seq(),
    org(),
    text("provider"),
    text("account"),
    text("customer"),
    text("meter"),
    integer("start_us"),
    integer("end_us"),
    integer("revision"),
    text("identifier"),
    integer("units"),
    integer("at_us"),
    # It puts right what the provider counts, and is no usage.
    flag("repair"),
    text("state"),
    text("detail"),
    integer("tries"),
    sa.Column("unsure_since_us", INT),
    integer("next_at_us"),
    integer("created_at_us"),
    integer("updated_at_us"),
    sa.UniqueConstraint("org", "identifier", name="push_intents_identifier"),
    sa.UniqueConstraint("org", "account", "meter", "start_us", "revision", name="push_intents_revision"),
    sa.CheckConstraint("state IN ('pending', 'sent', 'accepted', 'parked', 'dropped', 'late')"),
    index_where("push_intents_unfinished", "provider", "customer", "meter", "seq", where=UNFINISHED),
    sa.Index("push_intents_of_customer", "org", "provider", "customer", "meter", "at_us"),
    sqlite_strict=True,
)
