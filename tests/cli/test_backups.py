"""Backups: written while the ledger is used, read once more, brought back without giving anything away."""

import asyncio
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from metergate import Gate
from metergate.config.settings import Settings
from metergate.ledger import Ledger, accounts, backup, balances, grants, usage
from metergate.ledger.backup import Made
from metergate.ledger.posting import post
from tests.cli.conftest import Shell
from tests.house.rules import ROOT
from tests.ledger.calls import START, USD, call, differences, open_account

Done = subprocess.CompletedProcess[str]
KEPT = Made(START, "1", "")


def test_a_backup_under_load_is_whole_and_comes_back_elsewhere(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    done, recorded = asyncio.run(_backed_up_under_load(shell.folder))
    assert done.returncode == 0, done.stderr
    monkeypatch.setenv("METERGATE_DATA", str(shell.folder / "there"))
    told = shell.json(f"restore {shell.folder}/one.backup")
    assert (told["ended"], told["active"]) == (0, 0)
    assert shell.json("verify")["ok"]
    [total] = shell.json("usage show")["data"]
    assert 0 < total["calls"] < recorded
    left = sum(shell.json(f"credits show {name}")["balance"]["nanos"] for name in ("a", "b"))
    assert left == 100 * USD - int(total["cost"]["nanos"])


async def _backed_up_under_load(folder: Path) -> tuple[Done, int]:
    data = folder / "here"
    async with Gate.open(str(folder / "policy.yaml"), settings=Settings(data=data)) as gate:
        for name in ("a", "b"):
            await gate.office.accounts.create(name)
            await gate.office.credits.grant(name, "50.00", id=f"first-{name}")
        ended = asyncio.Event()
        busy = [asyncio.ensure_future(_spend(gate, name, ended)) for name in ("a", "b") for _ in range(4)]
        done = await asyncio.to_thread(_typed, folder, data, "backup", "one.backup")
        assert (await gate.office.books.verify())["differences"] == []  # in the middle of it
        await asyncio.sleep(0.1)
        ended.set()
        return done, sum(await asyncio.gather(*busy))


async def _spend(gate: Gate, account: str, ended: asyncio.Event) -> int:
    recorded = 0
    while not ended.is_set():
        await gate.record(account, "tokens", 1)
        recorded += 1
        await asyncio.sleep(0.002)
    return recorded


def _typed(folder: Path, data: Path, *words: str) -> Done:
    environ = {
        "METERGATE_POLICY": str(folder / "policy.yaml"),
        "METERGATE_DATA": str(data),
        "PYTHONPATH": str(ROOT),
    }
    command = [sys.executable, "-m", "metergate", *words]
    return subprocess.run(
        command, cwd=folder, env=environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_a_key_that_was_revoked_after_the_backup_stays_revoked(shell: Shell) -> None:
    shell.ok("accounts create acme")
    shell.ok("accounts create gone")
    kid = shell.json("keys create --account acme")["kid"]
    shell.ok("keys create --account acme")
    written = shell.json("backup one.backup --with-pepper")
    assert (written["accounts"], Path("one.backup").stat().st_mode & 0o777) == (2, 0o600)
    shell.ok(f"keys revoke {kid}")
    shell.ok("accounts suspend gone")
    assert "--replace" in shell.no("restore one.backup")
    told = shell.json("restore one.backup --replace")
    assert (told["ended"], told["active"]) == (2, 1)
    assert shell.json(f"keys show {kid}")["state"] == "revoked"
    assert shell.json("accounts show gone")["suspended"] is True
    assert [event["action"] for event in shell.json("audit --subject ledger")["data"]] == ["ledger.restore"]
    [aside] = Path("metergate-data").glob("replaced-*.sqlite")
    assert aside.stat().st_size
    assert shell.json("verify")["ok"]


def test_who_was_suspended_after_the_backup_stays_so_also_when_all_keys_end(shell: Shell) -> None:
    shell.ok("accounts create gone")
    shell.ok("keys create --account gone")
    shell.ok("backup one.backup --with-pepper")
    shell.ok("accounts suspend gone")
    told = shell.json("restore one.backup --replace --keys revoke")
    assert (told["ended"], told["active"]) == (2, 0)
    assert shell.json("accounts show gone")["suspended"] is True


KILLED = """\
import asyncio, os, sys
from pathlib import Path
from metergate import Gate
from metergate.config.settings import Settings

async def main():
    settings = Settings(data=Path(sys.argv[2]), worker=False)
    async with Gate.open(sys.argv[1], settings=settings) as gate:
        await gate.record("acme", "tokens", 120, idempotency_key="job-7")
        os._exit(9)

asyncio.run(main())
"""


def test_what_a_journal_still_holds_is_charged_to_the_restored_ledger(shell: Shell) -> None:
    """The process was killed before the ledger had it, and then the ledger was lost."""
    shell.ok("accounts create acme")
    shell.ok("credits grant acme 5.00")
    shell.ok("backup one.backup")
    killed = [sys.executable, "-c", KILLED, "policy.yaml", "metergate-data"]
    assert subprocess.run(killed, env={"PYTHONPATH": str(ROOT)}, check=False).returncode == 9
    shell.ok("restore one.backup --replace")
    assert shell.json("credits show acme")["balance"]["amount"] == "4.88"
    assert shell.json("credits show acme")["balance"]["amount"] == "4.88"
    assert shell.json("verify")["ok"]


def test_where_revocations_are_not_known_somebody_decides(
    shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    shell.ok("accounts create acme")
    kid = shell.json("keys create --account acme")["kid"]
    shell.ok("backup one.backup --with-pepper")
    monkeypatch.setenv("METERGATE_DATA", "kept")
    assert "--keys revoke" in shell.no("restore one.backup")
    assert not Path("kept/ledger.sqlite").exists()
    assert shell.json("restore one.backup --keys keep")["active"] == 1
    assert shell.json(f"keys show {kid}")["state"] == "active"  # with its pepper, which the backup held
    monkeypatch.setenv("METERGATE_DATA", "ended")
    assert shell.json("restore one.backup --keys revoke")["ended"] == 1
    assert shell.json(f"keys show {kid}")["state"] == "revoked"


def test_nothing_is_restored_under_a_running_service(shell: Shell) -> None:
    shell.ok("accounts create acme")
    shell.ok("backup one.backup")
    assert "There is a file one.backup already" in shell.no("backup one.backup")
    done = asyncio.run(_restored_under_a_service(shell.folder))
    assert done.returncode == 1
    assert "in use by another process" in done.stderr
    Path("none.backup").write_text("nothing")
    assert "no backup of metergate" in shell.no("restore none.backup")


async def _restored_under_a_service(folder: Path) -> Done:
    data = folder / "metergate-data"
    async with Gate.open(str(folder / "policy.yaml"), settings=Settings(data=data)):
        return await asyncio.to_thread(_typed, folder, data, "restore", "one.backup", "--replace")


def test_a_ledger_in_postgresql_comes_back_into_another_database(postgres_url: str, tmp_path: Path) -> None:
    path, draft = tmp_path / "one.backup", tmp_path / "draft.sqlite"
    with closing(Ledger.open(postgres_url)) as ledger:
        ledger.migrate()
        _some_history(ledger)
        backup.make(ledger, path, KEPT)
        with ledger.read() as tx:
            before = _everything(tx.connection)
        with closing(backup.opened(path, draft)) as copy:
            assert differences(copy) == []
            with ledger.write() as tx:
                tx.sql("DROP SCHEMA public CASCADE")
                tx.sql("CREATE SCHEMA public")
            ledger.migrate()
            backup.put_into(copy, ledger)
        with ledger.read() as tx:
            assert _everything(tx.connection) == before
        with ledger.write() as tx:  # numbers go on where they were
            grants.give(tx, "a", USD, id="later", at_us=START)
            post(tx, [call(cost=USD)])
            assert balances.balance(tx, "a") == 7 * USD
        assert differences(ledger) == []
        with closing(backup.opened(path, draft)) as copy, pytest.raises(Exception, match="is not empty"):
            backup.put_into(copy, ledger)


def test_no_table_is_forgotten(tmp_path: Path) -> None:
    with closing(Ledger.open(f"sqlite:///{tmp_path / 'ledger.sqlite'}")) as ledger:
        ledger.migrate()
        with ledger.read() as tx:
            made = set(sa.inspect(tx.connection).get_table_names())
    assert made - {"metergate_version"} == {table.name for table in backup.TABLES}


def _some_history(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=10 * USD)
        accounts.create(tx, "b", at_us=START, metadata={"n": "☂"})
        grants.give(tx, "b", USD, id="present", at_us=START, promotional=True)
        post(tx, [call(cost=3 * USD, window="w", twin=("t", "f", START * 2), answer=b"\x00\xff")])
        assert usage.totals(tx, "a")


def _everything(connection: sa.Connection) -> dict[str, list[tuple[object, ...]]]:
    """All rows but those that say which store stands on the ledger."""
    return {
        table.name: [tuple(row) for row in connection.execute(sa.select(table).order_by(*table.primary_key))]
        for table in backup.TABLES
        if table.name != "epochs"
    }
