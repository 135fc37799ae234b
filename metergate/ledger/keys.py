"""What callers present. Only digests are kept; the secret is known to nobody but its owner."""

import json
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import sqlalchemy as sa

from metergate.core.facts import KeyFacts
from metergate.errors import InvalidInput
from metergate.ledger import accounts, bulk, notices
from metergate.ledger.database import Row, Tx
from metergate.ledger.errors import Conflict
from metergate.ledger.tables import key_uses, keys


class Key(NamedTuple):
    facts: KeyFacts
    last4: str
    replaced_by: str
    revoked_at_us: int
    created_at_us: int
    used_at_us: int = 0
    """When a call with it was last metered, to the minute or so; 0 where none was."""


NOTED_US = 60 * 10**6
"""How much later a use has to be to be noted: who uses a key all the time costs a write a minute."""
_KNOWN = sa.select(keys, key_uses.c.at_us).outerjoin(
    key_uses, (key_uses.c.org == keys.c.org) & (key_uses.c.kid == keys.c.kid)
)


def add(tx: Tx, facts: KeyFacts, last4: str, at_us: int) -> Key:
    """Make a freshly minted key known."""
    accounts.known(tx, facts.account)
    row = (
        tx.org,
        facts.kid,
        facts.account,
        facts.digest,
        facts.pepper,
        facts.environment,
        json.dumps(facts.scopes),
        at_us if facts.revoked else 0,
        facts.expires_at_us,
        last4,
        "",
        facts.cap_nanos,
        facts.cap_every,
        at_us,
        facts.version,
        json.dumps(facts.networks),
    )
    columns = [column.name for column in keys.columns]
    if not bulk.insert(tx, keys, columns, [row], "ON CONFLICT DO NOTHING"):
        raise Conflict(f"There is a key {facts.kid} already: mint another one.")
    return Key(facts, last4, "", row[7], at_us)


def get(tx: Tx, kid: str) -> Key | None:
    row = tx.execute(_KNOWN.where(*_is(tx, kid))).first()
    return _key(row) if row else None


def page(tx: Tx, account: str | None = None, limit: int = 100, after: str = "") -> list[Key]:
    """In the order of their kids."""
    query = _KNOWN.where(keys.c.org == tx.org, keys.c.kid > after)
    if account is not None:
        query = query.where(keys.c.account == account)
    return [_key(row) for row in tx.execute(query.order_by(keys.c.kid).limit(limit))]


def revoke(tx: Tx, kid: str, at_us: int) -> Key:
    """End a key for good; ending it again changes nothing."""
    ended = _change(tx, kid, keys.c.revoked_at_us == 0, revoked_at_us=at_us)
    key = _known(tx, kid)
    if ended:
        notices.tell(tx, "key.revoked", key.facts.account, {"key": kid, "last4": key.last4}, at_us, kid)
    return key


def expire(tx: Tx, kid: str, expires_at_us: int, replaced_by: str = "") -> Key:
    """Let a key end at an instant, because another takes its place; an earlier end stays."""
    sooner = sa.or_(keys.c.expires_at_us == 0, keys.c.expires_at_us > expires_at_us)
    _change(tx, kid, sooner, expires_at_us=expires_at_us)
    if replaced_by:
        tx.execute(keys.update().where(*_is(tx, kid)).values(replaced_by=replaced_by))
    return _known(tx, kid)


def rehash(tx: Tx, kid: str, digest: str, pepper: int) -> Key:
    """Keep a key under a newer pepper; one that is kept under it, or under a newer one, stays."""
    _change(tx, kid, keys.c.pepper < pepper, digest=digest, pepper=pepper)
    return _known(tx, kid)


def used(tx: Tx, uses: Mapping[str, int]) -> None:
    """Note when keys were used."""
    later = (
        "ON CONFLICT (org, kid) DO UPDATE SET at_us = excluded.at_us"
        f" WHERE excluded.at_us >= key_uses.at_us + {NOTED_US}"
    )
    rows = [(tx.org, kid, at_us) for kid, at_us in sorted(uses.items())]
    bulk.insert(tx, key_uses, ("org", "kid", "at_us"), rows, later)


def any_known(tx: Tx) -> bool:
    """Whether a key was ever made."""
    return tx.execute(sa.select(keys.c.kid).where(keys.c.org == tx.org).limit(1)).first() is not None


def all_facts(tx: Tx) -> Iterator[KeyFacts]:
    """What the counter store has to know of every key, the ended ones too: they never come back to life."""
    query = _KNOWN.where(keys.c.org == tx.org).order_by(keys.c.kid)
    for row in tx.execute(query):
        yield _key(row).facts


def _known(tx: Tx, kid: str) -> Key:
    key = get(tx, kid)
    if key is None:
        raise InvalidInput(f"There is no key {kid!r:.80}: list the keys of the account to find its kid.")
    return key


def _change(tx: Tx, kid: str, unless_done: sa.ColumnElement[bool], **values: object) -> bool:
    """Change what the counter store has to know; whether it was not done before."""
    changed = keys.update().where(*_is(tx, kid), unless_done)
    return tx.execute(changed.values(version=keys.c.version + 1, **values)).rowcount == 1


def _is(tx: Tx, kid: str) -> tuple[sa.ColumnElement[bool], ...]:
    return keys.c.org == tx.org, keys.c.kid == kid


def _key(row: Row) -> Key:
    facts = KeyFacts(
        kid=row.kid,
        account=row.account,
        digest=row.digest,
        pepper=row.pepper,
        environment=row.environment,
        scopes=tuple(json.loads(row.scopes)),
        revoked=row.revoked_at_us > 0,
        expires_at_us=row.expires_at_us,
        cap_nanos=row.cap_nanos,
        cap_every=row.cap_every,
        version=row.version,
        networks=tuple(json.loads(row.networks)),
    )
    return Key(facts, row.last4, row.replaced_by, row.revoked_at_us, row.created_at_us, row.at_us or 0)
