"""Several flushers at once: no deadlock, nothing lost, nothing twice."""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from metergate.core.hold import UsageEvent
from metergate.ledger import Ledger, grants
from metergate.ledger.balances import all_balances, drop_snapshots, windows
from metergate.ledger.posting import post
from tests.ledger.calls import START, USD, call, differences, open_account

ACCOUNTS = [f"a{n}" for n in range(8)]
DAY = 86400 * 10**6


def post_all(ledger: Ledger, batches: Sequence[Sequence[UsageEvent]]) -> int:
    new = 0
    for batch in batches:
        with ledger.write() as tx:
            new += post(tx, batch).new
    return new


def test_flushers_that_share_accounts_and_batches_post_each_call_once(ledger: Ledger) -> None:
    with ledger.write() as tx:
        for account in ACCOUNTS:
            open_account(tx, account, credit=USD)
    calls = [call(ACCOUNTS[n % 8], cost=1, window="w", op=f"op{n}") for n in range(2400)]
    batches = [calls[n : n + 60] for n in range(0, 2400, 60)]
    # Every batch comes twice, in another order and with its calls the other way round.
    with ThreadPoolExecutor(4) as pool:
        work = [
            batches[0::2],
            batches[1::2],
            [b[::-1] for b in batches[::-2]],
            [b[::-1] for b in batches[-2::-2]],
        ]
        posted = list(pool.map(lambda share: post_all(ledger, share), work))
    assert sum(posted) == 2400
    with ledger.read() as tx:
        assert set(all_balances(tx)) == {(account, USD - 300) for account in ACCOUNTS}
        assert {value for _, value, _ in windows(tx, START)} == {300}
    assert differences(ledger) == []


def test_one_grant_asked_for_at_once_is_given_once(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx)

    def give(_: int) -> bool:
        with ledger.write() as tx:
            return grants.give(tx, "a", 5, id="g", at_us=START, expires_at_us=START + DAY).repeated

    def expire(_: int) -> int:
        with ledger.write() as tx:
            return len(grants.expire_due(tx, START + DAY))

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(give, range(4))) == [False, True, True, True]
        assert sorted(pool.map(expire, range(4))) == [0, 0, 0, 1]
    assert differences(ledger) == []


def test_snapshots_may_be_dropped_while_others_post(ledger: Ledger) -> None:
    with ledger.write() as tx:
        open_account(tx, credit=USD)
    batches = [[call(cost=1, window="w") for _ in range(10)] for _ in range(30)]

    def drop(_: object) -> int:
        for _ in range(10):
            with ledger.write() as tx:
                drop_snapshots(tx)
        return 0

    with ThreadPoolExecutor(3) as pool:
        others = [pool.submit(post_all, ledger, share) for share in (batches[:15], batches[15:])]
        pool.submit(drop, None).result()
        assert sum(other.result() for other in others) == 300
    with ledger.read() as tx:
        assert list(all_balances(tx)) == [("a", USD - 300)]
        assert [value for _, value, _ in windows(tx, START)] == [300]
    assert differences(ledger) == []
