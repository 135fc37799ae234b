"""Changes that are in the ledger, and that a shared counter store may not know yet.

A change and its row here are one transaction. Who made it tells the store and deletes the row; when that
fails, a worker does so on its rounds. Telling twice is harmless: the store knows versions and ids.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
import sqlalchemy as sa

from metergate.ledger.database import Tx
from metergate.ledger.tables import untold
from metergate.ports import Adjust, Change, PutAccount, PutKey

KINDS: Final = {"account": PutAccount, "key": PutKey, "adjust": Adjust}
NAMES: Final = {kind: name for name, kind in KINDS.items()}


class Untold(NamedTuple):
    seq: int
    changes: list[Change]


def note(tx: Tx, changes: Sequence[Change], at_us: int) -> int:
    """Write down what the store has to be told; the number is to be forgotten when it was."""
    text = msgspec.json.encode([(NAMES[type(change)], change) for change in changes]).decode()
    row = untold.insert().values(org=tx.org, at_us=at_us, changes=text)
    return int(tx.execute(row.returning(untold.c.seq)).scalar_one())


def before(tx: Tx, at_us: int, limit: int) -> list[Untold]:
    """What was noted before an instant and not forgotten, the oldest first."""
    query = sa.select(untold.c.seq, untold.c.changes).where(untold.c.org == tx.org, untold.c.at_us < at_us)
    rows = tx.execute(query.order_by(untold.c.seq).limit(limit))
    return [Untold(seq, [_change(*told) for told in msgspec.json.decode(text)]) for seq, text in rows]


def forget(tx: Tx, seqs: Sequence[int]) -> None:
    tx.execute(untold.delete().where(untold.c.org == tx.org, untold.c.seq.in_(seqs)))


def forget_all(tx: Tx) -> None:
    """The store is filled with the whole ledger."""
    tx.execute(untold.delete().where(untold.c.org == tx.org))


def _change(name: str, fields: object) -> Change:
    return msgspec.convert(fields, KINDS[name])
