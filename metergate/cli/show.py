"""Answers of the office as people read them: tables, facts, and one line for `--json`."""

import json
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click

Json = Mapping[str, Any]
Show = Callable[[Json], None]


def as_json(answer: object) -> None:
    lines = json.dumps(answer, indent=2, ensure_ascii=False).split("\n")
    click.echo("\n".join(map(_escaped, lines)))


def _escaped(line: str) -> str:
    """A line of JSON in which what cannot be printed is escaped, as JSON may."""
    if line.isprintable():
        return line
    return "".join([each if each.isprintable() else json.dumps(each)[1:-1] for each in line])


def plain(text: str) -> str:
    """Text that does nothing to a terminal: what somebody sent may hold controls, or turn lines around."""
    if text.isprintable():
        return text
    return "".join([each if each.isprintable() else repr(each)[1:-1] for each in text])


def cell(value: object) -> str:
    """A value in the words of a table."""
    match value:
        case None:
            return ""
        case bool():
            return "yes" if value else "no"
        case {"amount": amount, "currency": currency, "every": every}:
            return f"{amount} {currency} a {every}"
        case {"amount": amount, "currency": currency}:
            return f"{amount} {currency}"
        case {"units": units, "every": every}:
            return f"{units} a {every}"
        case {"rate": rate, "per": per}:
            return f"{rate} a {per}"
        case Mapping():
            return ", ".join(f"{name}: {cell(each)}" for name, each in value.items())
        case list() | tuple():
            return ", ".join(map(cell, value))
    return plain(str(value))


def facts(answer: Json) -> None:
    """One fact a line; what is a list of things stands below as a table."""
    told = {name: value for name, value in answer.items() if value not in (None, "", [], {})}
    things = {name: value for name, value in told.items() if isinstance(value, list) and _is_table(value)}
    width = max(map(len, told.keys() - things.keys()), default=0)
    for name, value in told.items():
        if name not in things:
            click.echo(f"{name:<{width}}  {cell(value)}")
    for name, value in things.items():
        click.echo(f"\n{name}")
        table([column for column in value[0] if any(cell(row[column]) for row in value)], value)


def _is_table(value: list[object]) -> bool:
    return all(isinstance(each, Mapping) for each in value)


def rotated(answer: Json) -> None:
    """The new key; of the old one, which it is and how long it still works."""
    old = answer["replaces"]
    until = old["expires_at"] if old["state"] == "active" else None
    facts({**answer, "replaces": old["kid"], "both_work_until": until})


def rows(*columns: str) -> Show:
    """A page of a list as a table."""

    def show(answer: Json) -> None:
        table(columns, answer["data"])
        if answer.get("has_more"):
            click.echo(f"There are more: --after {answer['after']}", err=True)

    return show


def table(columns: Sequence[str], listed: Sequence[Json]) -> None:
    if not listed:
        click.echo("None.", err=True)
        return
    if sys.stdout.isatty():
        _drawn(columns, listed)
        return
    lines = [columns, *[[cell(row.get(column)) for column in columns] for row in listed]]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for line in lines:
        click.echo("  ".join(f"{each:<{width}}" for each, width in zip(line, widths, strict=True)).rstrip())


def _drawn(columns: Sequence[str], listed: Sequence[Json]) -> None:
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column, overflow="fold")
    for row in listed:
        drawn.add_row(*[Text(cell(row.get(column))) for column in columns])
    Console().print(drawn)


def ledger(answer: Json) -> None:
    """Each transaction, and its entries below it."""
    for transaction in answer["data"]:
        told = (transaction[name] for name in ("at", "kind", "account", "id"))
        click.echo("  ".join(map(str, told)))
        for entry in transaction["entries"]:
            owner = ":".join(filter(None, (entry["book"], entry["account"], entry["grant"])))
            click.echo(f"    {cell(entry['amount']):>20}  {owner}")
    if answer["has_more"]:
        click.echo(f"There are more: --after {answer['after']}", err=True)


def steps(answer: Json) -> None:
    """A decision, rule by rule."""
    for step in answer["steps"]:
        more = {name: each for name, each in step.items() if name not in ("rule", "ok", "detail")}
        mark = "yes" if step["ok"] else "no"
        click.echo(f"{mark:<4}{step['rule']:<12}{step['detail']}  {cell(more)}".rstrip())


def verified(answer: Json) -> None:
    """Each difference: which figure, what it should be, what it is, and what to do; then the chain's head."""
    for each in answer["differences"]:
        click.echo(plain(each["sentence"]))
        if each["expected"] or each["found"]:
            figure, expected, found = (each[name] or "nothing" for name in ("figure", "expected", "found"))
            click.echo(plain(f"    {figure}: expected {expected}, found {found}"))
    for advice in dict.fromkeys(each["advice"] for each in answer["differences"]):
        click.echo(advice)
    if answer["ok"]:
        click.echo("Every balance follows from the entries.")
    if answer["moving"]:
        click.echo(f"{answer['moving']} accounts were spending all the while and were compared in part.")
    click.echo(f"The chain's head is {answer['head']}; {answer['unchained']} rows are not chained yet.")


def reconciled(answer: Json) -> None:
    """Each difference between the ledger, the intents and a provider, and what to do."""
    for each in answer["differences"]:
        click.echo(plain(each["sentence"]))
    for advice in dict.fromkeys(each["advice"] for each in answer["differences"]):
        click.echo(advice)
    if answer["repaired"]:
        click.echo(f"{answer['repaired']} repairs were made.")
    if answer["ok"] and answer["compared"]:
        click.echo(f"The ledger, the intents and {answer['compared']} summaries of providers say the same.")
    elif answer["ok"]:
        click.echo("No provider was told of usage, so there is nothing to compare.")


def health(answer: Json) -> None:
    parts = {name: each for name, each in answer.items() if isinstance(each, Mapping)}
    click.echo(f"{answer['state']}  policy {answer['policy']}")
    told = [{"part": name, **each} for name, each in parts.items()]
    table(("part", "state", "name", "version", "latency_us", "backlog", "open_holds", "detail"), told)


def decision(told: Json) -> None:
    """A live decision in one line."""
    verdict = told["reason"] or "admitted"
    shadow = " (shadow)" if told["shadow"] else ""
    where = plain(f"{told['route']}  {told['path']}")
    what = f"{verdict}{shadow}  {told['account'] or '-'}  {where}  {cell(told['cost'])}"
    click.echo(f"{told['at']}  {what}  {told['request_id']}")
