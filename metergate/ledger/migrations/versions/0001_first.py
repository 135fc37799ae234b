"""The first tables, complete, and the triggers that keep the growing ones from ever being changed."""

from typing import Final

from alembic import op

revision = "0001"
down_revision = None

MAX: Final = 2**63 - 1

# The same text for both databases; what they write differently stands in braces.
TABLES: Final = """
CREATE TABLE organisations (
    id {int} NOT NULL PRIMARY KEY,
    name TEXT NOT NULL,
    snapshots {flag} NOT NULL
) {strict};

CREATE TABLE accounts (
    org {int} NOT NULL REFERENCES organisations (id),
    id TEXT NOT NULL,
    plan TEXT NOT NULL,
    plan_since_us {int} NOT NULL,
    name TEXT NOT NULL,
    email TEXT NOT NULL,
    currency TEXT NOT NULL,
    metadata TEXT NOT NULL,
    suspended {flag} NOT NULL,
    created_at_us {int} NOT NULL,
    PRIMARY KEY (org, id)
) {keyed};

CREATE TABLE plan_changes (
    org {int} NOT NULL REFERENCES organisations (id),
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    plan TEXT NOT NULL,
    since_us {int} NOT NULL,
    PRIMARY KEY (org, id),
    FOREIGN KEY (org, account) REFERENCES accounts (org, id)
) {keyed};

CREATE TABLE keys (
    org {int} NOT NULL REFERENCES organisations (id),
    kid TEXT NOT NULL,
    account TEXT NOT NULL,
    digest TEXT NOT NULL,
    pepper {int} NOT NULL,
    environment TEXT NOT NULL,
    scopes TEXT NOT NULL,
    revoked_at_us {int} NOT NULL,
    expires_at_us {int} NOT NULL,
    last4 TEXT NOT NULL,
    replaced_by TEXT NOT NULL,
    cap_nanos {int} NOT NULL CHECK (cap_nanos BETWEEN 0 AND {max}),
    cap_every TEXT NOT NULL,
    created_at_us {int} NOT NULL,
    PRIMARY KEY (org, kid),
    FOREIGN KEY (org, account) REFERENCES accounts (org, id)
) {keyed};
CREATE INDEX keys_of_account ON keys (org, account);

CREATE TABLE grants (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    currency TEXT NOT NULL,
    amount {int} NOT NULL CHECK (amount BETWEEN 1 AND {max}),
    priority {int} NOT NULL,
    promotional {flag} NOT NULL,
    effective_at_us {int} NOT NULL,
    expires_at_us {int},
    memo TEXT NOT NULL,
    created_at_us {int} NOT NULL,
    FOREIGN KEY (org, account) REFERENCES accounts (org, id),
    CONSTRAINT grants_id UNIQUE (org, id)
) {strict};
CREATE INDEX grants_of_account ON grants (org, account, seq);

CREATE TABLE transactions (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL CHECK (kind IN ('grant', 'usage', 'expire', 'adjust')),
    account TEXT NOT NULL,
    at_us {int} NOT NULL,
    fingerprint TEXT NOT NULL,
    CONSTRAINT transactions_id UNIQUE (org, id)
) {strict};
CREATE INDEX transactions_of_account ON transactions (org, account, seq);

CREATE TABLE entries (
    org {int} NOT NULL,
    "transaction" {int} NOT NULL,
    line {int} NOT NULL,
    account TEXT NOT NULL,
    book TEXT NOT NULL CHECK (book IN ('credits', 'debt', 'funding', 'revenue', 'breakage')),
    "grant" TEXT,
    currency TEXT NOT NULL,
    amount {int} NOT NULL CHECK (amount BETWEEN -{max} AND {max}),
    PRIMARY KEY (org, "transaction", line)
) {keyed};

CREATE TABLE usage (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL,
    id TEXT NOT NULL,
    request_id TEXT NOT NULL,
    account TEXT NOT NULL,
    key TEXT NOT NULL,
    service TEXT NOT NULL,
    route TEXT NOT NULL,
    path TEXT NOT NULL,
    meter TEXT NOT NULL,
    units {int} NOT NULL CHECK (units BETWEEN 0 AND {max}),
    dimensions TEXT NOT NULL,
    cost {int} NOT NULL CHECK (cost BETWEEN 0 AND {max}),
    currency TEXT NOT NULL,
    measured TEXT NOT NULL,
    plan TEXT NOT NULL,
    policy TEXT NOT NULL,
    budgets TEXT NOT NULL,
    at_us {int} NOT NULL,
    "transaction" {int},
    CONSTRAINT usage_id UNIQUE (org, id)
) {strict};
CREATE INDEX usage_of_account ON usage (org, account, at_us);
CREATE INDEX usage_of_request ON usage (org, request_id) WHERE request_id <> id;

CREATE TABLE twins (
    org {int} NOT NULL REFERENCES organisations (id),
    id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    until_us {int} NOT NULL,
    op TEXT NOT NULL,
    answer {bytes},
    PRIMARY KEY (org, id)
) {strict};
CREATE INDEX twins_until ON twins (org, until_us);

CREATE TABLE audit (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL,
    at_us {int} NOT NULL,
    actor TEXT NOT NULL,
    action TEXT NOT NULL,
    subject TEXT NOT NULL,
    details TEXT NOT NULL
) {strict};
CREATE INDEX audit_in_order ON audit (org, seq);

CREATE TABLE account_balances (
    org {int} NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL,
    currency TEXT NOT NULL,
    balance {int} NOT NULL CHECK (balance BETWEEN -{max} AND {max}),
    debt {int} NOT NULL CHECK (debt BETWEEN 0 AND {max}),
    PRIMARY KEY (org, account, currency)
) {keyed};

CREATE TABLE grant_balances (
    org {int} NOT NULL REFERENCES organisations (id),
    "grant" TEXT NOT NULL,
    account TEXT NOT NULL,
    remaining {int} NOT NULL CHECK (remaining BETWEEN 1 AND {max}),
    expires_at_us {int},
    PRIMARY KEY (org, "grant")
) {keyed};
CREATE INDEX grant_balances_account ON grant_balances (org, account);
CREATE INDEX grant_balances_expiry ON grant_balances (org, expires_at_us);

CREATE TABLE window_totals (
    org {int} NOT NULL REFERENCES organisations (id),
    name TEXT NOT NULL,
    value {int} NOT NULL,
    until_us {int} NOT NULL,
    PRIMARY KEY (org, name)
) {keyed}
"""

GROWING: Final = ("transactions", "entries", "usage", "audit")

SQLITE: Final = {
    "int": "INTEGER",
    "flag": "INTEGER",
    "bytes": "BLOB",
    "seq": "INTEGER",
    "strict": "STRICT",
    "keyed": "STRICT, WITHOUT ROWID",
}
POSTGRES: Final = {
    "int": "BIGINT",
    "flag": "BOOLEAN",
    "bytes": "BYTEA",
    "seq": "BIGSERIAL",
    "strict": "",
    "keyed": "",
}

SQLITE_GUARD: Final = """
CREATE TRIGGER {table}_{verb}_refused BEFORE {verb} ON {table}
BEGIN SELECT RAISE(ABORT, '{table} is append-only: correct it with a new row.'); END
"""
POSTGRES_REFUSAL: Final = """
CREATE FUNCTION metergate_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: correct it with a new row.', TG_TABLE_NAME
        USING ERRCODE = 'integrity_constraint_violation';
END $$
"""
POSTGRES_GUARD: Final = """
CREATE TRIGGER {table}_change_refused BEFORE UPDATE OR DELETE OR TRUNCATE ON {table}
FOR EACH STATEMENT EXECUTE FUNCTION metergate_refuse_change()
"""


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    for statement in TABLES.format_map((SQLITE if sqlite else POSTGRES) | {"max": str(MAX)}).split(";"):
        op.execute(statement)
    if not sqlite:
        op.execute(POSTGRES_REFUSAL)
    for table in GROWING:
        for verb in ("update", "delete") if sqlite else ("change",):
            op.execute((SQLITE_GUARD if sqlite else POSTGRES_GUARD).format(table=table, verb=verb))
