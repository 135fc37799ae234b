"""Whether the counters say what the ledger says: what can be spent, who may call, what windows have used.

Calls go on meanwhile, so a figure is read on both sides and the counter once more. One that stood still and
differs is looked at again a few times, because a change is told to the ledger first and to the counters a
moment later; what still differs then is a difference. What never stands still is only counted as moving, but
nobody may ever spend more than the ledger has.
"""

import asyncio
from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from metergate.admin.desk import Desk
from metergate.core.facts import Caller
from metergate.errors import StoreUnavailable
from metergate.ledger import accounts, balances, keys
from metergate.ledger.database import Tx
from metergate.ledger.differences import STORE, Difference
from metergate.ports import AskBudget, AskKey, Told

PAGE: Final = 500
TRIES: Final = 20
FEWEST: Final = 3
PAUSE_S: Final = 0.1


class Compared(NamedTuple):
    differences: list[Difference]
    moving: int
    """How many accounts were spending all the while."""


class _Said(NamedTuple):
    value: Told
    held: int | None
    """What is set aside of it; None where only the counters of all processes know."""
    backlog: int


class _Look(NamedTuple):
    name: str
    ledger: int
    before: _Said
    after: _Said

    @property
    def moves(self) -> bool:
        """Whether something happened meanwhile, or is on its way: then the figures need not fit."""
        return self.before != self.after or self.after.backlog > 0

    @property
    def fits(self) -> bool:
        value, held, _ = self.after
        if not isinstance(value, int):
            return False
        return value <= self.ledger if held is None else value == self.ledger - held

    @property
    def beyond(self) -> bool:
        """Whether more can be spent than there is, which nothing on its way explains."""
        return isinstance(self.after.value, int) and self.after.value > self.ledger


async def compare(desk: Desk) -> Compared:
    """Every account, key and window."""
    shared = desk.teller.shared
    if shared is not None and not shared.epoch:
        raise StoreUnavailable("The counters are being filled from the ledger; verify when they are.")
    differences: list[Difference] = []
    moving, tries, last = 0, TRIES, ""
    while names := await desk.read(partial(_names, after=last)):
        found, moved, tries = await _accounts(desk, names, tries)
        differences += found
        moving += moved
        last = names[-1]
    return Compared([*differences, *await _keys(desk), *await _windows(desk)], moving)


def _names(tx: Tx, after: str) -> list[str]:
    return [row.id for row in accounts.page(tx, PAGE, after)]


async def _accounts(desk: Desk, names: Sequence[str], tries: int) -> tuple[list[Difference], int, int]:
    looks = await _look(desk, names)
    while looks and tries:
        tries -= 1
        await asyncio.sleep(PAUSE_S)
        await desk.hooks.refresh()
        looks = await _look(desk, [look.name for look in looks])
    found = [_of_account(look) for look in looks if look.beyond or not look.moves]
    return found, len(looks) - len(found), max(tries, FEWEST)


async def _look(desk: Desk, names: Sequence[str]) -> list[_Look]:
    """The accounts that move or do not fit."""
    before = await _said(desk, names)
    known = await desk.read(partial(balances.of_accounts, accounts=names))
    after = await _said(desk, names)
    looks = [
        _Look(name, known.get(name, 0), first, then)
        for name, first, then in zip(names, before, after, strict=True)
    ]
    return [look for look in looks if look.moves or not look.fits]


async def _said(desk: Desk, names: Sequence[str]) -> list[_Said]:
    """What the counters say of accounts, all at one moment."""
    if desk.teller.shared is not None:
        await desk.teller.shared.standing()  # what waits and what is open, as it is now
    told = await desk.ask(desk.store.state([AskBudget(f"credits:{name}") for name in names]))
    health = desk.store.health()
    # Embedded, what one account has set aside is known here. Elsewhere it is, when nothing is.
    here = desk.hooks.held
    held = [here(name) if here else 0 if health.open_holds == 0 else None for name in names]
    return [_Said(value, aside, health.backlog) for value, aside in zip(told, held, strict=True)]


def _of_account(look: _Look) -> Difference:
    value, held, _ = look.after
    aside = f" and {held} set aside" if held else ""
    return Difference(
        f"Account {look.name} can spend {value} nanos by the counters; the ledger has {look.ledger}{aside}.",
        look.name,
        "spendable",
        str(look.ledger - (held or 0)),
        str(value),
        STORE,
    )


async def _keys(desk: Desk) -> list[Difference]:
    """Whatever has ended stays ended."""
    ended = await desk.read(lambda tx: [facts for facts in keys.all_facts(tx) if facts.revoked])
    told: list[Told] = []
    for start in range(0, len(ended), PAGE):
        part = ended[start : start + PAGE]
        told += await desk.ask(desk.store.state([AskKey(each.kid) for each in part]))
    return [
        Difference(
            f"The key {facts.kid} of {facts.account} was revoked, and the counters would still admit it.",
            facts.kid,
            "revoked",
            "yes",
            "no",
            STORE,
        )
        for facts, caller in zip(ended, told, strict=True)
        if isinstance(caller, Caller) and caller.key is not None and not caller.key.revoked
    ]


async def _windows(desk: Desk) -> list[Difference]:
    """A window has used at least what the ledger says; open calls may have taken more."""
    now_us = desk.clock()

    def lasting(tx: Tx) -> list[tuple[str, int]]:
        return [(name, value) for name, value, until_us in balances.windows(tx, now_us) if until_us]

    known = await desk.read(lasting)
    found: list[Difference] = []
    for start in range(0, len(known), PAGE):
        part = known[start : start + PAGE]
        told = await desk.ask(desk.store.state([AskBudget(name) for name, _ in part]))
        found += [
            Difference(
                f"The window {name} has used {there} by the counters, and {value} by the ledger.",
                name,
                "used",
                str(value),
                str(there),
                STORE,
            )
            for (name, value), there in zip(part, told, strict=True)
            if isinstance(there, int) and there < value
        ]
    return found
