"""Marks of what may not happen too often: what, who, and when. Two who ask at once are counted one by one."""

import hashlib
from typing import Final

import sqlalchemy as sa

from metergate.ledger.database import Tx
from metergate.ledger.tables import accounts
from metergate.ledger.watch_tables import brake_marks as marks

PAYMENT: Final = "payment"
FAILURE: Final = "failure"
METHOD: Final = "method"
ACCOUNT: Final = "account:"
SOURCE: Final = "source:"


def hold_still(tx: Tx, account: str, source: str) -> None:
    """Have nobody else count for these until the transaction ends; SQLite has one writer anyway."""
    if tx.sqlite:
        return
    own = (accounts.c.org == tx.org, accounts.c.id == account)
    tx.execute(sa.select(accounts.c.id).where(*own).with_for_update(key_share=True))
    if source:
        named = hashlib.sha256(f"{tx.org} {source}".encode()).digest()
        tx.sql("SELECT pg_advisory_xact_lock(%s)", (int.from_bytes(named[:8], signed=True),))


def mark(tx: Tx, what: str, account: str, source: str, now_us: int) -> None:
    whos = [f"{ACCOUNT}{account}", *([f"{SOURCE}{source}"] if source else [])]
    tx.execute(marks.insert(), [{"org": tx.org, "what": what, "who": who, "at_us": now_us} for who in whos])


def since(tx: Tx, what: str, who: str, since_us: int, most: int) -> list[int]:
    """When it happened since an instant, the latest first; no more than are asked for."""
    which = (marks.c.org == tx.org, marks.c.what == what, marks.c.who == who, marks.c.at_us > since_us)
    query = sa.select(marks.c.at_us).where(*which).order_by(marks.c.at_us.desc()).limit(most)
    return list(tx.execute(query).scalars())


def forget(tx: Tx, what: str, who: str, before_us: int) -> None:
    """What is so old counts no more."""
    which = (marks.c.org == tx.org, marks.c.what == what, marks.c.who == who)
    tx.execute(marks.delete().where(*which, marks.c.at_us <= before_us))
