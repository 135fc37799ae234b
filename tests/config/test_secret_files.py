"""Secrets that nobody gave are made once and kept."""

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from metergate.config import secret_files
from metergate.config.settings import Settings
from metergate.errors import ConfigurationError


def test_they_are_made_once(tmp_path: Path) -> None:
    """The next start reads what this one made; pepper and token are two secrets."""
    folder = tmp_path / "new" / "data"
    peppers = secret_files.peppers(Settings(), folder)
    token = secret_files.admin_token(Settings(), folder)
    assert list(peppers) == [1] and len(peppers[1]) == 64
    assert token.encode() != peppers[1]
    assert secret_files.peppers(Settings(), folder) == peppers
    assert secret_files.admin_token(Settings(), folder) == token


def test_a_pepper_is_not_made_anew_for_keys_that_are_there(tmp_path: Path) -> None:
    """Every key would be unknown then; the token of the admin API hurts nobody."""
    with pytest.raises(ConfigurationError) as told:
        secret_files.peppers(Settings(), tmp_path, has_keys=True)
    assert str(told.value) == (
        f"Restore {tmp_path / 'pepper'} from a backup or set METERGATE_PEPPER: "
        "the ledger has keys that only work with what it held."
    )
    assert list(tmp_path.iterdir()) == []
    assert secret_files.peppers(Settings(peppers=("given",)), tmp_path, has_keys=True) == {1: b"given"}
    made = secret_files.peppers(Settings(), tmp_path)
    assert secret_files.peppers(Settings(), tmp_path, has_keys=True) == made


def test_only_their_owner_reads_them(tmp_path: Path) -> None:
    """And no draft is left beside them."""
    secret_files.kept(tmp_path / "data", "pepper")
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["pepper"]
    assert stat.S_IMODE((tmp_path / "data" / "pepper").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "data").stat().st_mode) == 0o700


def test_what_is_given_wins(tmp_path: Path) -> None:
    """Nothing is made then; several peppers have their versions in order."""
    given = Settings(peppers=("old", "new"), admin_token="mine")
    assert secret_files.peppers(given, tmp_path) == {1: b"old", 2: b"new"}
    assert secret_files.admin_token(given, tmp_path) == "mine"
    assert not list(tmp_path.iterdir())


def test_processes_that_begin_together_agree(tmp_path: Path) -> None:
    """Whoever is first, all read the same."""
    with ThreadPoolExecutor(16) as pool:
        assert len(set(pool.map(lambda _: secret_files.kept(tmp_path, "pepper"), range(64)))) == 1


@pytest.mark.parametrize(
    ("text", "mode", "sentence"),
    [
        ("secret", 0o644, "Let nobody but the owner read .*: chmod 600 .*pepper"),
        ("secret", 0o640, "Let nobody but the owner read .*: chmod 600 .*pepper"),
        (" \n", 0o600, "Restore .*pepper from a backup: it is empty"),
    ],
)
def test_a_file_that_cannot_be_trusted(tmp_path: Path, text: str, mode: int, sentence: str) -> None:
    """Readable by others, or empty: an error, never a new secret."""
    (tmp_path / "pepper").write_text(text)
    (tmp_path / "pepper").chmod(mode)
    with pytest.raises(ConfigurationError, match=sentence):
        secret_files.kept(tmp_path, "pepper")


def test_a_folder_that_cannot_be_used(tmp_path: Path) -> None:
    """The sentence names the file."""
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigurationError, match=r"Make .*pepper readable and its folder writable"):
        secret_files.kept(tmp_path / "data", "pepper")
