"""Each process has a journal folder of its own; who finds one without its process may take it over, alone."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from metergate.errors import ConfigurationError
from metergate.store.journals import Journals, taken

OWNING = """
import sys
from pathlib import Path
from metergate.store.journals import Journals
claim = Journals(Path(sys.argv[1])).begin()
print(claim.path.name, flush=True)
sys.stdin.read()
"""


def test_a_folder_is_an_orphan_from_the_moment_its_process_is_killed(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    command = [sys.executable, "-c", OWNING, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert [path.name for path in journals.all()] == [name]
        assert list(journals.orphans()) == []
        process.send_signal(signal.SIGKILL)
    (claim,) = journals.orphans()
    assert claim.path.name == name
    assert list(Journals(tmp_path).orphans()) == []  # somebody is at it
    claim.leave()
    (again,) = Journals(tmp_path).orphans()
    again.remove()
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_somebody_has_just_removed_is_nobodys(tmp_path: Path) -> None:
    journals = Journals(tmp_path)
    first = journals.begin()
    lock = os.open(first.path / "lock", os.O_RDWR)
    first.remove()
    os.close(lock)
    assert taken(first.path) is None
    assert journals.all() == []


def test_a_folder_has_its_lock_before_it_has_its_name(tmp_path: Path) -> None:
    """Who looks while a process begins finds nothing, or finds it locked."""
    journals = Journals(tmp_path)
    (tmp_path / ".draft").mkdir()
    (tmp_path / ".draft" / "lock").touch()
    assert journals.all() == []
    claim = journals.begin()
    assert journals.all() == [claim.path]
    assert taken(claim.path) is None
    claim.leave()


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="choose another folder with METERGATE_JOURNAL"):
        Journals(tmp_path / "file" / "journals").create()
