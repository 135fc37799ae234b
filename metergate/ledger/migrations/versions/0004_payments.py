"""Money in: customers of providers, payments with their refunds and disputes, and the inbox of their news."""

from typing import Final

from alembic import op

revision = "0004"
down_revision = "0003"

MAX: Final = 2**63 - 1

# The same text for both databases; what they write differently stands in braces.
TABLES: Final = """
CREATE TABLE customers (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL,
    provider TEXT NOT NULL,
    external_id TEXT NOT NULL,
    email TEXT NOT NULL,
    name TEXT NOT NULL,
    since_us {int} NOT NULL,
    until_us {int},
    FOREIGN KEY (org, account) REFERENCES accounts (org, id),
    CONSTRAINT customers_external_id UNIQUE (org, provider, external_id)
) {strict};
CREATE UNIQUE INDEX customers_now ON customers (org, provider, account) WHERE until_us IS NULL;

CREATE TABLE payments (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    provider TEXT NOT NULL,
    external_id TEXT,
    checkout_id TEXT,
    kind TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed', 'canceled')),
    live {flag} NOT NULL,
    currency TEXT NOT NULL,
    minor {int} NOT NULL CHECK (minor BETWEEN 1 AND {max}),
    paid_minor {int} NOT NULL CHECK (paid_minor BETWEEN 0 AND {max}),
    credits {int} NOT NULL CHECK (credits BETWEEN 0 AND {max}),
    subject TEXT NOT NULL,
    description TEXT NOT NULL,
    customer TEXT NOT NULL,
    method TEXT NOT NULL,
    url TEXT NOT NULL,
    details TEXT NOT NULL,
    terms TEXT NOT NULL,
    reason TEXT NOT NULL,
    mismatch TEXT NOT NULL,
    capturable {flag} NOT NULL,
    unknown {flag} NOT NULL,
    created_at_us {int} NOT NULL,
    updated_at_us {int} NOT NULL,
    look_at_us {int},
    FOREIGN KEY (org, account) REFERENCES accounts (org, id),
    CONSTRAINT payments_id UNIQUE (org, id),
    CONSTRAINT payments_external_id UNIQUE (org, provider, external_id),
    CONSTRAINT payments_checkout_id UNIQUE (org, provider, checkout_id)
) {strict};
CREATE INDEX payments_of_account ON payments (org, account, seq);
CREATE INDEX payments_to_look_at ON payments (org, look_at_us) WHERE look_at_us IS NOT NULL;

CREATE TABLE refunds (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    id TEXT NOT NULL,
    payment TEXT NOT NULL,
    provider TEXT NOT NULL,
    external_id TEXT,
    state TEXT NOT NULL CHECK (state IN ('pending', 'succeeded', 'failed')),
    currency TEXT NOT NULL,
    minor {int} NOT NULL CHECK (minor BETWEEN 1 AND {max}),
    taken {int} CHECK (taken BETWEEN 0 AND {max}),
    created_at_us {int} NOT NULL,
    look_at_us {int},
    FOREIGN KEY (org, payment) REFERENCES payments (org, id),
    CONSTRAINT refunds_id UNIQUE (org, id),
    CONSTRAINT refunds_external_id UNIQUE (org, provider, external_id)
) {strict};
CREATE INDEX refunds_of_payment ON refunds (org, payment);
CREATE INDEX refunds_to_look_at ON refunds (org, look_at_us) WHERE look_at_us IS NOT NULL;

CREATE TABLE disputes (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    payment TEXT NOT NULL,
    provider TEXT NOT NULL,
    external_id TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('open', 'won', 'lost')),
    currency TEXT NOT NULL,
    minor {int} NOT NULL CHECK (minor BETWEEN 1 AND {max}),
    taken {int} CHECK (taken BETWEEN 0 AND {max}),
    created_at_us {int} NOT NULL,
    FOREIGN KEY (org, payment) REFERENCES payments (org, id),
    CONSTRAINT disputes_external_id UNIQUE (org, provider, external_id)
) {strict};
CREATE INDEX disputes_of_payment ON disputes (org, payment);

CREATE TABLE provider_events (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    provider TEXT NOT NULL,
    event_id TEXT NOT NULL,
    type TEXT NOT NULL,
    event TEXT NOT NULL,
    headers TEXT NOT NULL,
    body {bytes} NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'done', 'ignored', 'refused', 'dead')),
    detail TEXT NOT NULL,
    tries {int} NOT NULL,
    next_at_us {int} NOT NULL,
    at_us {int} NOT NULL,
    received_at_us {int} NOT NULL,
    handled_at_us {int},
    deliveries {int} NOT NULL,
    CONSTRAINT provider_events_id UNIQUE (org, provider, event_id)
) {strict};
CREATE INDEX provider_events_waiting ON provider_events (org, next_at_us) WHERE state = 'waiting';

CREATE TABLE subscriptions (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    id TEXT NOT NULL,
    account TEXT NOT NULL,
    provider TEXT NOT NULL,
    external_id TEXT,
    plan TEXT NOT NULL,
    state TEXT NOT NULL,
    live {flag} NOT NULL,
    period_start_us {int} NOT NULL,
    period_end_us {int} NOT NULL,
    ends {flag} NOT NULL,
    metadata TEXT NOT NULL,
    created_at_us {int} NOT NULL,
    updated_at_us {int} NOT NULL,
    FOREIGN KEY (org, account) REFERENCES accounts (org, id),
    CONSTRAINT subscriptions_id UNIQUE (org, id),
    CONSTRAINT subscriptions_external_id UNIQUE (org, provider, external_id)
) {strict};
CREATE INDEX subscriptions_of_account ON subscriptions (org, account, seq);

CREATE TABLE provider_invoices (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL,
    provider TEXT NOT NULL,
    external_id TEXT NOT NULL,
    invoice TEXT NOT NULL,
    subscription TEXT NOT NULL,
    state TEXT NOT NULL,
    live {flag} NOT NULL,
    currency TEXT NOT NULL,
    minor {int} NOT NULL,
    paid_minor {int} NOT NULL,
    url TEXT NOT NULL,
    reason TEXT NOT NULL,
    created_at_us {int} NOT NULL,
    updated_at_us {int} NOT NULL,
    FOREIGN KEY (org, account) REFERENCES accounts (org, id),
    CONSTRAINT provider_invoices_external_id UNIQUE (org, provider, external_id)
) {strict};
CREATE INDEX provider_invoices_of_account ON provider_invoices (org, account, seq);

CREATE TABLE provider_notes (
    org {int} NOT NULL REFERENCES organisations (id),
    provider TEXT NOT NULL,
    name TEXT NOT NULL,
    text TEXT NOT NULL,
    PRIMARY KEY (org, provider, name)
) {keyed}
"""
SQLITE: Final = {
    "int": "INTEGER",
    "seq": "INTEGER",
    "flag": "INTEGER",
    "bytes": "BLOB",
    "strict": "STRICT",
    "keyed": "STRICT, WITHOUT ROWID",
}
POSTGRES: Final = {
    "int": "BIGINT",
    "seq": "BIGSERIAL",
    "flag": "BOOLEAN",
    "bytes": "BYTEA",
    "strict": "",
    "keyed": "",
}


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    words = (SQLITE if sqlite else POSTGRES) | {"max": str(MAX)}
    for statement in TABLES.format_map(words).split(";"):
        op.execute(statement)
