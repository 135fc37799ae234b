"""Where a key may come from."""

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("keys")}
    if "networks" not in there:
        op.execute("ALTER TABLE keys ADD COLUMN networks TEXT NOT NULL DEFAULT '[]'")
