"""Refunds and disputes remember which word about them was the last: what is lost can be won after all."""

from alembic import op

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    kind = "INTEGER" if op.get_bind().dialect.name == "sqlite" else "BIGINT"
    for table in ("refunds", "disputes"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN said {kind} NOT NULL DEFAULT 0")
