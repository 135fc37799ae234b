"""What a person at a terminal sees: tables, and progress beside an export."""

import os
import pty
import subprocess
from pathlib import Path

from tests.cli.conftest import Shell
from tests.cli.test_live import ENVIRON, TYPED


def seen(folder: Path, *words: str) -> str:
    """What the terminal shows of a command."""
    mine, theirs = pty.openpty()
    environ = ENVIRON | {"METERGATE_POLICY": "policy.yaml", "TERM": "xterm", "COLUMNS": "100"}
    process = subprocess.Popen(
        [*TYPED, *words], cwd=folder, env=environ, stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    shown = b""
    try:
        while part := os.read(mine, 65536):
            shown += part
    except OSError:  # what Linux says when the other end is closed
        pass
    finally:
        os.close(mine)
    assert process.wait() == 0, shown
    return shown.decode()


def test_a_list_is_a_table(shell: Shell) -> None:
    """With its headings set off."""
    shell.ok("accounts create acme")
    shown = seen(shell.folder, "accounts")
    assert "acme" in shown
    assert "\x1b[1m" in shown


def test_an_export_shows_how_far_it_is(shell: Shell) -> None:
    """On the terminal, never in the file."""
    shell.ok("accounts create acme")
    shell.ok("usage record acme tokens 7")
    shown = seen(shell.folder, "usage", "export", "--output", "usage.csv")
    assert "Usage rows" in shown
    assert "1/?" in shown
    assert len((shell.folder / "usage.csv").read_text().splitlines()) == 2


def test_verify_shows_how_far_it_is(shell: Shell) -> None:
    """Step by step, and the same answer at the end."""
    shell.ok("accounts create acme")
    shown = seen(shell.folder, "verify")
    assert "Verifying" in shown
    assert "Every balance follows from the entries." in shown
