"""The epoch of the counter store that several processes share, as the ledger knows it.

What a store of another epoch holds is not what the ledger says. Whoever changes something that the store has
to know, usage included, stays in the epoch until the transaction ends; a new epoch waits for all of them, and
begins in the transaction that reads what the store is filled with. So every change is either in what was
read, or made in the new epoch.
"""

import json
from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa

from metergate.errors import StoreUnavailable
from metergate.ledger.database import Tx
from metergate.ledger.tables import epochs


class Epoch(NamedTuple):
    id: str
    """Empty before the first."""
    sequence: tuple[int, ...]
    """How far the store has been seen to be."""


class OtherEpoch(StoreUnavailable):
    """What was read from the counters belongs to an epoch that is over."""


def read(tx: Tx) -> Epoch:
    id, sequence = tx.execute(sa.select(epochs.c.epoch, epochs.c.sequence).where(_here(tx))).one()
    return Epoch(id, tuple(json.loads(sequence)))


def space(tx: Tx) -> str:
    """What the store's keys begin with, so that no other ledger's are taken for this one's."""
    return str(tx.execute(sa.select(epochs.c.space).where(_here(tx))).scalar_one())


def stay(tx: Tx) -> str:
    """The epoch; no other one begins until this transaction has ended."""
    return str(tx.execute(_locked(tx, weakly=True)).scalar_one())


def stay_in(tx: Tx, epoch: str) -> str:
    """Stay in this epoch, or raise OtherEpoch where another has begun."""
    if stay(tx) != epoch:
        raise OtherEpoch("The counter store was filled anew meanwhile; what came from the old one is kept.")
    return epoch


def begin(tx: Tx, epoch: str) -> None:
    """Begin another epoch, as soon as everybody who stays in the last one is done."""
    tx.execute(_locked(tx, weakly=False))
    tx.execute(epochs.update().where(_here(tx)).values(epoch=epoch, sequence="[]"))


def saw(tx: Tx, epoch: str, sequence: Sequence[int]) -> None:
    """Note how far the store was seen to be; what is further already stays."""
    known = read(tx)
    if known.id != epoch:
        return
    furthest = (
        [max(pair) for pair in zip(sequence, known.sequence, strict=True)] if known.sequence else sequence
    )
    if tuple(furthest) != known.sequence:
        here = sa.and_(_here(tx), epochs.c.epoch == epoch)
        tx.execute(epochs.update().where(here).values(sequence=json.dumps(list(furthest))))


def _locked(tx: Tx, *, weakly: bool) -> sa.Select[tuple[str]]:
    # The weak lock lets `saw` pass, and not `begin`. SQLite has no such words: who writes there is alone.
    return sa.select(epochs.c.epoch).where(_here(tx)).with_for_update(read=weakly, key_share=weakly)


def _here(tx: Tx) -> sa.ColumnElement[bool]:
    return epochs.c.org == tx.org
