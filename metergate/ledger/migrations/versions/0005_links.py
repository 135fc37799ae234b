"""A chain of hashes over the rows that only ever grow; its links only grow, too."""

from alembic import op

revision = "0005"
down_revision = "0004"

# The same text for both databases; what they write differently stands in braces.
TABLE = """
CREATE TABLE links (
    org {int} NOT NULL,
    link {int} NOT NULL,
    hash TEXT NOT NULL,
    before TEXT NOT NULL,
    parts TEXT NOT NULL,
    at_us {int} NOT NULL,
    PRIMARY KEY (org, link)
) {keyed}
"""
SQLITE = {"int": "INTEGER", "keyed": "STRICT, WITHOUT ROWID"}
POSTGRES = {"int": "BIGINT", "keyed": ""}
SQLITE_GUARD = """
CREATE TRIGGER links_{verb}_refused BEFORE {verb} ON links
BEGIN SELECT RAISE(ABORT, 'links is append-only: correct it with a new row.'); END
"""
POSTGRES_GUARD = """
CREATE TRIGGER links_change_refused BEFORE UPDATE OR DELETE OR TRUNCATE ON links
FOR EACH STATEMENT EXECUTE FUNCTION metergate_refuse_change()
"""


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    op.execute(TABLE.format_map(SQLITE if sqlite else POSTGRES))
    if sqlite:
        for verb in ("update", "delete"):
            op.execute(SQLITE_GUARD.format(verb=verb))
    else:
        op.execute(POSTGRES_GUARD)
