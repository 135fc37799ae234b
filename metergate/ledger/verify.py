"""Proof from the ledger itself: everything is derived again and compared; each difference is one sentence.

Nothing found means: every transaction balances, every charged call is in exactly one transaction that
charges exactly its cost, every grant was funded once, every snapshot says what the entries say, and the rows
are those that were chained. The databases do the sums, so a ledger may be much larger than the memory here.
"""

from collections.abc import Callable, Iterator, Mapping
from types import MappingProxyType

import sqlalchemy as sa

from metergate.ledger import chain, checks, payment_checks, push_checks
from metergate.ledger.balances import complete
from metergate.ledger.checks import Check
from metergate.ledger.database import Tx
from metergate.ledger.differences import CHAIN, Difference

LINKS = 100
"""How many links are read at once."""
FILE = "The file is damaged: stop the service and restore a backup; see docs/runbook.md."


def verify(tx: Tx, pinned: str = "") -> Iterator[Difference]:
    """Every difference in the ledger of the organisation; none is the proof.

    `pinned` names a link that somebody kept elsewhere, and that has to be in the chain.
    """
    for step in STEPS:
        yield from take(tx, step, pinned)


def take(tx: Tx, step: str, pinned: str = "") -> Iterator[Difference]:
    """The differences of one step."""
    if not tx.sqlite:
        # Without fresh statistics the planner may compare every row with every other.
        tx.sql("SET LOCAL enable_nestloop TO off")
    yield from STEPS[step](tx, pinned)


def _found(tx: Tx, *wanted: Check) -> Iterator[Difference]:
    for check in wanted:
        for row in tx.execute(sa.text(check.query), {"org": tx.org}):
            expected, found = (str(row[at]) if at is not None else "" for at in (check.expected, check.found))
            sentence = check.sentence.format(*row)
            yield Difference(sentence, str(row[0]), check.figure, expected, found, check.advice)


def _entries(tx: Tx, _pinned: str) -> Iterator[Difference]:
    yield from _found(tx, *checks.ENTRIES)


def _usage(tx: Tx, _pinned: str) -> Iterator[Difference]:
    yield from _found(tx, *checks.USAGE)


def _grants(tx: Tx, _pinned: str) -> Iterator[Difference]:
    yield from _found(tx, *checks.GRANTS)


def _payments(tx: Tx, _pinned: str) -> Iterator[Difference]:
    yield from _found(tx, *payment_checks.PAYMENTS)


def _pushes(tx: Tx, _pinned: str) -> Iterator[Difference]:
    yield from _found(tx, *push_checks.PUSHES)


def _balances(tx: Tx, _pinned: str) -> Iterator[Difference]:
    if complete(tx):
        yield from _found(tx, *checks.SNAPSHOTS)


def _windows(tx: Tx, _pinned: str) -> Iterator[Difference]:
    if complete(tx):
        yield from _found(tx, checks.windows(sqlite=tx.sqlite))


def _chain(tx: Tx, pinned: str) -> Iterator[Difference]:
    last, seen = chain.FIRST, pinned in ("", chain.FIRST.name)
    while portion := chain.read(tx, last.link, LINKS):
        for link in portion:
            for sentence, figure, expected, found in chain.broken(tx, last, link):
                yield Difference(sentence, f"link {link.link}", figure, expected, found, CHAIN)
            seen = seen or link.name == pinned
            last = link
    if not seen:
        number, _, hash = pinned.partition(":")
        yield Difference(
            f"Link {number}, which was pinned, is not in the chain with the hash {hash}: what it covered was "
            "cut off, made anew, or an older backup was restored.",
            f"link {number}",
            "hash",
            hash,
            "",
            CHAIN,
        )


def _file(tx: Tx, _pinned: str) -> Iterator[Difference]:
    """PostgreSQL looks after its own files."""
    if not tx.sqlite:
        return
    for told in tx.sql("PRAGMA integrity_check(20)").scalars():
        if told != "ok":
            yield Difference(f"The ledger's file: {told}.", "file", "integrity", "ok", str(told), FILE)


STEPS: Mapping[str, Callable[[Tx, str], Iterator[Difference]]] = MappingProxyType(
    {
        "entries": _entries,
        "usage": _usage,
        "grants": _grants,
        "payments": _payments,
        "pushes": _pushes,
        "balances": _balances,
        "windows": _windows,
        "chain": _chain,
        "file": _file,
    }
)
"""What is proved, in pieces that each read one unchanging view."""
