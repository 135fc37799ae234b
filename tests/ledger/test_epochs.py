"""The epoch of a shared store, what it was not told, and who may begin another."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import pytest

from metergate.core.facts import AccountFacts, KeyFacts
from metergate.errors import ConfigurationError
from metergate.ledger import Ledger, LedgerUnavailable, Tx, accounts, epochs, peppers, untold
from metergate.ledger.epochs import Epoch, OtherEpoch
from metergate.ledger.thread import LedgerThread
from metergate.ports import Adjust, PutAccount, PutKey
from tests.ledger.calls import START, open_account
from tests.waiting import DEADLINE_S

STANDS = "idle_in_transaction_session_timeout"


@pytest.fixture
def postgres(postgres_url: str) -> Iterator[Ledger]:
    """What only a database with several writers can tell."""
    ledger = Ledger.open(postgres_url)
    ledger.migrate()
    yield ledger
    ledger.close()


def test_a_ledger_has_no_epoch_before_the_first(ledger: Ledger) -> None:
    with ledger.write() as tx:
        assert epochs.read(tx) == Epoch("", ())
        assert epochs.stay(tx) == ""
        epochs.begin(tx, "one")
        epochs.stay_in(tx, "one")
        with pytest.raises(OtherEpoch, match="filled anew"):
            epochs.stay_in(tx, "two")


def test_a_sequence_only_grows_and_begins_anew_with_its_epoch(ledger: Ledger) -> None:
    with ledger.write() as tx:
        epochs.begin(tx, "one")
        for seen in ((5, 1), (4, 2), (3, 1)):
            epochs.saw(tx, "one", seen)
        epochs.saw(tx, "another", (99, 99))
        assert epochs.read(tx) == Epoch("one", (5, 2))
        epochs.begin(tx, "two")
        assert epochs.read(tx) == Epoch("two", ())


def test_another_epoch_waits_for_those_who_stay_in_the_last(ledger: Ledger) -> None:
    """What they change is in what the store is filled with; and those who note a sequence wait for nobody."""
    staying, leave = Event(), Event()

    def stay() -> None:
        with ledger.write() as tx:
            epochs.stay(tx)
            staying.set()
            assert leave.wait(DEADLINE_S)
            open_account(tx)

    def begin() -> list[AccountFacts]:
        with ledger.write() as tx:
            epochs.begin(tx, "two")
            return list(accounts.all_facts(tx))

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(stay)
        assert staying.wait(DEADLINE_S)
        second = pool.submit(begin)
        if not ledger.sqlite:
            with ledger.write() as tx:
                epochs.saw(tx, "", (1,))
        leave.set()
        first.result(DEADLINE_S)
        assert second.result(DEADLINE_S) == [AccountFacts("a")]


def test_one_process_leads(postgres: Ledger, postgres_url: str) -> None:
    other = Ledger.open(postgres_url)
    with postgres.leading() as first, other.leading() as second:
        assert (first, second) == (True, False)
    with other.leading() as third:
        assert third
    other.close()


def test_a_shared_store_is_claimed_by_many_and_never_beside_an_embedded_one(
    postgres: Ledger, postgres_url: str
) -> None:
    others = [Ledger.open(postgres_url) for _ in range(2)]
    postgres.claim(shared=True)
    others[0].claim(shared=True)
    with pytest.raises(ConfigurationError, match="already runs an embedded store"):
        others[1].claim()
    postgres.release()
    others[0].release()
    others[1].claim()
    with pytest.raises(ConfigurationError, match="give it this store too"):
        postgres.claim(shared=True)
    for each in others:
        each.close()


def test_what_the_store_was_not_told_is_kept_until_it_was(ledger: Ledger) -> None:
    facts = AccountFacts("a", "free", START, version=3)
    key = KeyFacts("k1", "a", "digest", 2, "test", ("chat",), True, START, 5, "day", 2)
    with ledger.write() as tx:
        first = untold.note(tx, [PutAccount(facts), PutKey(key)], START)
        second = untold.note(tx, [Adjust("grant:1", "a", 2**60 + 1)], START + 5)
        assert [each.seq for each in untold.before(tx, START + 5, 10)] == [first]
        found = untold.before(tx, START + 6, 10)
        assert [change for each in found for change in each.changes] == [
            PutAccount(facts),
            PutKey(key),
            Adjust("grant:1", "a", 2**60 + 1),
        ]
        untold.forget(tx, [first])
        assert [each.seq for each in untold.before(tx, START + 6, 10)] == [second]
        untold.forget_all(tx)
        assert untold.before(tx, START + 6, 10) == []


def test_another_pepper_than_the_first_is_refused(ledger: Ledger) -> None:
    with ledger.write() as tx:
        peppers.prove(tx, {1: b"first"})
        peppers.prove(tx, {1: b"first", 2: b"second"})
        with pytest.raises(ConfigurationError, match="Set METERGATE_PEPPER"):
            peppers.prove(tx, {1: b"second"})


async def test_writers_that_wait_for_each_other_begin_again(postgres: Ledger, postgres_url: str) -> None:
    """The database ends one of the two, and it is repeated without anybody noticing.

    Sometimes both: who begins again may be back at its row before the other, which waits for it, wakes up.
    """
    with postgres.write() as tx:
        open_account(tx, "a")
        open_account(tx, "b")
    threads = [LedgerThread(Ledger.open(postgres_url)) for _ in range(2)]
    met = [Event(), Event()]

    def both(first: str, second: str, here: Event, there: Event) -> int:
        tries = 0

        def work(tx: Tx) -> None:
            nonlocal tries
            tries += 1
            accounts.suspend(tx, first)
            here.set()
            assert there.wait(DEADLINE_S)
            accounts.suspend(tx, second)

        threads[first == "b"]._write(work)
        return tries

    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(both, "a", "b", met[0], met[1])
        two = pool.submit(both, "b", "a", met[1], met[0])
        assert one.result(DEADLINE_S) + two.result(DEADLINE_S) > 2
    with postgres.read() as tx:
        assert all(each.suspended for each in accounts.all_facts(tx))
    for thread in threads:
        await thread.close()


def test_a_writer_that_stands_still_holds_up_the_others_for_a_while_only(postgres: Ledger) -> None:
    with postgres.write() as tx:
        open_account(tx)
        waits = [tx.sql(f"SHOW {name}").scalar_one() for name in (STANDS, "lock_timeout")]
        assert waits == ["15s", "15s"]

    def suspend_soon() -> None:
        with postgres.write() as tx:
            tx.sql("SET LOCAL lock_timeout TO '50ms'")
            accounts.suspend(tx, "a")

    with postgres.write() as tx:
        accounts.suspend(tx, "a")
        with pytest.raises(LedgerUnavailable, match="lock timeout"):
            suspend_soon()
