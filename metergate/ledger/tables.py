"""The tables of the newest revision. Every row belongs to an organisation, every unique key begins with it.

Money is whole nanos, time whole microseconds. `usage`, `transactions`, `entries`, `audit` and `links` only
ever grow: triggers of the migrations refuse to change or delete their rows. They have no foreign keys, for
one row of theirs is written per call and a check costs as much as the row; `verify` looks for orphans.
"""

from typing import Final

import sqlalchemy as sa

from metergate.ledger.columns import (
    INT,
    MONEY_MAX,
    account_of,
    flag,
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

_OTHER_ID: Final = sa.text("request_id <> id")


organisations = sa.Table(
    "organisations",
    metadata,
    int_key("id"),
    text("name"),
    # False after the snapshots were dropped: the next writer derives them again before it goes on.
    flag("snapshots"),
    sqlite_strict=True,
)

accounts = sa.Table(
    "accounts",
    metadata,
    org_key(),
    text_key("id"),
    text("plan"),
    integer("plan_since_us"),
    text("name"),
    text("email"),
    text("currency"),
    text("metadata"),
    flag("suspended"),
    integer("created_at_us"),
    integer("version", "0"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

plan_changes = sa.Table(
    "plan_changes",
    metadata,
    org_key(),
    text_key("id"),
    text("account"),
    text("plan"),
    integer("since_us"),
    account_of(),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

keys = sa.Table(
    "keys",
    metadata,
    org_key(),
    text_key("kid"),
    text("account"),
    text("digest"),
    integer("pepper"),
    text("environment"),
    text("scopes"),
    integer("revoked_at_us"),
    integer("expires_at_us"),
    text("last4"),
    text("replaced_by"),
    integer("cap_nanos"),
    text("cap_every"),
    integer("created_at_us"),
    integer("version", "0"),
    text("networks", "[]"),
    account_of(),
    within("cap_nanos", 0),
    sa.Index("keys_of_account", "org", "account"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

key_uses = sa.Table(
    "key_uses",
    metadata,
    org_key(),
    text_key("kid"),
    integer("at_us"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

grants = sa.Table(
    "grants",
    metadata,
    seq(),
    org(),
    text("id"),
    text("account"),
    text("currency"),
    integer("amount"),
    integer("priority"),
    flag("promotional"),
    integer("effective_at_us"),
    sa.Column("expires_at_us", INT),
    text("memo"),
    integer("created_at_us"),
    account_of(),
    sa.UniqueConstraint("org", "id", name="grants_id"),
    within("amount", 1),
    sa.Index("grants_of_account", "org", "account", "seq"),
    sqlite_strict=True,
)

transactions = sa.Table(
    "transactions",
    metadata,
    seq(),
    integer("org"),
    text("id"),
    text("kind"),
    text("account"),
    integer("at_us"),
    text("fingerprint"),
    sa.UniqueConstraint("org", "id", name="transactions_id"),
    sa.CheckConstraint("kind IN ('grant', 'usage', 'expire', 'adjust')"),
    sa.Index("transactions_of_account", "org", "account", "seq"),
    sqlite_strict=True,
)

entries = sa.Table(
    "entries",
    metadata,
    int_key("org"),
    int_key("transaction"),
    int_key("line"),
    text("account"),
    text("book"),
    sa.Column("grant", sa.Text),
    text("currency"),
    integer("amount"),
    sa.CheckConstraint("book IN ('credits', 'debt', 'funding', 'revenue', 'breakage')"),
    within("amount", -MONEY_MAX),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

usage = sa.Table(
    "usage",
    metadata,
    seq(),
    integer("org"),
    text("id"),
    text("request_id"),
    text("account"),
    text("key"),
    text("service"),
    text("route"),
    text("path"),
    text("meter"),
    integer("units"),
    text("dimensions"),
    integer("cost"),
    text("currency"),
    text("measured"),
    text("plan"),
    text("policy"),
    text("budgets"),
    integer("at_us"),
    sa.Column("transaction", INT),
    sa.UniqueConstraint("org", "id", name="usage_id"),
    within("units", 0),
    within("cost", 0),
    sa.Index("usage_of_account", "org", "account", "at_us"),
    # The first charge of a request may carry its id: then there is nothing to write here.
    sa.Index("usage_of_request", "org", "request_id", sqlite_where=_OTHER_ID, postgresql_where=_OTHER_ID),
    sqlite_strict=True,
)

twins = sa.Table(
    "twins",
    metadata,
    org_key(),
    text_key("id"),
    text("fingerprint"),
    integer("until_us"),
    text("op"),
    sa.Column("answer", sa.LargeBinary),
    sa.Index("twins_until", "org", "until_us"),
    sqlite_strict=True,
)

audit = sa.Table(
    "audit",
    metadata,
    seq(),
    integer("org"),
    integer("at_us"),
    text("actor"),
    text("action"),
    text("subject"),
    text("details"),
    sa.Index("audit_in_order", "org", "seq"),
    sqlite_strict=True,
)

# Hashes over ranges of the tables above that only grow; see `chain`.

links = sa.Table(
    "links",
    metadata,
    int_key("org"),
    int_key("link"),
    text("hash"),
    text("before"),
    text("parts"),
    integer("at_us"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# What a counter store that several processes share has been told, and the proof that they share one pepper.

epochs = sa.Table(
    "epochs",
    metadata,
    org_key(),
    text("space"),
    text("epoch"),
    text("sequence"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

untold = sa.Table(
    "untold",
    metadata,
    seq(),
    org(),
    integer("at_us"),
    text("changes"),
    sqlite_strict=True,
)

peppers = sa.Table(
    "peppers",
    metadata,
    org_key(),
    int_key("version"),
    text("proof"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

# From here on everything is derived: it can be dropped, and is made again from the tables above.

account_balances = sa.Table(
    "account_balances",
    metadata,
    org_key(),
    text_key("account"),
    text_key("currency"),
    integer("balance"),
    integer("debt"),
    within("balance", -MONEY_MAX),
    within("debt", 0),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

grant_balances = sa.Table(
    "grant_balances",
    metadata,
    org_key(),
    text_key("grant"),
    text("account"),
    integer("remaining"),
    sa.Column("expires_at_us", INT),
    within("remaining", 1),
    sa.Index("grant_balances_account", "org", "account"),
    sa.Index("grant_balances_expiry", "org", "expires_at_us"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)

window_totals = sa.Table(
    "window_totals",
    metadata,
    org_key(),
    text_key("name"),
    integer("value"),
    integer("until_us"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
