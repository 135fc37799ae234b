"""Customers without names and e-mail addresses, and indexes for what is counted and forgotten of money.

Some ledgers have all of this from an earlier revision, which was changed for a while: they stay as they are.
"""

from typing import Final

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"

INDEXES: Final = (
    "payments_mismatched ON payments (org, provider) WHERE mismatch <> ''",
    "provider_events_dead ON provider_events (org, provider) WHERE state = 'dead'",
    "provider_events_to_forget ON provider_events (org, handled_at_us) WHERE length(body) > 0",
)


def upgrade() -> None:
    there = {column["name"] for column in sa.inspect(op.get_bind()).get_columns("customers")}
    for name in sorted(there & {"email", "name"}):
        op.execute(f"ALTER TABLE customers DROP COLUMN {name}")
    for index in INDEXES:
        op.execute(f"CREATE INDEX IF NOT EXISTS {index}")
