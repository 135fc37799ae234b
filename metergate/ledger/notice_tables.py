"""The tables of what is told to others: endpoints, notices as they were made, and every attempt."""

import sqlalchemy as sa

from metergate.ledger.columns import INT, index_where, integer, metadata, org, seq, text

endpoints = sa.Table(
    "endpoints",
    metadata,
    seq(),
    org(),
    text("id"),
    text("url"),
    text("types"),
    text("description"),
    # Secrets are made from a pepper, the id and the version; none is stored.
    integer("pepper"),
    integer("version"),
    integer("both_until_us"),
    text("state"),
    integer("failures"),
    sa.Column("failing_since_us", INT),
    integer("pause_until_us"),
    text("reason"),
    integer("created_at_us"),
    sa.UniqueConstraint("org", "id", name="endpoints_id"),
    sa.CheckConstraint("state IN ('on', 'off', 'failing')"),
    sqlite_strict=True,
)

notices = sa.Table(
    "notices",
    metadata,
    seq(),
    org(),
    text("id"),
    text("type"),
    text("account"),
    text("body"),
    integer("at_us"),
    sa.UniqueConstraint("org", "id", name="notices_id"),
    sa.Index("notices_by_time", "org", "at_us"),
    sqlite_strict=True,
)

deliveries = sa.Table(
    "deliveries",
    metadata,
    seq(),
    org(),
    text("endpoint"),
    text("notice"),
    text("state"),
    integer("tries"),
    integer("next_at_us"),
    integer("status"),
    text("detail"),
    integer("at_us"),
    sa.Column("ended_at_us", INT),
    sa.ForeignKeyConstraint(["org", "endpoint"], ["endpoints.org", "endpoints.id"]),
    sa.ForeignKeyConstraint(["org", "notice"], ["notices.org", "notices.id"]),
    sa.UniqueConstraint("org", "endpoint", "notice", name="deliveries_once"),
    sa.CheckConstraint("state IN ('waiting', 'delivered', 'dead')"),
    index_where("deliveries_waiting", "endpoint", "next_at_us", where="state = 'waiting'"),
    sa.Index("deliveries_of_notice", "org", "notice"),
    sqlite_strict=True,
)

attempts = sa.Table(
    "attempts",
    metadata,
    seq(),
    org(),
    sa.Column("delivery", INT, sa.ForeignKey("deliveries.seq"), nullable=False),
    integer("at_us"),
    integer("took_us"),
    integer("status"),
    text("detail"),
    sa.Index("attempts_of_delivery", "org", "delivery"),
    sqlite_strict=True,
)
