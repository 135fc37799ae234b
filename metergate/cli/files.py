"""Commands about the policy file and the machine: check, init, migrate, doctor, version."""

import sys
from pathlib import Path
from typing import NamedTuple

import click

from metergate.cli import frame, show

SCHEMA = "policy-v1.schema.json"


def check(file: str, as_json: bool) -> None:
    from metergate import config

    problems = config.check(file)
    ok = all(problem.warning for problem in problems)
    if as_json:
        told = [
            {
                "file": problem.file,
                "line": problem.line,
                "column": problem.column,
                "message": problem.message,
                "warning": problem.warning,
            }
            for problem in problems
        ]
        show.as_json({"ok": ok, "problems": told})
    else:
        for problem in problems:
            click.echo(str(problem))
        if ok:
            policy = config.load(file)
            click.echo(
                f"{file}: fine. Routes: {len(policy.routes)}, meters: {len(policy.meters)}, "
                f"plans: {len(policy.plans)}; version {policy.version}."
            )
    if not ok:
        click.get_current_context().exit(1)


def init(file: str, template: str, as_json: bool) -> None:
    from metergate.config import locate

    path = Path(file)
    written = [path]
    path.parent.mkdir(parents=True, exist_ok=True)
    _copy(locate.template(template), path)
    schema = path.with_name(SCHEMA)
    if not schema.exists():
        _copy(locate.folder() / SCHEMA, schema)
        written.append(schema)
    if as_json:
        show.as_json({"written": [str(each) for each in written]})
    else:
        click.echo(f"Wrote {' and '.join(map(str, written))}; next: metergate check {path}")


def _copy(source: Path, target: Path) -> None:
    try:
        with target.open("xb") as file:
            file.write(source.read_bytes())
    except FileExistsError:
        raise click.ClickException(f"There is a file {target} already; choose another name.") from None


def migrate(policy: str, as_json: bool) -> None:
    import os
    from contextlib import closing

    from metergate import config, foundation
    from metergate.config import settings
    from metergate.ledger.database import Ledger

    given = settings.read(os.environ)
    folder = foundation.folder_of(given)
    url = given.ledger or foundation.ledger_url(config.load(frame.policy_of(policy)), given, folder)
    if url == folder.ledger_url:
        folder.create()
    ledger = Ledger.open(url)
    with closing(ledger):
        before = ledger.revision()
        ledger.migrate()
        after = ledger.revision()
    if as_json:
        show.as_json({"ledger": ledger.name, "before": before, "after": after})
    elif before == after:
        click.echo(f"The ledger {ledger.name} is at revision {after} already.")
    else:
        click.echo(f"The ledger {ledger.name} is at revision {after} now.")


class Versions(NamedTuple):
    metergate: str
    python: str
    sqlite: str


def versions() -> Versions:
    import platform
    import sqlite3

    # The front door is a floor above, and always there when one of its rooms is.
    own = str(vars(sys.modules["metergate"])["__version__"])
    return Versions(own, platform.python_version(), sqlite3.sqlite_version)


def version(as_json: bool) -> None:
    told = versions()
    if as_json:
        show.as_json(told._asdict())
    else:
        click.echo(f"metergate {told.metergate} (Python {told.python}, SQLite {told.sqlite})")


def doctor(policy: str, as_json: bool) -> None:
    from metergate.cli.doctor import findings

    found = findings(policy)
    if as_json:
        show.as_json({"ok": all(each.ok for each in found), "findings": [each._asdict() for each in found]})
    else:
        for each in found:
            click.echo(f"{each.mark:<6}{each.sentence}")
    if not all(each.ok for each in found):
        sys.exit(1)


FILE = click.Argument(["file"], metavar="FILE")
POLICY_FILE = click.Argument(["file"], metavar="[FILE]", default="policy.yaml")
TEMPLATE = click.Option(
    ["--template"],
    default="starter",
    metavar="NAME",
    help="starter, tiers, openai, anthropic, gemini, compatible or mcp.",
)

COMMANDS = {
    "check": frame.command(
        "check", check, "Say everything that is wrong with a policy, as file:line:column.", [FILE]
    ),
    "init": frame.command(
        "init", init, "Write a policy to begin with, and its schema for editors.", [POLICY_FILE, TEMPLATE]
    ),
    "migrate": frame.command(
        "migrate", migrate, "Bring the ledger's tables to this version.", [frame.policy_option()]
    ),
    "doctor": frame.command(
        "doctor", doctor, "Look over versions, settings, secrets, folder and policy.", [frame.policy_option()]
    ),
    "version": frame.command("version", version, "Say which versions are at work."),
}
