"""The tables of money in. Amounts are in the currency's smallest unit, credits in nanos.

What providers call things is UNIQUE per organisation and provider: that is what makes news of any order and
number have one effect. Refunds and disputes remember in `taken` how many nanos of credits they have taken
back, and in `said` which word about them was the last.
"""

import sqlalchemy as sa

from metergate.ledger.columns import (
    INT,
    account_of,
    flag,
    index_where,
    integer,
    metadata,
    org,
    org_key,
    seq,
    text,
    text_key,
    within,
)


def _external(table: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint("org", "provider", "external_id", name=f"{table}_external_id")


def _of_account(table: str) -> sa.Index:
    return sa.Index(f"{table}_of_account", "org", "account", "seq")


def _payment_of() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["org", "payment"], ["payments.org", "payments.id"])


customers = sa.Table(
    "customers",
    metadata,
    seq(),
    org(),
    text("account"),
    text("provider"),
    text("external_id"),
    integer("since_us"),
    sa.Column("until_us", INT),
    account_of(),
    _external("customers"),
    sa.Index(
        "customers_now",
        "org",
        "provider",
        "account",
        unique=True,
        sqlite_where=sa.text("until_us IS NULL"),
        postgresql_where=sa.text("until_us IS NULL"),
    ),
    sqlite_strict=True,
)

payments = sa.Table(
    "payments",
    metadata,
    seq(),
    org(),
    text("id"),
    text("account"),
    text("provider"),
    sa.Column("external_id", sa.Text),
    sa.Column("checkout_id", sa.Text),
    text("kind"),
    text("state"),
    flag("live"),
    text("currency"),
    integer("minor"),
    integer("paid_minor"),
    integer("credits"),
    text("subject"),
    text("description"),
    text("customer"),
    text("method"),
    text("url"),
    text("details"),
    text("terms"),
    text("reason"),
    text("mismatch"),
    flag("capturable"),
    flag("unknown"),
    integer("created_at_us"),
    integer("updated_at_us"),
    sa.Column("look_at_us", INT),
    account_of(),
    sa.UniqueConstraint("org", "id", name="payments_id"),
    _external("payments"),
    sa.UniqueConstraint("org", "provider", "checkout_id", name="payments_checkout_id"),
    sa.CheckConstraint("state IN ('pending', 'succeeded', 'failed', 'canceled')"),
    within("minor", 1),
    within("paid_minor", 0),
    within("credits", 0),
    _of_account("payments"),
    index_where("payments_to_look_at", "look_at_us", where="look_at_us IS NOT NULL"),
    index_where("payments_mismatched", "provider", where="mismatch <> ''"),
    sqlite_strict=True,
)

refunds = sa.Table(
    "refunds",
    metadata,
    seq(),
    org(),
    text("id"),
    text("payment"),
    text("provider"),
    sa.Column("external_id", sa.Text),
    text("state"),
    text("currency"),
    integer("minor"),
    sa.Column("taken", INT),
    integer("said"),
    integer("created_at_us"),
    sa.Column("look_at_us", INT),
    _payment_of(),
    sa.UniqueConstraint("org", "id", name="refunds_id"),
    _external("refunds"),
    sa.CheckConstraint("state IN ('pending', 'succeeded', 'failed')"),
    within("minor", 1),
    within("taken", 0),
    sa.Index("refunds_of_payment", "org", "payment"),
    index_where("refunds_to_look_at", "look_at_us", where="look_at_us IS NOT NULL"),
    sqlite_strict=True,
)

disputes = sa.Table(
    "disputes",
    metadata,
    seq(),
    org(),
    text("payment"),
    text("provider"),
    text("external_id"),
    text("state"),
    text("currency"),
    integer("minor"),
    sa.Column("taken", INT),
    integer("said"),
    integer("created_at_us"),
    _payment_of(),
    _external("disputes"),
    sa.CheckConstraint("state IN ('open', 'won', 'lost')"),
    within("minor", 1),
    within("taken", 0),
    sa.Index("disputes_of_payment", "org", "payment"),
    sqlite_strict=True,
)

provider_events = sa.Table(
    "provider_events",
    metadata,
    seq(),
    org(),
    text("provider"),
    text("event_id"),
    text("type"),
    text("event"),
    text("headers"),
    sa.Column("body", sa.LargeBinary, nullable=False),
    text("state"),
    text("detail"),
    integer("tries"),
    integer("next_at_us"),
    integer("at_us"),
    integer("received_at_us"),
    sa.Column("handled_at_us", INT),
    integer("deliveries"),
    sa.UniqueConstraint("org", "provider", "event_id", name="provider_events_id"),
    sa.CheckConstraint("state IN ('waiting', 'done', 'ignored', 'refused', 'dead')"),
    index_where("provider_events_waiting", "next_at_us", where="state = 'waiting'"),
    index_where("provider_events_dead", "provider", where="state = 'dead'"),
    index_where("provider_events_to_forget", "handled_at_us", where="length(body) > 0"),
    sqlite_strict=True,
)

subscriptions = sa.Table(
    "subscriptions",
    metadata,
    seq(),
    org(),
    text("id"),
    text("account"),
    text("provider"),
    sa.Column("external_id", sa.Text),
    text("plan"),
    text("state"),
    flag("live"),
    integer("period_start_us"),
    integer("period_end_us"),
    flag("ends"),
    text("metadata"),
    integer("created_at_us"),
    integer("updated_at_us"),
    account_of(),
    sa.UniqueConstraint("org", "id", name="subscriptions_id"),
    _external("subscriptions"),
    _of_account("subscriptions"),
    sqlite_strict=True,
)

provider_invoices = sa.Table(
    "provider_invoices",
    metadata,
    seq(),
    org(),
    text("account"),
    text("provider"),
    text("external_id"),
    text("invoice"),
    text("subscription"),
    text("state"),
    flag("live"),
    text("currency"),
    integer("minor"),
    integer("paid_minor"),
    text("url"),
    text("reason"),
    integer("created_at_us"),
    integer("updated_at_us"),
    account_of(),
    _external("provider_invoices"),
    _of_account("provider_invoices"),
    sqlite_strict=True,
)

provider_notes = sa.Table(
    "provider_notes",
    metadata,
    org_key(),
    text_key("provider"),
    text_key("name"),
    text("text"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
