"""Calls as the gate would report them, and the few things that most stories begin with."""

import itertools

from metergate.core.budget import BALANCE, COST, QUOTA, UNBOUNDED, UNITS, Draw
from metergate.core.hold import Outcome, Terms, UsageEvent
from metergate.ledger import Ledger, Tx, accounts, grants
from metergate.ledger.differences import Difference
from metergate.ledger.verify import verify

DATABASES = ("sqlite", "postgresql")
USD = 10**9
START = 1_764_000_000_000_000
"""The instant at which the stories begin."""
MONTH_END = START + 30 * 86400 * 10**6

_numbers = itertools.count(1)


def call(
    account: str = "a",
    cost: int = 0,
    *,
    op: str = "",
    at_us: int = START + 1,
    units: int = 1,
    window: str = "",
    currency: str = "USD",
    plan: str = "free",
    upgraded_from: str = "",
    twin: tuple[str, str, int] | None = None,
    answer: bytes | None = None,
) -> UsageEvent:
    """A settled call; it counts in the allowance of a window when one is named."""
    draws = [Draw(BALANCE, f"credits:{account}", cost, 0, UNBOUNDED, 0, COST)]
    if window:
        draws.append(Draw(QUOTA, f"used:{account}:requests:{window}", 1, 0, UNBOUNDED, MONTH_END, UNITS))
    terms = Terms(
        account,
        f"key-{account}",
        plan,
        "v1",
        "api",
        "GET /x",
        "requests",
        currency,
        tuple(draws),
        upgraded_from=upgraded_from,
    )
    op = op or f"op{next(_numbers)}"
    amounts = (cost, units) if window else (cost,)
    outcome = Outcome(units, (("kind", "a"),), cost, "counted", amounts, terms)
    return UsageEvent(op, op, at_us, "/x", outcome, twin, answer)


def open_account(tx: Tx, id: str = "a", credit: int = 0) -> None:
    """An account, with a first grant when it has credit."""
    accounts.create(tx, id, at_us=START)
    if credit:
        grants.give(tx, id, credit, id=f"first-{id}", at_us=START)


def differences(ledger: Ledger, pinned: str = "") -> list[Difference]:
    with ledger.read() as tx:
        return list(verify(tx, pinned=pinned))


def guards_away(ledger: Ledger) -> None:
    """Take away the triggers that refuse changes, as a vandal would."""
    with ledger.write() as tx:
        for table in ("transactions", "entries", "usage", "audit", "links"):
            if tx.sqlite:
                tx.sql(f"DROP TRIGGER {table}_update_refused")
                tx.sql(f"DROP TRIGGER {table}_delete_refused")
            else:
                tx.sql(f"DROP TRIGGER {table}_change_refused ON {table}")


def is_found(ledger: Ledger, corruption: str, sentence: str) -> None:
    """The statements of a vandal, and what verify says of them."""
    assert differences(ledger) == []
    guards_away(ledger)
    with ledger.write() as tx:
        for statement in corruption.split("; "):
            tx.sql(statement)
    assert any(sentence in str(found) for found in differences(ledger)), differences(ledger)
