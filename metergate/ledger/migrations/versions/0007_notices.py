"""What is told to others and by whom it was heard; top-ups by themselves, alerts, and the brakes."""

from typing import Final

from alembic import op

revision = "0007"
down_revision = "0006"

MAX: Final = 2**63 - 1

# The same text for both databases; what they write differently stands in braces.
TABLES: Final = """
CREATE TABLE endpoints (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    id TEXT NOT NULL,
    url TEXT NOT NULL,
    types TEXT NOT NULL,
    description TEXT NOT NULL,
    pepper {int} NOT NULL,
    version {int} NOT NULL,
    both_until_us {int} NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('on', 'off', 'failing')),
    failures {int} NOT NULL,
    failing_since_us {int},
    pause_until_us {int} NOT NULL,
    reason TEXT NOT NULL,
    created_at_us {int} NOT NULL,
    CONSTRAINT endpoints_id UNIQUE (org, id)
) {strict};

CREATE TABLE notices (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    account TEXT NOT NULL,
    body TEXT NOT NULL,
    at_us {int} NOT NULL,
    CONSTRAINT notices_id UNIQUE (org, id)
) {strict};
CREATE INDEX notices_by_time ON notices (org, at_us);

CREATE TABLE deliveries (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    endpoint TEXT NOT NULL,
    notice TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('waiting', 'delivered', 'dead')),
    tries {int} NOT NULL,
    next_at_us {int} NOT NULL,
    status {int} NOT NULL,
    detail TEXT NOT NULL,
    at_us {int} NOT NULL,
    ended_at_us {int},
    FOREIGN KEY (org, endpoint) REFERENCES endpoints (org, id),
    FOREIGN KEY (org, notice) REFERENCES notices (org, id),
    CONSTRAINT deliveries_once UNIQUE (org, endpoint, notice)
) {strict};
CREATE INDEX deliveries_waiting ON deliveries (org, endpoint, next_at_us) WHERE state = 'waiting';
CREATE INDEX deliveries_of_notice ON deliveries (org, notice);

CREATE TABLE attempts (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    delivery {int} NOT NULL REFERENCES deliveries (seq),
    at_us {int} NOT NULL,
    took_us {int} NOT NULL,
    status {int} NOT NULL,
    detail TEXT NOT NULL
) {strict};
CREATE INDEX attempts_of_delivery ON attempts (org, delivery);

CREATE TABLE top_ups (
    org {int} NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('on', 'off', 'stopped')),
    threshold {int} NOT NULL CHECK (threshold BETWEEN 0 AND {max}),
    amount {int} NOT NULL CHECK (amount BETWEEN 0 AND {max}),
    pack TEXT NOT NULL,
    monthly_cap {int} NOT NULL CHECK (monthly_cap BETWEEN 0 AND {max}),
    method TEXT NOT NULL,
    round {int} NOT NULL,
    payment TEXT NOT NULL,
    terms TEXT NOT NULL,
    declines {int} NOT NULL,
    tries {int} NOT NULL,
    next_at_us {int} NOT NULL,
    window_us {int} NOT NULL,
    spent {int} NOT NULL CHECK (spent BETWEEN 0 AND {max}),
    reason TEXT NOT NULL,
    updated_at_us {int} NOT NULL,
    PRIMARY KEY (org, account),
    FOREIGN KEY (org, account) REFERENCES accounts (org, id)
) {keyed};

CREATE TABLE alert_settings (
    org {int} NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL,
    balance TEXT,
    spend TEXT,
    PRIMARY KEY (org, account),
    FOREIGN KEY (org, account) REFERENCES accounts (org, id)
) {keyed};

CREATE TABLE alert_marks (
    org {int} NOT NULL REFERENCES organisations (id),
    account TEXT NOT NULL,
    alert TEXT NOT NULL,
    window_us {int} NOT NULL,
    state TEXT NOT NULL CHECK (state IN ('armed', 'fired')),
    at_us {int} NOT NULL,
    PRIMARY KEY (org, account, alert, window_us),
    FOREIGN KEY (org, account) REFERENCES accounts (org, id)
) {keyed};

CREATE TABLE spend_counted (
    org {int} NOT NULL REFERENCES organisations (id),
    every TEXT NOT NULL,
    until_seq {int} NOT NULL,
    PRIMARY KEY (org, every)
) {keyed};

CREATE TABLE spend_totals (
    org {int} NOT NULL REFERENCES organisations (id),
    every TEXT NOT NULL,
    window_us {int} NOT NULL,
    account TEXT NOT NULL,
    spent {int} NOT NULL CHECK (spent BETWEEN 0 AND {max}),
    PRIMARY KEY (org, every, window_us, account)
) {keyed};

CREATE TABLE promotions (
    org {int} NOT NULL REFERENCES organisations (id),
    promotion TEXT NOT NULL,
    identity TEXT NOT NULL,
    account TEXT NOT NULL,
    grant_id TEXT NOT NULL,
    at_us {int} NOT NULL,
    PRIMARY KEY (org, promotion, identity),
    FOREIGN KEY (org, account) REFERENCES accounts (org, id)
) {keyed};

CREATE TABLE brake_marks (
    seq {seq} NOT NULL PRIMARY KEY,
    org {int} NOT NULL REFERENCES organisations (id),
    what TEXT NOT NULL,
    who TEXT NOT NULL,
    at_us {int} NOT NULL
) {strict};
CREATE INDEX brake_marks_of ON brake_marks (org, what, who, at_us)
"""
SQLITE: Final = {"int": "INTEGER", "seq": "INTEGER", "strict": "STRICT", "keyed": "STRICT, WITHOUT ROWID"}
POSTGRES: Final = {"int": "BIGINT", "seq": "BIGSERIAL", "strict": "", "keyed": ""}


def upgrade() -> None:
    sqlite = op.get_bind().dialect.name == "sqlite"
    words = (SQLITE if sqlite else POSTGRES) | {"max": str(MAX)}
    for statement in TABLES.format_map(words).split(";"):
        op.execute(statement)
