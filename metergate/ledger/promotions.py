"""Promotions: one person gets each of them once, however many accounts the person opens."""

import json
from collections.abc import Sequence
from typing import Final

import sqlalchemy as sa

from metergate.core import identity
from metergate.ledger import bulk
from metergate.ledger.accounts import Account
from metergate.ledger.database import Tx
from metergate.ledger.payment_tables import payments
from metergate.ledger.watch_tables import promotions

_COLUMNS: Final = ("org", "promotion", "identity", "account", "grant_id", "at_us")
OWN: Final = "identity"
"""The member of an account's metadata in which an operator says who it is."""
CALLED: Final = {
    "account": "the same account",
    "email": "the same e-mail address",
    "payment": "the same means of payment",
    "own": "the same identity",
}


class _Taken(Exception):
    """One of the identities has had it."""


def take(tx: Tx, promotion: str, account: Account, kinds: Sequence[str], grant: str, now_us: int) -> str:
    """Note that a person has a promotion; empty, or in what way somebody was that person before."""
    known = identities(tx, account, kinds)
    taken = promotions.c
    query = sa.select(taken.identity).where(
        taken.org == tx.org, taken.promotion == promotion, taken.identity.in_(known), taken.grant_id != grant
    )
    for before in sorted(tx.execute(query).scalars()):
        return CALLED[before.partition(":")[0]]
    rows = [(tx.org, promotion, each, account.id, grant, now_us) for each in known]
    try:
        with tx.connection.begin_nested():
            if bulk.insert(tx, promotions, _COLUMNS, rows, "ON CONFLICT DO NOTHING") < len(rows):
                raise _Taken
    except _Taken:
        return "" if _all_ours(tx, promotion, known, grant) else "the same identity"
    return ""


def identities(tx: Tx, account: Account, kinds: Sequence[str]) -> list[str]:
    """Everything by which the owner is known, in one order, so that two who ask never wait in a ring."""
    found = {identity.digest("account", account.id)}
    address = identity.email(account.email) if "email" in kinds else ""
    if address:
        found.add(identity.digest("email", address))
    own = account.metadata.get(OWN)
    if "own" in kinds and isinstance(own, str) and own.strip():
        found.add(identity.digest("own", own.strip()))
    if "payment" in kinds:
        found |= {identity.digest("payment", each) for each in _fingerprints(tx, account.id)}
    return sorted(found)


def _fingerprints(tx: Tx, account: str) -> set[str]:
    """Of what the account has paid with, as far as its providers tell."""
    paid = (payments.c.org == tx.org, payments.c.account == account, payments.c.state == "succeeded")
    methods = tx.execute(sa.select(payments.c.method).where(*paid, payments.c.method != "").distinct())
    told = [json.loads(each).get("fingerprint", "") for each in methods.scalars()]
    return {each for each in told if each}


def _all_ours(tx: Tx, promotion: str, known: Sequence[str], grant: str) -> bool:
    taken = promotions.c
    own = (taken.org == tx.org, taken.promotion == promotion, taken.identity.in_(known))
    return {*tx.execute(sa.select(taken.grant_id).where(*own)).scalars()} == {grant}
