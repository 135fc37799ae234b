"""Corrections: what went wrong stays in the ledger, and a new transaction makes up for it, once per id.

Credits that an account lacks are a grant of kind `adjust`; credits that it should not have are taken back, in
the order in which they would have been spent, and what was spent of them already is owed.
"""

import hashlib
import json
from typing import Final, NamedTuple

from metergate.core.money import MAX
from metergate.errors import InvalidInput
from metergate.ledger import accounts, grants, transactions
from metergate.ledger.database import Tx
from metergate.ledger.errors import Conflict
from metergate.ledger.standing import hold_still, save
from metergate.ledger.transactions import Transaction, record, reserve

ADJUST: Final = "adjust"


class Corrected(NamedTuple):
    transaction: str
    delta: int
    currency: str
    repeated: bool


def adjust(tx: Tx, account: str, delta: int, *, id: str, at_us: int, reason: str) -> Corrected:
    """Change what an account can spend by an amount, above or below zero."""
    owner = accounts.known(tx, account)
    if not id or not 0 < abs(delta) <= MAX:
        raise InvalidInput("Give a correction an id and an amount other than zero that fits in 64 bits.")
    name = f"{ADJUST}:{id}"
    other = transactions.get(tx, name) if delta > 0 else grants.get(tx, name)
    if other is not None:
        raise Conflict(f"The correction {id} was made with other contents: use another id.")
    if delta > 0:
        given = grants.give(tx, account, delta, id=name, at_us=at_us, memo=reason, kind=ADJUST)
        return Corrected(f"grant:{name}", delta, owner.currency, given.repeated)
    terms = (account, owner.currency, delta, reason)
    fingerprint = hashlib.sha256(json.dumps(terms).encode()).hexdigest()
    purse = (account, owner.currency)
    standing = hold_still(tx, [purse])[purse]
    earlier = transactions.get(tx, name)
    if earlier is not None:
        if earlier.fingerprint != fingerprint:
            raise Conflict(f"The correction {id} was made with other contents: use another id.")
        return Corrected(name, delta, owner.currency, repeated=True)
    lines = standing.take(-delta, at_us)
    record(tx, [(Transaction(reserve(tx, 1)[0], name, ADJUST, account, at_us, fingerprint), lines)])
    save(tx, [standing])
    return Corrected(name, delta, owner.currency, repeated=False)
