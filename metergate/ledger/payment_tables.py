"""The tables of money in. Amounts are in the currency's smallest unit, credits in nanos.

What providers call things is UNIQUE per organisation and provider: that is what makes news of any order and
number have one effect. Refunds and disputes remember in `taken` how many nanos of credits they have taken
back, and in `said` which word about them was the last.
"""

import sqlalchemy as sa

from metergate.ledger.tables import FLAG, INT, _account_of, _int, _range, _seq, _text, metadata


def _org() -> sa.Column[int]:
    return sa.Column("org", INT, sa.ForeignKey("organisations.id"), nullable=False)


def _flag(name: str) -> sa.Column[bool]:
    return sa.Column(name, FLAG, nullable=False)


def _external(table: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint("org", "provider", "external_id", name=f"{table}_external_id")


def _of_account(table: str) -> sa.Index:
    return sa.Index(f"{table}_of_account", "org", "account", "seq")


def _where(name: str, *columns: str, where: str) -> sa.Index:
    return sa.Index(name, "org", *columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where))


def _payment_of() -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint(["org", "payment"], ["payments.org", "payments.id"])


customers = sa.Table(
    "customers",
    metadata,
    _seq(),
    _org(),
    _text("account"),
    _text("provider"),
    _text("external_id"),
    _int("since_us"),
    sa.Column("until_us", INT),
    _account_of(),
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
    _seq(),
    _org(),
    _text("id"),
    _text("account"),
    _text("provider"),
    sa.Column("external_id", sa.Text),
    sa.Column("checkout_id", sa.Text),
    _text("kind"),
    _text("state"),
    _flag("live"),
    _text("currency"),
    _int("minor"),
    _int("paid_minor"),
    _int("credits"),
    _text("subject"),
    _text("description"),
    _text("customer"),
    _text("method"),
    _text("url"),
    _text("details"),
    _text("terms"),
    _text("reason"),
    _text("mismatch"),
    _flag("capturable"),
    _flag("unknown"),
    _int("created_at_us"),
    _int("updated_at_us"),
    sa.Column("look_at_us", INT),
    _account_of(),
    sa.UniqueConstraint("org", "id", name="payments_id"),
    _external("payments"),
    sa.UniqueConstraint("org", "provider", "checkout_id", name="payments_checkout_id"),
    sa.CheckConstraint("state IN ('pending', 'succeeded', 'failed', 'canceled')"),
    _range("minor", 1),
    _range("paid_minor", 0),
    _range("credits", 0),
    _of_account("payments"),
    _where("payments_to_look_at", "look_at_us", where="look_at_us IS NOT NULL"),
    _where("payments_mismatched", "provider", where="mismatch <> ''"),
    sqlite_strict=True,
)

refunds = sa.Table(
    "refunds",
    metadata,
    _seq(),
    _org(),
    _text("id"),
    _text("payment"),
    _text("provider"),
    sa.Column("external_id", sa.Text),
    _text("state"),
    _text("currency"),
    _int("minor"),
    sa.Column("taken", INT),
    _int("said"),
    _int("created_at_us"),
    sa.Column("look_at_us", INT),
    _payment_of(),
    sa.UniqueConstraint("org", "id", name="refunds_id"),
    _external("refunds"),
    sa.CheckConstraint("state IN ('pending', 'succeeded', 'failed')"),
    _range("minor", 1),
    _range("taken", 0),
    sa.Index("refunds_of_payment", "org", "payment"),
    _where("refunds_to_look_at", "look_at_us", where="look_at_us IS NOT NULL"),
    sqlite_strict=True,
)

disputes = sa.Table(
    "disputes",
    metadata,
    _seq(),
    _org(),
    _text("payment"),
    _text("provider"),
    _text("external_id"),
    _text("state"),
    _text("currency"),
    _int("minor"),
    sa.Column("taken", INT),
    _int("said"),
    _int("created_at_us"),
    _payment_of(),
    _external("disputes"),
    sa.CheckConstraint("state IN ('open', 'won', 'lost')"),
    _range("minor", 1),
    _range("taken", 0),
    sa.Index("disputes_of_payment", "org", "payment"),
    sqlite_strict=True,
)

provider_events = sa.Table(
    "provider_events",
    metadata,
    _seq(),
    _org(),
    _text("provider"),
    _text("event_id"),
    _text("type"),
    _text("event"),
    _text("headers"),
    sa.Column("body", sa.LargeBinary, nullable=False),
    _text("state"),
    _text("detail"),
    _int("tries"),
    _int("next_at_us"),
    _int("at_us"),
    _int("received_at_us"),
    sa.Column("handled_at_us", INT),
    _int("deliveries"),
    sa.UniqueConstraint("org", "provider", "event_id", name="provider_events_id"),
    sa.CheckConstraint("state IN ('waiting', 'done', 'ignored', 'refused', 'dead')"),
    _where("provider_events_waiting", "next_at_us", where="state = 'waiting'"),
    _where("provider_events_dead", "provider", where="state = 'dead'"),
    _where("provider_events_to_forget", "handled_at_us", where="length(body) > 0"),
    sqlite_strict=True,
)

subscriptions = sa.Table(
    "subscriptions",
    metadata,
    _seq(),
    _org(),
    _text("id"),
    _text("account"),
    _text("provider"),
    sa.Column("external_id", sa.Text),
    _text("plan"),
    _text("state"),
    _flag("live"),
    _int("period_start_us"),
    _int("period_end_us"),
    _flag("ends"),
    _text("metadata"),
    _int("created_at_us"),
    _int("updated_at_us"),
    _account_of(),
    sa.UniqueConstraint("org", "id", name="subscriptions_id"),
    _external("subscriptions"),
    _of_account("subscriptions"),
    sqlite_strict=True,
)

provider_invoices = sa.Table(
    "provider_invoices",
    metadata,
    _seq(),
    _org(),
    _text("account"),
    _text("provider"),
    _text("external_id"),
    _text("invoice"),
    _text("subscription"),
    _text("state"),
    _flag("live"),
    _text("currency"),
    _int("minor"),
    _int("paid_minor"),
    _text("url"),
    _text("reason"),
    _int("created_at_us"),
    _int("updated_at_us"),
    _account_of(),
    _external("provider_invoices"),
    _of_account("provider_invoices"),
    sqlite_strict=True,
)

provider_notes = sa.Table(
    "provider_notes",
    metadata,
    sa.Column("org", INT, sa.ForeignKey("organisations.id"), primary_key=True, autoincrement=False),
    sa.Column("provider", sa.Text, primary_key=True),
    sa.Column("name", sa.Text, primary_key=True),
    _text("text"),
    sqlite_strict=True,
    sqlite_with_rowid=False,
)
