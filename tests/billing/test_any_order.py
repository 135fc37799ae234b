"""Whatever a payment goes through, in whatever order it is told: the books are what a small model says."""

import asyncio
import json
import tempfile
from typing import NamedTuple

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metergate.billing import Wanted
from metergate.core.money import round_half_up
from metergate.provider_port import (
    PAYMENT,
    PENDING,
    SUCCEEDED,
    DisputeFacts,
    Money,
    PaymentFacts,
    ProviderEvent,
    RefundFacts,
)
from metergate_sandbox.news import signed
from metergate_sandbox.shapes import to_json
from tests.billing.bench import SECRET, Bench, opened

PRICE, CREDITS, SPENT = 1000, 10_000_000_007, 3 * 10**9
REFUND, DISPUTE = ("pending", "succeeded", "failed", "succeeded"), ("open", "lost", "won", "lost")


class Reversal(NamedTuple):
    """A refund or a dispute, and what became of it one after the other."""

    minor: int
    words: tuple[str, ...]

    @property
    def gone(self) -> int:
        return self.minor if self.words[-1] in ("succeeded", "lost") else 0


class Life(NamedTuple):
    paid: int
    refunds: tuple[Reversal, ...]
    disputes: tuple[Reversal, ...]

    @property
    def left(self) -> int:
        """What the account has in the end, less than nothing where it has spent what went back."""
        gone = sum(each.gone for each in (*self.refunds, *self.disputes))
        back = max(0, gone - (self.paid - PRICE))
        return CREDITS - min(CREDITS, round_half_up(CREDITS * back, PRICE)) - SPENT

    def told(self) -> list[PaymentFacts]:
        """What a provider that cannot be asked says of it, piece by piece."""
        part = PaymentFacts("sale_1", "", PENDING, Money(self.paid, "USD"), live=False)
        parts = [part._replace(order="life", state=SUCCEEDED)]
        for number, refund in enumerate(self.refunds):
            for turn, word in enumerate(refund.words, 1):
                back = RefundFacts(f"re_{number}", Money(refund.minor, "USD"), word, turn=turn)
                parts.append(part._replace(refunds=(back,)))
        for number, dispute in enumerate(self.disputes):
            for turn, word in enumerate(dispute.words, 1):
                lost = DisputeFacts(f"dp_{number}", Money(dispute.minor, "USD"), word, turn)
                parts.append(part._replace(id="", order="life", disputes=(lost,)))
        return parts


def reversals(words: tuple[str, ...], most: int) -> st.SearchStrategy[tuple[Reversal, ...]]:
    became = st.integers(1, len(words)).map(lambda count: words[:count])
    return st.lists(st.builds(Reversal, st.integers(1, 700), became), max_size=most).map(tuple)


LIVES = st.builds(Life, st.sampled_from((PRICE, PRICE, 1300)), reversals(REFUND, 3), reversals(DISPUTE, 2))


async def tell(bench: Bench, number: int, facts: PaymentFacts) -> None:
    event = ProviderEvent(f"evt_{number}", "told", PAYMENT, "sale_1", live=False, order="life", payment=facts)
    body = json.dumps(to_json(event)).encode()
    await bench.inbox.receive("sandbox", signed(body, SECRET, bench.clock()), body)
    await bench.handle()


async def lived(life: Life, order: list[int], last: list[int]) -> tuple[int | None, object, list[str]]:
    with tempfile.TemporaryDirectory() as folder:
        async with opened(f"sqlite:///{folder}/ledger.sqlite") as bench:
            await bench.cashier.pay(Wanted("acct", Money(PRICE, "USD"), credits=CREDITS), "life")
            await bench.spend(SPENT)
            parts = life.told()
            for number in (*(each % len(parts) for each in order), *last):
                bench.clock.advance(seconds=1)
                await tell(bench, number, parts[number])
            in_ledger = (await bench.office.credits.show("acct"))["balance"]["nanos"]
            return bench.balance(), in_ledger, await bench.differences()


@settings(max_examples=30, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data(), life=LIVES)
def test_what_is_told_in_parts_in_any_order_and_number_comes_to_the_same(
    data: st.DataObject, life: Life
) -> None:
    parts = len(life.told())
    order = data.draw(st.lists(st.integers(0, 20), max_size=6))
    last = data.draw(st.permutations(range(parts)))
    assert asyncio.run(lived(life, order, last)) == (life.left, life.left, [])
