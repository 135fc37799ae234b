"""The tables of what is told to others: endpoints, notices as they were made, and every attempt."""

import sqlalchemy as sa

from metergate.ledger.payment_tables import _org, _where
from metergate.ledger.tables import INT, _int, _seq, _text, metadata

endpoints = sa.Table(
    "endpoints",
    metadata,
    _seq(),
    _org(),
    _text("id"),
    _text("url"),
    _text("types"),
    _text("description"),
    # Secrets are made from a pepper, the id and the version; none is stored.
    _int("pepper"),
    _int("version"),
    _int("both_until_us"),
    _text("state"),
    _int("failures"),
    sa.Column("failing_since_us", INT),
    _int("pause_until_us"),
    _text("reason"),
    _int("created_at_us"),
    sa.UniqueConstraint("org", "id", name="endpoints_id"),
    sa.CheckConstraint("state IN ('on', 'off', 'failing')"),
    sqlite_strict=True,
)

notices = sa.Table(
    "notices",
    metadata,
    _seq(),
    _org(),
    _text("id"),
    _text("type"),
    _text("account"),
    _text("body"),
    _int("at_us"),
    sa.UniqueConstraint("org", "id", name="notices_id"),
    sa.Index("notices_by_time", "org", "at_us"),
    sqlite_strict=True,
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    _seq(),
    _org(),
    _text("endpoint"),
    _text("notice"),
    _text("state"),
    _int("tries"),
    _int("next_at_us"),
    _int("status"),
    _text("detail"),
    _int("at_us"),
    sa.Column("ended_at_us", INT),
    sa.ForeignKeyConstraint(["org", "endpoint"], ["endpoints.org", "endpoints.id"]),
    sa.ForeignKeyConstraint(["org", "notice"], ["notices.org", "notices.id"]),
    sa.UniqueConstraint("org", "endpoint", "notice", name="deliveries_once"),
    sa.CheckConstraint("state IN ('waiting', 'delivered', 'dead')"),
    _where("deliveries_waiting", "endpoint", "next_at_us", where="state = 'waiting'"),
    sa.Index("deliveries_of_notice", "org", "notice"),
    sqlite_strict=True,
)

attempts = sa.Table(
    "attempts",
    metadata,
    _seq(),
    _org(),
    sa.Column("delivery", INT, sa.ForeignKey("deliveries.seq"), nullable=False),
    _int("at_us"),
    _int("took_us"),
    _int("status"),
    _text("detail"),
    sa.Index("attempts_of_delivery", "org", "delivery"),
    sqlite_strict=True,
)
