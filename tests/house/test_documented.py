"""What a user can meet is documented: settings, reasons and commands."""

from collections.abc import Iterator

import click

from metergate.cli import main
from metergate.core.refusal import REASONS
from tests.house import rules


def documents() -> list[rules.Source]:
    return [
        source
        for source in rules.read_all()
        if source.path.endswith(".md") and (source.path.startswith("docs/") or source.path == "README.md")
    ]


def commands(group: click.Group, prefix: str = "metergate") -> Iterator[str]:
    """`metergate check`, `metergate keys create` and so on."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, f"{prefix} {name}")
        elif command and not command.hidden:
            yield f"{prefix} {name}"


def test_every_reason_for_a_refusal_is_documented() -> None:
    """Whoever is refused can look up why."""
    complaints = rules.undocumented(REASONS, documents())
    assert not complaints, "\n".join(complaints)


def test_every_setting_is_documented() -> None:
    """No METERGATE_ variable is secret knowledge."""
    complaints = rules.undocumented(rules.settings(rules.read("metergate/")), documents())
    assert not complaints, "\n".join(complaints)


def test_every_command_is_documented() -> None:
    """Each command stands in the documents as one would type it."""
    complaints = rules.undocumented(commands(main), documents())
    assert not complaints, "\n".join(complaints)
