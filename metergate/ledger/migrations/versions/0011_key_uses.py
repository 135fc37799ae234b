"""When keys were last used."""

from alembic import op

revision = "0011"
down_revision = "0010"


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    whole, end = ("INTEGER", " STRICT, WITHOUT ROWID") if sqlite else ("BIGINT", "")
    op.execute(
        f"CREATE TABLE IF NOT EXISTS key_uses (org {whole} NOT NULL REFERENCES organisations (id),"
        f" kid TEXT NOT NULL, at_us {whole} NOT NULL, PRIMARY KEY (org, kid)){end}"
    )
