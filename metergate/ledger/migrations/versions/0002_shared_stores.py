"""A counter store that several processes share: its epoch, and what it has not been told yet."""

import secrets

from alembic import op

revision = "0002"
down_revision = "0001"

# The same text for both databases; what they write differently stands in braces.
CHANGES = """
ALTER TABLE accounts ADD COLUMN version {int} NOT NULL DEFAULT 0;

ALTER TABLE keys ADD COLUMN version {int} NOT NULL DEFAULT 0;

CREATE TABLE epochs (
    org {int} NOT NULL PRIMARY KEY REFERENCES organisations (id),
    space TEXT NOT NULL,
    epoch TEXT NOT NULL,
    sequence TEXT NOT NULL
) {keyed};

INSERT INTO epochs SELECT id, '{space}', '', '[]' FROM organisations;

CREATE TABLE untold (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    at_us {int} NOT NULL,
    changes TEXT NOT NULL
) {strict};

CREATE TABLE peppers (
    org {int} NOT NULL REFERENCES organisations (id),
    version {int} NOT NULL,
    proof TEXT NOT NULL,
    PRIMARY KEY (org, version)
) {keyed}
"""
SQLITE = {"int": "INTEGER", "seq": "INTEGER", "strict": "STRICT", "keyed": "STRICT, WITHOUT ROWID"}
POSTGRES = {"int": "BIGINT", "seq": "BIGSERIAL", "strict": "", "keyed": ""}


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    words = (SQLITE if sqlite else POSTGRES) | {"space": secrets.token_hex(6)}
    for statement in CHANGES.format_map(words).split(";"):
        op.execute(statement)
