"""A data folder belongs to one process."""

import subprocess
import sys
from pathlib import Path

import pytest

from metergate.errors import ConfigurationError
from metergate.store.folder import DataFolder

SECOND_PROCESS = """
import sys
from pathlib import Path
from metergate.errors import ConfigurationError
from metergate.store.folder import DataFolder
try:
    DataFolder(Path(sys.argv[1])).own()
except ConfigurationError as error:
    print(f"{error.reason}: {error}")
"""


def second_process(folder: Path) -> str:
    command = [sys.executable, "-c", SECOND_PROCESS, str(folder)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def test_a_second_process_is_told_what_to_do_instead(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "data")
    folder.own()
    assert second_process(folder.path) == (
        f"data_folder_in_use: The data folder {folder.path} is in use by another process. The embedded store "
        "belongs to one process: run a single worker, or give all processes one store (store: redis://…) and "
        "a ledger in PostgreSQL.\n"
    )
    folder.disown()
    assert second_process(folder.path) == ""
    folder.own()


def test_a_folder_is_owned_once_in_a_process_too(tmp_path: Path) -> None:
    first, second = DataFolder(tmp_path), DataFolder(tmp_path)
    first.own()
    with pytest.raises(ConfigurationError, match="in use by another process"):
        second.own()
    first.disown()
    first.disown()
    second.own()


def test_only_the_owner_may_look_into_the_folder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path / "a" / "data")
    folder.own()
    assert folder.path.stat().st_mode & 0o777 == 0o700
    assert (folder.path / "lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(("mode", "warned"), [(0o700, False), (0o755, False), (0o770, True), (0o777, True)])
def test_a_folder_that_others_may_write_to_is_warned_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, mode: int, warned: bool
) -> None:
    """Volumes of containers are often made so; whoever can write there can take the place of its secrets."""
    tmp_path.chmod(mode)
    DataFolder(tmp_path).own()
    assert ("chmod 700" in caplog.text) == warned


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigurationError, match="choose another with METERGATE_DATA"):
        DataFolder(tmp_path / "file" / "data").own()


def test_everything_of_a_process_lies_in_its_folder(tmp_path: Path) -> None:
    folder = DataFolder(tmp_path)
    assert folder.ledger_url == f"sqlite:///{tmp_path}/ledger.sqlite"
    assert {folder.journal.parent, folder.socket.parent} == {tmp_path}
