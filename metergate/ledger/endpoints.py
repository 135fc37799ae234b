"""Endpoints: where notices go, and how each of them is doing."""

from typing import Any, Final, NamedTuple

import sqlalchemy as sa

from metergate.errors import InvalidInput
from metergate.ledger.database import Tx
from metergate.ledger.notice_tables import endpoints

ON, OFF, FAILING = "on", "off", "failing"
GIVEN_UP: Final = "The endpoint is switched off because it failed: enable it, then replay this."
MOST: Final = 50
"""How many there may be: each is asked at every notice."""


class Endpoint(NamedTuple):
    seq: int
    id: str
    url: str
    types: str
    """Patterns of the types that it wants, as a JSON list."""
    description: str
    pepper: int
    version: int
    both_until_us: int
    """Until when the secret before this one signs too."""
    state: str
    """on, off (an operator has switched it off) or failing (it failed for long and was switched off)."""
    failures: int
    """In a row."""
    failing_since_us: int | None
    pause_until_us: int
    reason: str
    created_at_us: int


def add(tx: Tx, new: Endpoint) -> Endpoint:
    if len(page(tx)) >= MOST:
        raise InvalidInput(f"There are {MOST} endpoints already: delete one that nobody needs.")
    values = new._asdict()
    del values["seq"]
    tx.execute(endpoints.insert().values(org=tx.org, **values))
    return known(tx, new.id)


def get(tx: Tx, id: str, *, lock: bool = False) -> Endpoint | None:
    query = _select(tx).where(endpoints.c.id == id)
    row = tx.execute(query.with_for_update() if lock else query).first()
    return Endpoint(*row) if row else None


def known(tx: Tx, id: str, *, lock: bool = False) -> Endpoint:
    found = get(tx, id, lock=lock)
    if found is None:
        raise InvalidInput(f"There is no endpoint {id:.80}: list the endpoints.", reason="not_found")
    return found


def page(tx: Tx) -> list[Endpoint]:
    """All of them, the oldest first."""
    return [Endpoint(*row) for row in tx.execute(_select(tx).order_by(endpoints.c.seq))]


def failing(tx: Tx) -> int:
    """How many were switched off because they failed."""
    which = (endpoints.c.org == tx.org, endpoints.c.state == FAILING)
    return int(tx.execute(sa.select(sa.func.count()).where(*which)).scalar_one())


def change(tx: Tx, id: str, **values: Any) -> None:
    tx.execute(endpoints.update().where(endpoints.c.org == tx.org, endpoints.c.id == id).values(**values))


def delete(tx: Tx, id: str) -> None:
    tx.execute(endpoints.delete().where(endpoints.c.org == tx.org, endpoints.c.id == id))


def _select(tx: Tx) -> sa.Select[Any]:
    return sa.select(*(endpoints.c[name] for name in Endpoint._fields)).where(endpoints.c.org == tx.org)
