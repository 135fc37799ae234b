"""Commands about the policy file and the machine."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from metergate.config import locate
from metergate.ledger import Ledger
from metergate.store.journals import Journals
from tests.cli.conftest import Shell


@pytest.mark.parametrize("name", locate.templates())
def test_init_writes_a_policy_that_works(shell: Shell, name: str) -> None:
    """With its schema beside it, for editors."""
    shell.ok(f"init new/mine.yaml --template {name}")
    assert Path("new/mine.yaml").read_bytes() == locate.template(name).read_bytes()
    assert json.loads(Path("new/policy-v1.schema.json").read_text())
    assert "fine" in shell.ok("check new/mine.yaml")


def test_init_never_overwrites(shell: Shell) -> None:
    """What is there stays as it is."""
    before = (shell.folder / "policy.yaml").read_text()
    assert "already" in shell.no("init policy.yaml")
    assert (shell.folder / "policy.yaml").read_text() == before
    assert "tiers" in shell.no("init other.yaml --template nonsense")


def test_check_says_everything_that_is_wrong_at_once(shell: Shell) -> None:
    """A line a problem, as editors and CIs read it."""
    Path("bad.yaml").write_text("metergate: 1\nmeter: {}\nprices:\n  a: {price: 0.5}\n")
    done = shell.run("check bad.yaml")
    assert done.exit_code == 1
    lines = done.stdout.splitlines()
    assert lines[0].startswith("bad.yaml:2:1: ")
    assert any(line.startswith("bad.yaml:4:") for line in lines)
    told = json.loads(shell.run("check bad.yaml --json").stdout)
    assert not told["ok"]
    assert told["problems"][0]["line"] == 2
    assert "no such file" in shell.run("check missing.yaml").stdout


def test_doctor_has_a_sentence_for_everything(shell: Shell) -> None:
    """It finds nothing wrong with a healthy folder, and names what is wrong with another."""
    shell.ok("accounts create acme")
    told = shell.json("doctor")
    assert told["ok"]
    assert any("SQLite" in each["sentence"] for each in told["findings"])

    (shell.folder / "metergate-data" / "pepper").chmod(0o644)
    sick = shell.run("doctor", METERGATE_POLICI="x")
    assert sick.exit_code == 1
    problems = [line for line in sick.stdout.splitlines() if line.startswith("no")]
    assert any("METERGATE_POLICY" in line for line in problems)
    assert any("chmod 600" in line for line in problems)


def test_a_lost_pepper_is_said_before_anybody_hears_that_a_key_is_unknown(shell: Shell) -> None:
    """By the start and by doctor; with the pepper back in its place all is well again."""
    shell.ok("accounts create acme")
    shell.ok("keys create --account acme")
    pepper = shell.folder / "metergate-data" / "pepper"
    kept = pepper.rename(shell.folder / "kept")
    sentence = shell.no("accounts list")
    assert f"Restore {pepper} from a backup or set METERGATE_PEPPER" in sentence
    sick = shell.run("doctor")
    assert sick.exit_code == 1
    assert "set METERGATE_PEPPER" in sick.stdout
    assert not pepper.exists()
    kept.rename(pepper)
    shell.ok("accounts list")
    shell.ok("doctor")


def test_doctor_wants_the_folder_to_be_its_owners_alone(shell: Shell) -> None:
    """Whoever may list it can read what is made there with a looser mode."""
    shell.ok("accounts create acme")
    data = shell.folder / "metergate-data"
    data.chmod(0o755)
    sick = shell.run("doctor")
    assert sick.exit_code == 1
    assert f"run chmod 700 {data}" in sick.stdout


def test_doctor_changes_nothing(shell: Shell) -> None:
    """Looking does not make the folder."""
    shell.ok("doctor")
    assert not (shell.folder / "metergate-data").exists()


def test_doctor_asks_a_store_that_processes_share(shell: Shell, valkey_url: str, postgres_url: str) -> None:
    """With what its server says of itself; and a ledger that they cannot share is said at once."""
    own = dict(shell.environ)
    shell.environ = own | {"METERGATE_STORE": valkey_url, "METERGATE_LEDGER": postgres_url}
    shell.ok("migrate")
    assert "ok    The store (redis) answers." in shell.ok("doctor")
    shell.environ = own | {"METERGATE_STORE": f"{valkey_url}-nowhere"}
    sick = shell.run("doctor")
    assert sick.exit_code == 1
    assert "-nowhere cannot be reached" in sick.stdout
    assert "needs a ledger that they can share" in sick.stdout


def test_doctor_looks_at_clocks_secrets_disks_and_what_waits(
    shell: Shell, valkey_url: str, postgres_url: str
) -> None:
    shell.environ = dict(shell.environ) | {"METERGATE_STORE": valkey_url, "METERGATE_LEDGER": postgres_url}
    shell.ok("migrate")
    told = shell.ok("doctor")
    assert "The clock here and that of the store are 0." in told
    assert "The clock here and that of the ledger's database are 0." in told
    assert "MB are free where the data folder is." in told
    assert "The chain over the ledger has 0 links" in told
    assert "No service runs in" in told
    sick = shell.run("doctor", METERGATE_PEPPER="short", METERGATE_ADMIN_TOKEN="a" * 40)
    assert sick.exit_code == 1
    assert "METERGATE_PEPPER can be guessed" in sick.stdout
    assert "METERGATE_ADMIN_TOKEN can be guessed" in sick.stdout
    assert "short" not in sick.stdout


def test_doctor_says_who_has_left_a_journal_behind_and_where_they_are_kept(
    shell: Shell, valkey_url: str, postgres_url: str
) -> None:
    place = shell.folder / "elsewhere"
    shell.environ = dict(shell.environ) | {
        "METERGATE_STORE": valkey_url,
        "METERGATE_LEDGER": postgres_url,
        "METERGATE_JOURNAL": str(place),
    }
    shell.ok("migrate")
    told = shell.ok("doctor")
    assert f"No process has left its journal behind in {place}." in told
    assert "MB are free where the journals are." in told
    mine = Journals(place / "space").begin()
    assert "No process has left" in shell.ok("doctor")
    mine.leave()
    sick = shell.run("doctor")
    assert sick.exit_code == 1
    assert (
        f"no    1 processes are gone and have left their journals in {place}: start a worker" in sick.stdout
    )
    assert "mind  No journals are kept" in shell.run("doctor", METERGATE_JOURNAL="off").stdout


def test_doctor_says_by_profile_what_the_start_would_say(shell: Shell, postgres_url: str) -> None:
    shell.environ = dict(shell.environ) | {"METERGATE_LEDGER": postgres_url}
    shell.ok("migrate")
    with closing(Ledger.open(postgres_url)) as ledger, ledger.write() as tx:
        name = tx.sql("SELECT current_database()").scalar_one()
        tx.sql(f"ALTER DATABASE {name} SET synchronous_commit TO off")
    assert "mind  PostgreSQL runs with synchronous_commit off" in shell.ok("doctor")
    policy = shell.folder / "policy.yaml"
    policy.write_text(policy.read_text() + "profile: strict\n")
    sick = shell.run("doctor")
    assert sick.exit_code == 1
    assert "no    PostgreSQL runs with synchronous_commit off" in sick.stdout


def test_migrate_makes_the_tables_once(shell: Shell) -> None:
    """Doing it again is harmless."""
    first = shell.json("migrate")
    assert first["before"] == ""
    again = shell.json("migrate")
    assert again["before"] == again["after"] == first["after"]
    with sqlite3.connect(shell.folder / "metergate-data" / "ledger.sqlite") as database:
        assert database.execute("SELECT count(*) FROM accounts").fetchone() == (0,)


def test_version_names_what_is_at_work(shell: Shell) -> None:
    """For people who report a problem."""
    assert shell.ok("version") == shell.ok("--version")
    assert set(shell.json("version")) == {"metergate", "python", "sqlite"}
