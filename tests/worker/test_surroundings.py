"""What a foundation stands on: settings that lose money are refused, by profile, and others are told."""

import logging
from contextlib import closing
from pathlib import Path

import pytest

from metergate import Gate
from metergate.config import check
from metergate.config.settings import Settings
from metergate.errors import ConfigurationError
from metergate.ledger import Ledger, surroundings
from metergate.store.disk import file_system, of_folder

POLICY = {"metergate": 1, "meters": {"tokens": {"count": "app"}}, "prices": {"tokens": {"price": "0.01"}}}
MOUNTS = """\
/dev/root / ext4 rw 0 0
tmpfs /run tmpfs rw 0 0
server:/share /mnt/the\\040share nfs4 rw 0 0
/dev/sdb /mnt ext4 rw 0 0
"""


@pytest.mark.parametrize(
    ("folder", "kind"),
    [("/var/x", "ext4"), ("/run/x", "tmpfs"), ("/mnt/the share/x", "nfs4"), ("/mnt/the shared", "ext4")],
)
def test_the_file_system_of_a_folder_is_found(tmp_path: Path, folder: str, kind: str) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    assert file_system(Path(folder), tmp_path / "mounts") == kind


def test_a_network_file_system_is_no_place_for_a_data_folder(tmp_path: Path) -> None:
    (tmp_path / "mounts").write_text(MOUNTS)
    [danger] = of_folder(Path("/mnt/the share/x"), tmp_path / "mounts")
    assert danger.strict
    assert "network file system (nfs4)" in danger.sentence
    assert of_folder(Path("/var"), tmp_path / "mounts") == []
    assert file_system(Path("/var"), tmp_path / "nothing") == ""


@pytest.mark.parametrize(
    ("version", "always"), [((3, 36, 0), [True]), ((3, 40, 1), [False]), ((3, 52, 1), [])]
)
def test_versions_of_sqlite_are_judged(version: tuple[int, ...], always: list[bool]) -> None:
    assert [danger.always for danger in surroundings._sqlite(version)] == always


async def test_the_profile_strict_syncs_always_and_says_so_where_the_policy_does_not(tmp_path: Path) -> None:
    strict = {**POLICY, "profile": "strict"}
    [problem] = check({**strict, "fsync": "everysec"})
    assert "profile: strict is fsync: always" in str(problem)
    async with Gate.open(strict, settings=Settings(data=tmp_path)) as gate:
        assert gate.engine.policy.fsync == "always"
        assert gate.engine.policy.profile == "strict"


SETTINGS = {
    "synchronous_commit TO off": "synchronous_commit off",
    "default_transaction_read_only TO on": "only lets itself be read",
}


@pytest.mark.parametrize("setting", SETTINGS)
def test_dangerous_settings_of_postgresql_are_found(postgres_url: str, setting: str) -> None:
    with closing(Ledger.open(postgres_url)) as ledger:
        ledger.migrate()
        assert surroundings.dangers(ledger) == []
        with ledger.write() as tx:
            name = tx.sql("SELECT current_database()").scalar_one()
            tx.sql(f"ALTER DATABASE {name} SET {setting}")
    with closing(Ledger.open(postgres_url)) as ledger:
        [danger] = surroundings.dangers(ledger)
    assert SETTINGS[setting] in danger.sentence
    assert danger.always is ("read_only" in setting)


async def test_the_profile_decides_between_a_warning_and_a_refusal(
    postgres_url: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(Ledger.open(postgres_url)) as ledger:
        ledger.migrate()
        with ledger.write() as tx:
            name = tx.sql("SELECT current_database()").scalar_one()
            tx.sql(f"ALTER DATABASE {name} SET synchronous_commit TO off")
    settings = Settings(data=tmp_path, ledger=postgres_url)
    with caplog.at_level(logging.WARNING):
        async with Gate.open(POLICY, settings=settings):
            pass
    assert "Mind: PostgreSQL runs with synchronous_commit off" in caplog.text
    with pytest.raises(ConfigurationError, match="PostgreSQL runs with synchronous_commit off"):
        async with Gate.open({**POLICY, "profile": "strict"}, settings=settings):
            pass
