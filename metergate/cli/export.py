"""Usage rows out of the ledger: CSV for spreadsheets, JSON lines for programs."""

import csv
import json
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from metergate.cli import asking

if TYPE_CHECKING:
    from collections.abc import Iterator

    from metergate.admin import Doing

COLUMNS = (
    "id", "request_id", "account", "key", "service", "route", "path", "meter", "units", "dimensions", "cost",
    "currency", "measured", "plan", "policy", "at",
)  # fmt: skip
PAGE = 1000
FORMULA = ("=", "+", "-", "@", "\t", "\r")

Row = Mapping[str, Any]
Write = Callable[[Row], None]


async def export(policy: str, params: dict[str, object], format: str, target: Path | None) -> None:
    async with asking.office(policy) as office:
        with _opened(target) as out, _progress() as advance:
            write = _csv(out) if format == "csv" else _lines(out)
            async for row in _rows(office, params):
                write(row)
                advance()


async def _rows(office: "Doing", params: dict[str, object]) -> AsyncIterator[Row]:
    after = ""
    while True:
        page = await office.do("usage.list", {**params, "limit": PAGE, "after": after})
        for row in page["data"]:
            yield row
        if not page["has_more"]:
            return
        after = page["after"]


def _opened(target: Path | None) -> AbstractContextManager[TextIO]:
    return nullcontext(sys.stdout) if target is None else target.open("w", encoding="utf-8", newline="")


def _csv(out: TextIO) -> Write:
    writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
    writer.writeheader()

    def write(row: Row) -> None:
        cost = row["cost"]
        told = {**row, "cost": cost["amount"], "currency": cost["currency"]}
        told["dimensions"] = json.dumps(row["dimensions"]) if row["dimensions"] else ""
        writer.writerow({name: _cell(value) for name, value in told.items()})

    return write


def _cell(value: object) -> object:
    """A text that a spreadsheet would take for a formula gets an apostrophe before it."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA) else value


def _lines(out: TextIO) -> Write:
    return lambda row: print(json.dumps(row), file=out)


@contextmanager
def _progress() -> "Iterator[Callable[[], None]]":
    """A count that grows, when a person looks."""
    if not sys.stderr.isatty():
        yield lambda: None
        return
    from rich.console import Console
    from rich.progress import MofNCompleteColumn, Progress, SpinnerColumn, TextColumn

    columns = (SpinnerColumn(), TextColumn("{task.description}"), MofNCompleteColumn())
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("Usage rows", total=None)
        yield lambda: progress.advance(task)
