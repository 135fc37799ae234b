"""The edge: migrations, guards, errors, the claim, organisations."""

import hashlib
import stat
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy.exc import IntegrityError

from metergate.errors import ConfigurationError
from metergate.ledger import Ledger, LedgerUnavailable, Tx, audit, customers, migrations
from metergate.ledger.backup import TABLES
from metergate.ledger.balances import all_balances, windows
from metergate.ledger.migrations import HEAD, VERSION_TABLE
from metergate.ledger.posting import post
from metergate.ledger.tables import accounts, organisations
from tests.ledger.calls import START, USD, call, differences, open_account

GROWING = ("transactions", "entries", "usage", "audit")
PUBLISHED = "0005"
"""Ledgers of users stand at this revision: nothing up to it changes any more."""


def revisions() -> Config:
    config = Config()
    config.set_main_option("script_location", "metergate.ledger:migrations")
    return config


def test_an_empty_database_says_how_to_migrate_it(url: str) -> None:
    ledger = Ledger.open(url)
    assert ledger.revision() == ""
    with pytest.raises(ConfigurationError, match="run `metergate migrate`"):
        ledger.check()
    ledger.migrate()
    ledger.migrate()
    assert ledger.revision() == HEAD
    ledger.check()
    ledger.close()


def test_the_migrations_make_the_tables_that_the_code_knows(ledger: Ledger) -> None:
    with ledger.read() as tx:
        context = MigrationContext.configure(tx.connection, opts={"version_table": VERSION_TABLE})
        assert compare_metadata(context, TABLES[0].metadata) == []


def test_every_row_belongs_to_an_organisation_and_every_unique_key_begins_with_it() -> None:
    for table in TABLES:
        if table.name == "organisations":
            continue
        key = [column.name for column in table.primary_key.columns]
        assert key == ["seq"] or key[0] == "org", table.name
        assert "org" in table.c and not table.c.org.nullable, table.name
        unique = [each.columns for each in table.constraints if isinstance(each, sa.UniqueConstraint)]
        found = [*unique, *(each.columns for each in table.indexes if each.unique)]
        assert all(next(iter(columns)).name == "org" for columns in found), table.name


def test_head_is_the_newest_revision() -> None:
    assert ScriptDirectory.from_config(revisions()).get_heads() == [HEAD]


def test_what_was_published_of_the_revisions_does_not_change() -> None:
    """A ledger that has run one never runs it again: write what is to be different as a new revision."""
    made = sorted((Path(migrations.__file__).parent / "versions").glob("0*.py"))
    published = [path.read_bytes() for path in made if path.name[:4] <= PUBLISHED]
    digest = hashlib.sha256(b"".join(published)).hexdigest()
    assert digest == "2ff9c0589689a50a80f7d60ac8d583ecea920ba8762a51017c56fb0b5d513396"


def test_a_ledger_as_it_was_published_is_brought_to_the_newest_revision(url: str) -> None:
    ledger = Ledger.open(url)
    with ledger.write() as tx:
        config = revisions()
        config.attributes["connection"] = tx.connection
        command.upgrade(config, PUBLISHED)
        tx.execute(organisations.insert().values(id=1, name="default", snapshots=True))
        words = dict.fromkeys(("plan", "name", "email", "metadata"), "")
        numbers = {"plan_since_us": 0, "created_at_us": START, "suspended": False}
        tx.execute(accounts.insert().values(org=1, id="a", currency="USD", **words, **numbers))
        known = "(org, account, provider, external_id, email, name, since_us)"
        tx.sql(f"INSERT INTO customers {known} VALUES (1, 'a', 'p', 'cus_1', 'a@b.example', 'A', 1)")
    ledger.migrate()
    with ledger.write() as tx:
        customers.put(tx, "a", "p", "cus_2", START)
        found = customers.current(tx, "a", "p")
        assert found is not None and found.external_id == "cus_2"
        tx.sql(f"UPDATE {VERSION_TABLE} SET version_num = '0008'")
    ledger.migrate()  # what it would make is there already, as where the tables were made anew that day
    ledger.check()
    ledger.close()


def test_a_ledger_of_a_newer_metergate_is_left_alone(ledger: Ledger) -> None:
    with ledger.write() as tx:
        tx.sql(f"UPDATE {VERSION_TABLE} SET version_num = '9999'")
    with pytest.raises(ConfigurationError, match="upgrade metergate"):
        ledger.check()
    with pytest.raises(ConfigurationError, match="upgrade metergate"):
        ledger.migrate()


@pytest.mark.parametrize("table", GROWING)
@pytest.mark.parametrize("change", ["UPDATE {} SET org = 1", "DELETE FROM {}"])
def test_growing_tables_refuse_every_change(ledger: Ledger, table: str, change: str) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=USD)
        post(tx, [call(cost=1)])
        audit.note(tx, START, "operator", "test", "a")
    with pytest.raises(IntegrityError, match=f"{table} is append-only"), ledger.write() as tx:
        tx.sql(change.format(table))


def test_growing_tables_cannot_be_emptied_by_other_means(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=USD)
    replace = "INSERT OR REPLACE INTO transactions SELECT * FROM transactions"
    with pytest.raises(IntegrityError, match="append-only"), ledger.write() as tx:
        tx.sql(replace if tx.sqlite else "TRUNCATE transactions")


def test_a_sqlite_column_keeps_its_type(tmp_path: Path) -> None:
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    ledger.migrate()
    with pytest.raises(IntegrityError, match="cannot store"), ledger.write() as tx:
        tx.sql("INSERT INTO window_totals VALUES (1, 'w', 1.5, 0)")
    ledger.close()


def test_a_reader_cannot_write(ledger: Ledger) -> None:
    with pytest.raises(LedgerUnavailable), ledger.read() as tx:
        tx.sql("DELETE FROM window_totals")


def test_what_fails_half_way_leaves_nothing(ledger: Ledger) -> None:
    def give_and_fail(tx: Tx) -> None:
        open_account(tx, credit=USD)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), ledger.write() as tx:
        give_and_fail(tx)
    with ledger.read() as tx:
        assert list(all_balances(tx)) == []


def test_organisations_do_not_see_each_other(url: str) -> None:
    ledgers = [Ledger.open(url, org=org) for org in (1, 2)]
    for ledger in ledgers:
        ledger.migrate()
        with ledger.write() as tx:
            open_account(tx, credit=USD)
            post(tx, [call(cost=ledger.org, op="the same", window="w", units=ledger.org)])
    for ledger in ledgers:
        with ledger.read() as tx:
            assert list(all_balances(tx)) == [("a", USD - ledger.org)]
            assert [value for _, value, _ in windows(tx, START)] == [ledger.org]
        assert differences(ledger) == []
        ledger.close()


def test_one_embedded_store_stands_on_a_ledger(ledger: Ledger, url: str) -> None:
    other = Ledger.open(url)
    ledger.claim()
    ledger.claim()
    with pytest.raises(ConfigurationError, match=r"run a single worker, or .* redis://"):
        other.claim()
    if ledger.path:
        assert stat.S_IMODE(Path(f"{ledger.path}.lock").stat().st_mode) == 0o600
    ledger.release()
    other.claim()
    other.close()
    ledger.claim()


def test_health_says_what_answers_and_how_fast(ledger: Ledger) -> None:
    health = ledger.health()
    assert health.ok and health.name in ("sqlite", "postgresql")
    assert health.version[0].isdigit() and health.latency_us > 0


def test_a_database_that_is_away_is_one_clear_error(tmp_path: Path) -> None:
    ledger = Ledger.open(f"postgresql://nobody:secret@/none?host={tmp_path}")
    with pytest.raises(LedgerUnavailable, match="cannot be used") as refused, ledger.read():
        pass
    assert "secret" not in str(refused.value)
    health = ledger.health()
    assert not health.ok and "cannot be used" in health.detail
    with pytest.raises(LedgerUnavailable):
        ledger.claim()
    ledger.close()


def test_a_file_that_is_no_database_is_one_clear_error(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_text("not a database, but long enough to look like one " * 100)
    ledger = Ledger.open(f"sqlite:///{tmp_path / 'ledger.db'}")
    with pytest.raises(LedgerUnavailable, match="not a database"):
        ledger.migrate()
    ledger.close()


def test_a_ledger_file_is_for_its_owner_only(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "ledger.db"
    ledger = Ledger.open(f"sqlite:///{path}")
    ledger.migrate()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    ledger.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://host/db", "nonsense", ""])
def test_only_two_kinds_of_databases_will_do(url: str) -> None:
    with pytest.raises(ConfigurationError, match="Write the ledger as"):
        Ledger.open(url)


@pytest.mark.parametrize(
    ("durable", "sqlite", "postgres"), [(True, 2, "on"), (False, 1, "off")], ids=["durable", "fast"]
)
def test_durability_is_the_default_and_can_be_traded(
    url: str, durable: bool, sqlite: int, postgres: str
) -> None:
    ledger = Ledger.open(url, durable=durable)
    with ledger.write() as tx:
        ask = "PRAGMA synchronous" if tx.sqlite else "SHOW synchronous_commit"
        assert tx.sql(ask).scalar_one() == (sqlite if tx.sqlite else postgres)
    ledger.close()
