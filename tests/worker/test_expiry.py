"""A grant that ends leaves the spendable sum at its instant; what was used before burned it first."""

from pathlib import Path

from metergate.ledger import balances
from metergate.worker.expiry import Expiry
from metergate.worker.flusher import Flusher
from tests.worker.house import House, a_house

HOUR_US = 3600 * 10**6


def expiry_of(house: House) -> Expiry:
    flusher = Flusher(house.store, house.ledger, house.clock)
    return Expiry(flusher.teller, flusher, house.clock)


async def test_only_what_is_left_of_the_grant_goes(tmp_path: Path) -> None:
    async with a_house(tmp_path, expires_in_us=HOUR_US) as house:
        expiry = expiry_of(house)
        assert await expiry.run_once() == 0
        house.hold("a")
        house.settle("a")
        house.clock.advance(us=HOUR_US)
        assert await expiry.run_once() == 1
        assert house.balance() == 0
        assert await house.ledger.read(lambda tx: balances.balance(tx, "acct")) == 0
        assert await expiry.run_once() == 0


async def test_the_ledger_is_asked_again_only_when_a_grant_ends_or_one_was_given(tmp_path: Path) -> None:
    async with a_house(tmp_path, expires_in_us=2 * HOUR_US) as house:
        expiry = expiry_of(house)
        await expiry.run_once()
        await house.grant(70, id="short", expires_at_us=house.clock() + HOUR_US)
        house.clock.advance(us=HOUR_US)
        assert await expiry.run_once() == 0
        expiry.look_again()
        assert await expiry.run_once() == 1
