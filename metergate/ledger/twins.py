"""Calls with an idempotency key, remembered so that a store that starts anew still knows them."""

from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa

from metergate.core.idempotency import Twin
from metergate.ledger.database import Tx
from metergate.ledger.tables import twins


class Remembered(NamedTuple):
    twin: Twin
    op: str
    answer: bytes | None


def live(tx: Tx, now_us: int) -> Iterator[Remembered]:
    """The twins whose time is not over."""
    for row in tx.execute(sa.select(twins).where(twins.c.org == tx.org, twins.c.until_us > now_us)):
        yield Remembered(Twin(row.id, row.fingerprint, row.until_us), row.op, row.answer)


def purge(tx: Tx, now_us: int) -> int:
    """Forget the twins whose time is over; how many there were."""
    return tx.execute(twins.delete().where(twins.c.org == tx.org, twins.c.until_us <= now_us)).rowcount
