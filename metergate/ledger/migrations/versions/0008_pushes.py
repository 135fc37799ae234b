"""What providers are told of usage: how far the ledger was read, windows, and intents."""

from typing import Final

from alembic import op

revision = "0008"
down_revision = "0007"

MAX: Final = 2**63 - 1

# The same text for both databases; what they write differently stands in braces.
TABLES: Final = """
CREATE TABLE push_progress (
    org {int} NOT NULL PRIMARY KEY REFERENCES organisations (id),
    seq {int} NOT NULL,
    grids TEXT NOT NULL,
    doubt_until_us {int} NOT NULL
) {keyed};

CREATE TABLE push_accounts (
    org {int} NOT NULL REFERENCES organisations (id),
    provider TEXT NOT NULL,
    account TEXT NOT NULL,
    since_us {int} NOT NULL,
    PRIMARY KEY (org, provider, account),
    FOREIGN KEY (org, account) REFERENCES accounts (org, id)
) {keyed};

CREATE TABLE push_splits (
    org {int} NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL,
    at_us {int} NOT NULL,
    PRIMARY KEY (org, account, at_us),
    FOREIGN KEY (org, account) REFERENCES accounts (org, id)
) {keyed};

CREATE TABLE push_windows (
    org {int} NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL,
    meter TEXT NOT NULL,
    start_us {int} NOT NULL,
    end_us {int} NOT NULL,
    provider TEXT NOT NULL,
    customer TEXT NOT NULL,
    units {int} NOT NULL CHECK (units BETWEEN 0 AND {max}),
    revisions {int} NOT NULL,
    changed {flag} NOT NULL,
    PRIMARY KEY (org, account, meter, start_us),
    FOREIGN KEY (org, account) REFERENCES accounts (org, id)
) {keyed};
CREATE INDEX push_windows_changed ON push_windows (org, end_us) WHERE changed;

CREATE TABLE push_intents (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    provider TEXT NOT NULL,
    account TEXT NOT NULL,
    customer TEXT NOT NULL,
    meter TEXT NOT NULL,
    start_us {int} NOT NULL,
    end_us {int} NOT NULL,
    revision {int} NOT NULL,
    identifier TEXT NOT NULL,
    units {int} NOT NULL,
    at_us {int} NOT NULL,
    repair {flag} NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'sent', 'accepted', 'parked', 'dropped', 'late')),
    detail TEXT NOT NULL,
    tries {int} NOT NULL,
    unsure_since_us {int},
    next_at_us {int} NOT NULL,
    created_at_us {int} NOT NULL,
    updated_at_us {int} NOT NULL,
    CONSTRAINT push_intents_identifier UNIQUE (org, identifier),
    CONSTRAINT push_intents_revision UNIQUE (org, account, meter, start_us, revision)
) {strict};
CREATE INDEX push_intents_unfinished ON push_intents (org, provider, customer, meter, seq)
    WHERE state IN ('pending', 'sent', 'parked');
CREATE INDEX push_intents_of_customer ON push_intents (org, provider, customer, meter, at_us)
"""
SQLITE: Final = {
    "int": "INTEGER",
    "seq": "INTEGER",
    "flag": "INTEGER",
    "strict": "STRICT",
    "keyed": "STRICT, WITHOUT ROWID",
}
POSTGRES: Final = {"int": "BIGINT", "seq": "BIGSERIAL", "flag": "BOOLEAN", "strict": "", "keyed": ""}


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    words = (SQLITE if sqlite else POSTGRES) | {"max": str(MAX)}
    for statement in TABLES.format_map(words).split(";"):
        op.execute(statement)
