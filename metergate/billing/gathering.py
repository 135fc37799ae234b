"""From usage rows to intents: which windows changed, and once they are over, what is to be told of them.

One transaction reads some rows and remembers how far it came; another one derives totals and writes down, as
intents, how they differ from what was told. So each can be repeated, and interrupted between any two lines.
"""

import json
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Final, NamedTuple

from metergate.billing import windows
from metergate.billing.providers import Providers
from metergate.errors import MetergateError
from metergate.ledger import accounts, epochs, provider_notes, pushes
from metergate.ledger import push_windows as kept
from metergate.ledger.database import Tx
from metergate.ledger.push_windows import Derived, Grid, Progress, Slot, Window
from metergate.ledger.pushes import LONG_AGO_US, PENDING, SENT, Intent
from metergate.provider_port import UsageSink

ROWS: Final = 50_000
"""How many usage rows are looked at in one transaction."""
WINDOWS: Final = 200
"""How many windows become intents in one transaction."""
METERS: Final = "meters"
SPLIT_US: Final = 2 * windows.DAY_US
"""How long after it began a period still cuts a window in two."""


class Counted(NamedTuple):
    """What is to be pushed: the meters, and who counts whose usage."""

    providers: Providers
    meters: frozenset[str]
    window_us: int
    listed: Mapping[str, frozenset[str]] = {}
    """Which meters each provider has, or had once."""

    @property
    def sinks(self) -> Mapping[str, UsageSink]:
        opened = self.providers.all
        return {each.name: each.provider for each in opened if isinstance(each.provider, UsageSink)}


def remember_meters(tx: Tx, provider: str, found: Collection[str]) -> frozenset[str]:
    """What a provider has had once is pushed for ever: a meter that is gone there is a mistake to be seen."""
    known = remembered_meters(tx, provider)
    every = frozenset({*known, *found})
    provider_notes.write(tx, provider, METERS, json.dumps(sorted(every)))
    return every


def remembered_meters(tx: Tx, provider: str) -> frozenset[str]:
    return frozenset(json.loads(provider_notes.read(tx, provider, METERS) or "[]"))


def begin(tx: Tx, wanted: Counted, now_us: int) -> Progress:
    """How far the ledger was read; with windows of the length that is wanted now."""
    known = kept.progress(tx, lock=True) or Progress(kept.FIRST, [], 0)
    grids = windows.regridded(known.grids, wanted.window_us, now_us)
    known = known._replace(grids=grids)
    kept.advance(tx, known)
    return known


def gather(tx: Tx, wanted: Counted, upto: int, now_us: int) -> bool:
    """Look at the next usage rows, and mark the windows they are in; whether more are left."""
    known = begin(tx, wanted, now_us)
    _cut(tx, known.grids, now_us)
    for provider, account, since_us in _meet_newcomers(tx, wanted):
        mark(tx, wanted, _seen_of(tx, wanted, known, account, since_us), {account: provider})
    if upto <= known.seq:
        return False
    until = kept.beyond(tx, known.seq, upto, ROWS)
    mark(tx, wanted, kept.touched(tx, known.grids, wanted.meters, after=known.seq, until=until))
    kept.advance(tx, known._replace(seq=until))
    return until < upto


def _meet_newcomers(tx: Tx, wanted: Counted) -> list[tuple[str, str, int]]:
    found = kept.newcomers(tx, list(wanted.sinks))
    kept.know(tx, found)
    return [each for each in found if chosen(tx, wanted, each[1]) == each[0]]


def _seen_of(tx: Tx, wanted: Counted, known: Progress, account: str, since_us: int) -> list[Slot]:
    """Cells with usage of one account among the rows that were looked at already."""
    numbers = {"after": kept.FIRST, "until": known.seq}
    return kept.touched(tx, known.grids, wanted.meters, account=account, since_us=since_us, **numbers)


def _cut(tx: Tx, grids: Sequence[Grid], now_us: int) -> None:
    """Usage before and after the end of a period must not be in one window: it is on two invoices."""
    ends = kept.period_ends(tx, now_us - SPLIT_US, now_us)
    known = kept.splits(tx, sorted({account for account, _ in ends}))
    for account, at_us in ends:
        cell = windows.cell_of(grids, at_us)
        if at_us != cell[0] and at_us not in known.get(account, ()):
            kept.split(tx, account, at_us, cell)


def chosen(tx: Tx, wanted: Counted, account: str) -> str:
    """The provider that counts the usage of an account now; empty where none does."""
    owner = accounts.known(tx, account)
    try:
        name = wanted.providers.choose(owner, owner.currency).name
    except MetergateError:
        return ""
    return name if name in wanted.sinks else ""


def missing(tx: Tx, wanted: Counted, since_us: int) -> list[Derived]:
    """Windows with usage that was looked at, and of which nobody has heard: there should be none.

    What was used before the provider was told of a meter for the first time is not missing.
    """
    known = kept.progress(tx)
    if known is None:
        return []
    found: dict[tuple[str, str, int], Derived] = {}
    first = kept.first_windows(tx)
    for provider, account, from_us in kept.pushed_accounts(tx):
        seen = _seen_of(tx, wanted, known, account, max(from_us, since_us))
        if provider not in wanted.sinks or not seen:
            continue
        there = {(each.meter, each.start_us) for each in kept.standing(tx, [account], since_us)}
        for window in _windows(tx, wanted, seen, {}):
            begun = window.start_us >= first.get((window.provider, window.meter), window.end_us)
            if begun and (window.meter, window.start_us) not in there:
                derived = kept.derived(tx, window, known.seq)
                if derived.total:
                    found[account, window.meter, window.start_us] = derived
    return [found[key] for key in sorted(found)]


def mark(
    tx: Tx,
    wanted: Counted,
    slots: Sequence[Slot],
    whose: Mapping[str, str] | None = None,
) -> None:
    if slots:
        kept.mark(tx, _windows(tx, wanted, slots, whose or {}))


def _windows(tx: Tx, wanted: Counted, slots: Sequence[Slot], whose: Mapping[str, str]) -> list[Window]:
    """The windows of cells. A cell of which one provider knows something is never told to another."""
    names = sorted({slot.account for slot in slots})
    since = kept.known_since(tx, names)
    splits = kept.splits(tx, names)
    there = kept.standing(tx, names, min(slot.start_us for slot in slots))
    choose = _remembered(lambda account: whose.get(account) or chosen(tx, wanted, account))
    found: dict[tuple[str, str, int], Window] = {}
    by_account: dict[str, list[Window]] = {}
    for window in there:
        by_account.setdefault(window.account, []).append(window)
    for slot in slots:
        provider = _holder(by_account.get(slot.account, ()), slot) or choose(slot.account)
        known_us = since.get((provider, slot.account))
        if known_us is None or slot.meter not in wanted.listed.get(provider, ()):
            continue
        for start, end in windows.pieces(slot.start_us, slot.end_us, known_us, splits.get(slot.account, ())):
            window = Window(slot.account, slot.meter, start, end, provider, "", 0, 0)
            found[slot.account, slot.meter, start] = window
    return list(found.values())


def _holder(there: Collection[Window], slot: Slot) -> str:
    for window in there:
        if slot.start_us <= window.start_us < slot.end_us:
            return window.provider
    return ""


def _remembered(ask: Callable[[str], str]) -> Callable[[str], str]:
    known: dict[str, str] = {}

    def answer(account: str) -> str:
        if account not in known:
            known[account] = ask(account)
        return known[account]

    return answer


def intend(tx: Tx, until_us: int, now_us: int) -> int:
    """Make intents of windows that are over, as far as they differ from what was told; how many windows."""
    known = kept.progress(tx, lock=True)
    found = kept.over(tx, until_us, known.seq, WINDOWS) if known else []
    if not found or known is None:
        return 0
    names = kept.current_customers(tx, sorted({each.window.account for each in found}))
    space = epochs.space(tx)
    rows: list[Intent] = []
    settled: list[Window] = []
    for derived in found:
        window, total = derived
        customer = window.customer or names.get((window.provider, window.account), "")
        told = window._replace(customer=customer)
        if total != window.units:
            rows.append(_intent(space, told, derived.total - window.units, now_us, known.doubt_until_us))
            told = told._replace(units=total, revisions=window.revisions + 1)
        settled.append(told)
    pushes.insert(tx, rows)
    kept.settle(tx, settled)
    return len(found)


def _intent(space: str, window: Window, units: int, now_us: int, doubt_until_us: int) -> Intent:
    made = new_intent(space, window, units, now_us)
    if window.end_us <= doubt_until_us:
        return made._replace(state=SENT, unsure_since_us=LONG_AGO_US)
    return made


def new_intent(space: str, window: Window, units: int, now_us: int) -> Intent:
    """The next intent for a window."""
    span = (window.start_us, window.end_us)
    whose = (window.provider, window.account, window.customer)
    name = windows.identifier(space, whose, window.meter, span, window.revisions)
    return Intent(
        seq=0,
        provider=window.provider,
        account=window.account,
        customer=window.customer,
        meter=window.meter,
        start_us=window.start_us,
        end_us=window.end_us,
        revision=window.revisions,
        identifier=name,
        units=units,
        at_us=windows.instant(*span),
        repair=False,
        state=PENDING,
        detail="",
        tries=0,
        unsure_since_us=None,
        next_at_us=now_us,
        created_at_us=now_us,
        updated_at_us=now_us,
    )


def again(tx: Tx, lost: Intent, now_us: int, customer: str = "") -> Intent:
    """The units of an intent that the provider surely does not have, under another identifier."""
    window = kept.get(tx, lost.account, lost.meter, lost.start_us)
    assert window is not None, "windows are never deleted once something was told of them"
    kept.told_again(tx, window._replace(customer=customer or window.customer))
    told = window._replace(customer=customer or lost.customer)
    return new_intent(epochs.space(tx), told, lost.units, now_us)._replace(repair=lost.repair)
