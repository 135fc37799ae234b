"""The reference pages say what the code says."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from metergate import alarms
from metergate.api import authz, metrics
from metergate.api.operations import ENDPOINTS
from metergate.asgi import forward_auth
from metergate.cli import main
from metergate.config.settings import DOCUMENTED
from metergate.core.refusal import REASONS
from tests.docs.documents import FOLDERS, of
from tests.house.rules import FLOORS, ROOT

EVERYWHERE = {"--json", "--policy", "--help"}


def page(name: str) -> str:
    return (ROOT / "docs" / name).read_text(encoding="utf-8")


def commands(group: click.Group, prefix: str = "metergate") -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        else:
            yield f"{prefix} {name}", command


COMMANDS = dict(commands(main))


@pytest.mark.parametrize("words", COMMANDS)
def test_a_command_stands_with_its_options(words: str) -> None:
    """One line of docs/cli.md has them all, and no other."""
    [line] = [line for line in page("cli.md").splitlines() if line.startswith(f"| `{words}` ")]
    options = {
        option for each in COMMANDS[words].params if isinstance(each, click.Option) for option in each.opts
    }
    typed = line.split("|")[1]
    assert set(re.findall(r"--[a-z-]+", typed)) == options - EVERYWHERE
    for argument in COMMANDS[words].params:
        if isinstance(argument, click.Argument):
            assert (argument.metavar or "").strip("[]") in typed


def test_every_setting_stands_with_its_sentence() -> None:
    """docs/settings.md and `DOCUMENTED` are the same list."""
    rows = re.findall(r"^\| `(\w+)` \| (.+) \|$", page("settings.md"), re.MULTILINE)
    assert dict(rows) == dict(DOCUMENTED)


def test_every_reason_stands_in_the_order_of_precedence() -> None:
    """docs/reasons.md and `REASONS` are the same list."""
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| (.+) \|$", page("reasons.md"), re.MULTILINE)
    assert rows == [(name, str(reason.status), reason.help) for name, reason in REASONS.items()]


def test_every_endpoint_of_the_operator_is_listed() -> None:
    """docs/http.md names what the admin API serves, and nothing else."""
    listed = re.findall(r"^\| `([A-Z]+) /admin/v1(/\S*)`", page("http.md"), re.MULTILINE)
    assert sorted(listed) == sorted((each.method, each.path) for each in ENDPOINTS)


def test_every_metric_is_listed() -> None:
    """docs/http.md says what each number means, and names no other."""
    listed = re.findall(r"^\| `(metergate_\w+)`", page("http.md"), re.MULTILINE)
    empty = {
        "policy": "",
        "backlog": 0,
        "open_holds": 0,
        "lag_us": 0,
        "chain_lag_us": 0,
        "waits": {"below": [0] * 40, "total_us": 0},
    }
    shown = re.findall(r"^# TYPE (\w+)", metrics.text(empty), re.MULTILINE)
    assert sorted(listed) == sorted(shown)


def test_every_endpoint_of_fronts_is_listed() -> None:
    """docs/http.md names what the decision API serves, with the fields of its bodies."""
    listed = re.findall(r"^\| `POST /authz/v1(/\S*)` \{(.+)\} \|", page("http.md"), re.MULTILINE)
    described = {
        each.path: [
            name if field.is_required() or name == "key" else f"{name}?"
            for name, field in each.takes.model_fields.items()
        ]
        for each in authz.ENDPOINTS
        if each.takes is not None
    }
    assert {path: fields.split(", ") for path, fields in listed} == described
    assert f"`ANY {forward_auth.PATH}`" in page("http.md")


def test_every_link_between_documents_leads_somewhere() -> None:
    """A page that is gone takes its links with it."""
    for pattern in (*FOLDERS, "*.md"):
        for path in ROOT.glob(pattern):
            for target in re.findall(r"\]\(([^)#:]+)\)", path.read_text(encoding="utf-8")):
                assert (path.parent / target).exists(), f"{path.name} links to {target}"


def test_the_store_page_runs_the_contract(tmp_path: Path) -> None:
    """The test that an author of a store begins with passes as it stands."""
    [block] = of("python", "docs/store.md")
    (tmp_path / "test_foo.py").write_text(block.text)
    (tmp_path / "conftest.py").write_text(
        'import pytest\n\n\n@pytest.fixture(scope="session")\ndef anyio_backend():\n    return "asyncio"\n'
    )
    options = ["-q", "-p", "no:cacheprovider", "-o", "anyio_mode=auto", "--rootdir", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert re.search(r"[1-9]\d+ passed", done.stdout)


def test_the_architecture_shows_every_room_on_its_floor() -> None:
    """The tree of ARCHITECTURE.md is the tree that the house rules guard."""
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    shown = {
        name: int(floor) for name, floor in re.findall(r"^      (\w+)\S*\s+floor (\d)", text, re.MULTILINE)
    }
    there = {path.stem for path in (ROOT / "metergate").iterdir() if not path.name.startswith(("_", "py."))}
    assert shown == {room: floor for room, floor in FLOORS.items() if room in there}


def test_every_alarm_has_its_page_and_its_metric() -> None:
    """The log and the metrics lead to a section of the runbook, and each alarm is raised somewhere."""
    headings = re.findall(r"^## (.+)$", page("runbook.md"), re.MULTILINE)
    anchors = {heading.lower().replace(" ", "-") for heading in headings}
    of_alarms = {alarm.page for alarm in alarms.ALARMS}
    assert of_alarms < anchors
    assert anchors - of_alarms == {"keys-and-certificates", "backup-and-restore"}
    listed = set(re.findall(r"^\| `(metergate_\w+)`", page("http.md"), re.MULTILINE))
    assert {alarm.metric for alarm in alarms.ALARMS} <= listed
    for alarm in alarms.ALARMS:
        section = (
            page("runbook.md").partition(f"## {_heading(headings, alarm.page)}\n")[2].partition("\n## ")[0]
        )
        assert f"`{alarm.metric}`" in section
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "metergate").rglob("*.py"))
    names = [name for name, value in vars(alarms).items() if isinstance(value, alarms.Alarm)]
    assert len(names) == len(alarms.ALARMS)
    assert [name for name in names if f"alarms.{name}" not in source] == []


def _heading(headings: list[str], anchor: str) -> str:
    return next(heading for heading in headings if heading.lower().replace(" ", "-") == anchor)
