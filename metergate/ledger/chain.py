"""A chain of hashes over everything that only grows, made afterwards, so that no writer waits for another.

A link names, for each table, the rows after one number up to another, how many they are and what they hash
to; its own hash covers that and the hash of the link before. Who keeps the newest hash elsewhere can prove
later that nothing up to there was changed, deleted, inserted or put in another order.

Numbers are given before transactions commit, so a lower one may appear after a higher one. A range is
therefore closed only when nobody who could still write into it is left: see `look`.

The hash of a part is SHA-256 over its rows in their order, each a JSON array without blanks, with a line feed
between them. It is the same on both databases.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
import sqlalchemy as sa

from metergate.ledger.columns import metadata
from metergate.ledger.database import Tx
from metergate.ledger.tables import links

ROWS: Final = 10_000
"""How many rows of a table a link covers at most."""
LOWEST: Final = -(2**63)
_LOCK: Final = 0x6D657468

# A column that is added later belongs into a part of its own: old links say what they always said.
_COLUMNS: Final[Mapping[str, Sequence[str]]] = {
    "transactions": ("seq", "id", "kind", "account", "at_us", "fingerprint"),
    "entries": ("transaction", "line", "account", "book", "grant", "currency", "amount"),
    "usage": (
        *("seq", "id", "request_id", "account", "key", "service", "route", "path", "meter", "units"),
        *("dimensions", "cost", "currency", "measured", "plan", "policy", "budgets", "at_us", "transaction"),
    ),
    "grants": (
        *("seq", "id", "account", "currency", "amount", "priority", "promotional", "effective_at_us"),
        *("expires_at_us", "memo", "created_at_us"),
    ),
    "audit": ("seq", "at_us", "actor", "action", "subject", "details"),
}
_NUMBERS: Final = {"entries": "transaction"}
"""What rows are numbered by, where it is not their own `seq`."""
_NUMBERED: Final = tuple(table for table in _COLUMNS if table not in _NUMBERS)
_FLAGS: Final = frozenset({"promotional"})
# Who writes into one of these may have taken numbers that nobody sees yet: accounts are locked before any.
_WRITTEN: Final = (*_NUMBERED, "account_balances")


class Part(NamedTuple):
    table: str
    after: int
    until: int
    rows: int
    hash: str


class Link(NamedTuple):
    link: int
    hash: str
    before: str
    parts: tuple[Part, ...]
    at_us: int

    @property
    def name(self) -> str:
        """How an outsider writes it down."""
        return f"{self.link}:{self.hash}"


FIRST: Final = Link(0, "0" * 64, "", (), 0)
"""What the first link follows."""


class Look(NamedTuple):
    """How far the tables reach, and who may still write below that."""

    reached: Mapping[str, int]
    writers: frozenset[str]


_parts = msgspec.json.Decoder(tuple[Part, ...])


def look(tx: Tx) -> Look:
    """Read how far the tables reach; then who was writing, which must have ended before that is final."""
    # In this order: who has taken a number below what is seen here holds the lock of its table already, or
    # has ended.
    reached = {table: tx.sql(f"SELECT max(seq) FROM {table}").scalar() for table in _NUMBERED}  # noqa: S608
    known = {table: LOWEST if seq is None else int(seq) for table, seq in reached.items()}
    if tx.sqlite:
        return Look(known, frozenset())
    found = tx.sql(
        "SELECT DISTINCT virtualtransaction FROM pg_locks WHERE locktype = 'relation'"
        " AND mode NOT IN ('AccessShareLock', 'RowShareLock')"
        " AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"
        " AND relation = ANY(%s::regclass[])",
        (list(_WRITTEN),),
    )
    return Look(known, frozenset(found.scalars()))


def still_writing(tx: Tx, writers: frozenset[str]) -> frozenset[str]:
    """Those of the writers whose transactions have not ended."""
    if not writers:
        return writers
    ask = "SELECT DISTINCT virtualtransaction FROM pg_locks WHERE virtualtransaction = ANY(%s)"
    return frozenset(tx.sql(ask, (list(writers),)).scalars())


def extend(tx: Tx, reached: Mapping[str, int], now_us: int) -> bool:
    """Add a link for the next rows up to there, unless another process is at it; whether more are left."""
    lock = "SELECT pg_try_advisory_xact_lock(%s, %s)"
    if not tx.sqlite and not tx.sql(lock, (_LOCK, tx.org)).scalar_one():
        return False
    last = head(tx)
    after = {part.table: part.until for part in last.parts}
    until = {table: _until(tx, table, after.get(table, LOWEST), reached[table]) for table in _NUMBERED}
    # Entries go with their transactions.
    until |= dict.fromkeys(_NUMBERS, until["transactions"])
    if all(each == after.get(table, LOWEST) for table, each in until.items()):
        return False
    parts = tuple(
        Part(table, after.get(table, LOWEST), upto, *digest(tx, table, after.get(table, LOWEST), upto))
        for table, upto in until.items()
    )
    made = _linked(last, parts, now_us)
    row = made._replace(parts=msgspec.json.encode(parts).decode())._asdict()  # type: ignore[arg-type]  # as text
    tx.execute(links.insert().values(org=tx.org, **row))
    return any(until[table] < reached[table] for table in _NUMBERED)


def _linked(last: Link, parts: tuple[Part, ...], at_us: int) -> Link:
    link = last.link + 1
    return Link(link, sealed(link, last.hash, parts, at_us), last.hash, parts, at_us)


def sealed(link: int, before: str, parts: Sequence[Part], at_us: int) -> str:
    """The hash of a link."""
    told = f"{link}\n{before}\n{at_us}\n{msgspec.json.encode(parts).decode()}"
    return hashlib.sha256(told.encode()).hexdigest()


def _until(tx: Tx, table: str, after: int, reached: int) -> int:
    """The number of the last row that the next link covers; that of the last link where there is none."""
    mark = "?" if tx.sqlite else "%s"
    found = tx.sql(
        f"SELECT max(seq) FROM (SELECT seq FROM {table} WHERE org = {mark} AND seq > {mark}"  # noqa: S608 - ours
        f" AND seq <= {mark} ORDER BY seq LIMIT {ROWS}) AS covered",
        (tx.org, after, reached),
    ).scalar()
    return after if found is None else int(found)


def digest(tx: Tx, table: str, after: int, until: int) -> tuple[int, str]:
    """How many rows there are in a range, and what they hash to."""
    parameters = (tx.org, after, until)
    if tx.sqlite:
        rows, text = tx.sql(_sqlite(table), parameters).one()
        return int(rows), hashlib.sha256(text or b"").hexdigest()
    rows, hashed = tx.sql(_postgres(table), parameters).one()
    return int(rows), str(hashed)


def _sqlite(table: str) -> str:
    number = _NUMBERS.get(table, "seq")
    columns = ", ".join(f'"{name}"' for name in _COLUMNS[table])
    # The order of the inner query is the order in which group_concat hears of the rows.
    return (
        "SELECT count(*), CAST(group_concat(line, char(10)) AS BLOB) FROM"  # noqa: S608 - our own columns
        f' (SELECT json_array({columns}) AS line FROM {table} WHERE org = ? AND "{number}" > ?'
        f' AND "{number}" <= ? ORDER BY {_order(table)})'
    )


def _postgres(table: str) -> str:
    number = _NUMBERS.get(table, "seq")
    values = ", ".join(f"coalesce({_json(table, name)}, 'null')" for name in _COLUMNS[table])
    line = f"'[' || concat_ws(',', {values}) || ']'"
    whole = f"coalesce(string_agg({line}, chr(10) ORDER BY {_order(table)}), '')"
    return (
        f"SELECT count(*), encode(sha256(convert_to({whole}, 'UTF8')), 'hex') FROM {table}"  # noqa: S608 - as above
        f' WHERE org = %s AND "{number}" > %s AND "{number}" <= %s'
    )


def _json(table: str, name: str) -> str:
    """A value of a column as JSON, written as SQLite does."""
    if name in _FLAGS:
        return f'CAST("{name}"::int AS TEXT)'
    text = isinstance(metadata.tables[table].c[name].type, sa.Text)
    return f'CAST(to_json("{name}") AS TEXT)' if text else f'CAST("{name}" AS TEXT)'


def _order(table: str) -> str:
    return '"transaction", line' if table in _NUMBERS else "seq"


def head(tx: Tx) -> Link:
    """The newest link."""
    columns = (links.c.link, links.c.hash, links.c.before, links.c.parts, links.c.at_us)
    query = sa.select(*columns).where(links.c.org == tx.org).order_by(links.c.link.desc()).limit(1)
    row = tx.execute(query).first()
    return FIRST if row is None else _link(*row)


def read(tx: Tx, after: int, limit: int) -> list[Link]:
    """The links after one, in their order."""
    columns = (links.c.link, links.c.hash, links.c.before, links.c.parts, links.c.at_us)
    query = sa.select(*columns).where(links.c.org == tx.org, links.c.link > after)
    return [_link(*row) for row in tx.execute(query.order_by(links.c.link).limit(limit))]


def unchained(tx: Tx) -> int:
    """How many rows no link covers yet."""
    after = {part.table: part.until for part in head(tx).parts}
    mark = "?" if tx.sqlite else "%s"
    count = "SELECT count(*) FROM {} WHERE org = {} AND seq > {}"
    return sum(
        int(tx.sql(count.format(table, mark, mark), (tx.org, after.get(table, LOWEST))).scalar_one())
        for table in _NUMBERED
    )


def _link(link: int, hash: str, before: str, parts: str, at_us: int) -> Link:
    try:
        told = _parts.decode(parts)
    except msgspec.MsgspecError:
        told = ()  # its hash does not fit then, which `broken` says
    return Link(link, hash, before, told, at_us)


def broken(tx: Tx, last: Link, link: Link) -> Iterator[tuple[str, str, str, str]]:
    """What is wrong with a link that follows another: a sentence, the figure, expected and found."""
    where = f"Link {link.link} of the chain"
    if link.link != last.link + 1:
        yield f"{where} follows link {last.link}.", "number", str(last.link + 1), str(link.link)
    if link.before != last.hash:
        yield f"{where} does not follow the one before it.", "before", last.hash, link.before
    known = sealed(link.link, link.before, link.parts, link.at_us)
    if link.hash != known:
        yield f"{where} was changed: its hash is of something else.", "hash", known, link.hash
        return
    ended = {part.table: part.until for part in last.parts}
    for part in link.parts:
        after = ended.get(part.table, LOWEST)
        if part.after != after:
            yield f"{where} leaves out {part.table}.", part.table, str(after), str(part.after)
        yield from _other_rows(tx, where, part)


def _other_rows(tx: Tx, where: str, part: Part) -> Iterator[tuple[str, str, str, str]]:
    rows, hashed = digest(tx, part.table, part.after, part.until)
    covered = f"rows of {part.table} up to number {part.until}"
    if rows != part.rows:
        told = f"{where} has {part.rows} {covered}, and there are {rows}: rows were deleted or inserted."
        yield told, f"{part.table} rows", str(part.rows), str(rows)
    elif hashed != part.hash:
        told = f"{where} does not fit the {rows} {covered}: rows were changed or put in another order."
        yield told, f"{part.table} hash", part.hash, hashed
