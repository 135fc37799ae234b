"""A ledger may be much larger than the memory of who proves it."""

import tracemalloc

import pytest

from metergate.ledger import Ledger
from metergate.ledger.posting import post
from metergate.ledger.verify import verify
from tests.ledger.calls import USD, call, open_account
from tests.ledger.test_chain import chained

ROWS = 40_000


@pytest.mark.parametrize("url", ["sqlite"], indirect=True)
def test_the_proof_of_many_rows_takes_a_few_megabytes(ledger: Ledger) -> None:
    with ledger.write() as tx:
        for n in range(500):
            open_account(tx, f"a{n}", credit=USD)
    for start in range(0, ROWS, 10_000):
        with ledger.write() as tx:
            post(tx, [call(f"a{n % 500}", cost=1000, window="w") for n in range(start, start + 10_000)])
    chained(ledger)
    tracemalloc.start()
    try:
        with ledger.read() as tx:
            assert list(verify(tx)) == []
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # The text of the largest link, and little else; every row as an object would take forty.
    assert peak < 8 * 10**6, peak
