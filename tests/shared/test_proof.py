"""`verify` over a store that processes share: the counters have to say what the ledger says."""

from metergate.admin import Office
from metergate.bootstrap import open_office
from metergate.ports import Adjust
from tests.shared.app import POLICY
from tests.shared.house import Place


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
