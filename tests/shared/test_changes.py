"""What an operator changes reaches every process, also when whoever changed it dies, and never twice."""

from collections.abc import AsyncIterator, Sequence

import pytest

from metergate.engine import Engine
from metergate.errors import StoreUnavailable
from metergate.foundation import now_us
from metergate.ledger import accounts, grants, keys, untold
from metergate.ledger.database import Tx
from metergate.ledger.telling import NOT_TOLD, Committed
from metergate.ports import Adjust, AskBudget, Change, PutAccount, PutKey, answered
from tests.faults.test_postgres_away import away
from tests.shared.app import POLICY
from tests.shared.house import Place, Process, desk, valkey_says
from tests.shared.test_outages import frozen
from tests.valkey import Server as Valkey
from tests.waiting import until

USD = 10**9


class Hasty:
    """Somebody who changes the ledger, and may be gone before the store has heard. No worker runs here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._teller = engine.foundation.worker.flusher.teller
        self.tell = self._teller.tell

    async def revokes(self, kid: str) -> Committed[None]:
        def work(tx: Tx) -> tuple[None, Sequence[Change]]:
            return None, [PutKey(keys.revoke(tx, kid, now_us()).facts)]

        return await self._teller.commit(work)

    async def suspends(self, account: str, suspended: bool) -> Committed[None]:
        def work(tx: Tx) -> tuple[None, Sequence[Change]]:
            accounts.suspend(tx, account, suspended)
            return None, [PutAccount(accounts.known(tx, account).facts)]

        return await self._teller.commit(work)

    async def grants(self, account: str, id: str) -> Committed[None]:
        def work(tx: Tx) -> tuple[None, Sequence[Change]]:
            given = grants.give(tx, account, USD, id=id, at_us=now_us())
            return None, [Adjust(f"grant:{id}", account, given.delta)]

        return await self._teller.commit(work)

    async def nothing_is_untold(self) -> bool:
        return not await self._teller.ledger.read(lambda tx: untold.before(tx, now_us() + 1, 1))

    async def spendable(self, account: str) -> int:
        """As the store has it, as soon as it can be asked."""
        told: list[int] = []

        async def asked() -> bool:
            try:
                answers = await answered(
                    self._engine.foundation.store.state((AskBudget(f"credits:{account}"),))
                )
            except StoreUnavailable:
                return False
            told.extend(each for each in answers if isinstance(each, int))
            return bool(told)

        await until(asked)
        return told[0]


@pytest.fixture
async def hasty(place: Place) -> AsyncIterator[Hasty]:
    engine = Engine(POLICY, place.settings(worker=False))
    await engine.start()
    yield Hasty(engine)
    await engine.stop()


async def test_a_revocation_whose_author_died_is_told_by_a_worker(
    three: list[Process], place: Place, hasty: Hasty
) -> None:
    async with desk(place) as office:
        key = await office.customer("died")
        await hasty.revokes(key[8:18])
        for server in three:
            async with server.client(key) as client:

                async def refused() -> bool:
                    return (await client.get("/ones/died")).status_code == 401  # awaited here

                await until(refused)


async def test_a_revocation_that_the_store_cannot_hear_is_an_error_and_is_made_good(
    three: list[Process], place: Place, valkey: Valkey
) -> None:
    """The operator is told what is done and what is not; asking again tells when it is."""
    async with desk(place) as office:
        key = await office.customer("deaf")
        with frozen(valkey), pytest.raises(StoreUnavailable) as told:
            await office.once("keys.revoke", kid=key[8:18])
        assert str(told.value) == NOT_TOLD
        assert (await office.ask("keys.revoke", kid=key[8:18]))["state"] == "revoked"
        for server in three:
            async with server.client(key) as client:
                assert (await client.get("/ones/deaf")).status_code == 401


async def test_a_grant_whose_author_died_is_told_once(
    three: list[Process], place: Place, hasty: Hasty
) -> None:
    """Whether the store had heard of it or not; and whoever comes to life again tells it nothing new."""
    async with desk(place) as office:
        await office.customer("given", "1")
        unheard = await hasty.grants("given", "unheard")

        async def told() -> bool:
            return await hasty.spendable("given") == 2 * USD

        await until(told)
        await hasty.tell(unheard)
        heard = await hasty.grants("given", "heard")
        await hasty.tell(heard._replace(note=0))  # it dies before it can note that it was heard
        assert await hasty.spendable("given") == 3 * USD
        await until(hasty.nothing_is_untold)
        assert await hasty.spendable("given") == 3 * USD
        assert await office.balance("given") == "3.00"


async def test_a_change_that_both_have_is_no_error_when_that_cannot_be_noted(
    three: list[Process], place: Place, hasty: Hasty
) -> None:
    """The ledger goes away between the two: the change is told once more later, which changes nothing."""
    async with desk(place) as office:
        await office.customer("noted", "1")
    granted = await hasty.grants("noted", "noted")
    with away(place.ledger):
        await hasty.tell(granted)
        assert await hasty.spendable("noted") == 2 * USD


async def test_what_comes_late_does_not_undo_what_came_after_it(
    three: list[Process], place: Place, hasty: Hasty
) -> None:
    async with desk(place) as office:
        key = await office.customer("late")
        suspended = await hasty.suspends("late", True)
        resumed = await hasty.suspends("late", False)
        await hasty.tell(resumed)
        await hasty.tell(suspended)
        async with three[0].client(key) as client:
            assert (await client.get("/ones/late")).status_code == 200


async def test_a_grant_of_before_the_loss_is_not_given_again_after_it(
    three: list[Process], place: Place, valkey: Valkey, hasty: Hasty
) -> None:
    """The store was filled with it; who is about to tell of it hears that it is too late for that."""
    async with desk(place) as office:
        await office.customer("twice", "1")
        committed = await hasty.grants("twice", "before")
        assert valkey_says(valkey, "FLUSHALL") == b"+OK"

        async def emptied() -> bool:
            return await hasty.spendable("twice") == 2 * USD

        await until(emptied)
        with pytest.raises(StoreUnavailable):
            await hasty.tell(committed)
        repeated = await office.ask("credits.grant", account="twice", amount="1", id="before")
        assert repeated["id"] == "before"
        assert await hasty.spendable("twice") == 2 * USD
        assert await office.balance("twice") == "2.00"
