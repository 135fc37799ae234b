"""A top-up gives its credits once: whoever says that it was paid, how often, and in whatever order."""

import asyncio
import itertools
import tempfile

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metergate.ledger.inbox import DONE
from metergate.provider_port import LOST, DisputeFacts, Money, ProviderEvent
from metergate_sandbox.news import signed
from tests.billing.bench import NANOS, SECRET, Bench, opened

PRICE = 1999 * NANOS // 100


async def test_nineteen_ninety_nine_is_1999_cents_and_the_credits_to_the_nano(bench: Bench) -> None:
    payment = await bench.paid()
    assert (payment.state, payment.minor, bench.balance()) == ("pending", 1999, 0)
    assert bench.sandbox.payments[f"pay_{payment.id}"].amount == Money(1999, "USD")
    paid = await bench.cashier.verify(payment.id)
    assert (paid.state, paid.paid_minor, bench.balance()) == ("succeeded", 1999, 19_990_000_000)
    assert await bench.differences() == []


async def test_webhook_polling_redirect_and_the_operator_give_it_once_together(any_bench: Bench) -> None:
    bench = any_bench
    payment = await bench.paid(id="order-1")
    await bench.deliver(bench.deliveries())
    await asyncio.gather(
        bench.handle(),
        bench.cashier.verify(payment.id),
        bench.rounds.run_once(),
        bench.top_up(id="order-1"),
        bench.cashier.verify(payment.id),
    )
    assert bench.balance() == PRICE
    assert len(await bench.payments()) == 1
    assert await bench.differences() == []


async def test_fifty_deliveries_at_once_give_it_once(any_bench: Bench) -> None:
    bench = any_bench
    await bench.paid()
    bodies = bench.deliveries()
    await asyncio.gather(*(bench.deliver(bodies) for _ in range(50)))
    await asyncio.gather(*(bench.handle() for _ in range(4)))
    assert bench.balance() == PRICE
    events = await bench.events()
    assert [each.state for each in events] == [DONE] * len(bodies)
    assert {each.deliveries for each in events} == {50}
    assert await bench.differences() == []


async def a_full_life(bench: Bench) -> None:
    """Paid, partly given back twice, and a part of it disputed and lost."""
    payment = await bench.paid(1000, "life")
    there = f"pay_{payment.id}"
    bench.sandbox.refund(there, Money(333, "USD"), "ref-1")
    bench.sandbox.refund(there, Money(333, "USD"), "ref-2")
    bench.sandbox.dispute(there, DisputeFacts("dp_1", Money(100, "USD"), "open"))
    bench.sandbox.dispute(there, DisputeFacts("dp_1", Money(100, "USD"), LOST))


def a_told_life(bench: Bench) -> list[bytes]:
    """The same as of a provider that cannot be asked: each event says what was known when it was made."""
    import json

    from metergate.provider_port import PaymentFacts
    from metergate_sandbox.shapes import from_json, to_json

    final = bench.sandbox.payments["pay_life"]
    steps: list[PaymentFacts] = [
        final._replace(state="pending", refunds=(), disputes=()),
        final._replace(refunds=(), disputes=()),
        final._replace(refunds=final.refunds[:1], disputes=()),
        final._replace(refunds=final.refunds[1:], disputes=()),
        final._replace(refunds=(), disputes=(final.disputes[0]._replace(state="open"),)),
        final._replace(refunds=(), disputes=final.disputes),
    ]
    told = []
    for number, facts in enumerate(steps):
        event = from_json(ProviderEvent, json.loads(bench.deliveries()[0]))
        told.append(json.dumps(to_json(event._replace(id=f"told_{number}", payment=facts))).encode())
    return told


async def books_after(order: list[int], *, told: bool) -> object:
    with tempfile.TemporaryDirectory() as folder:
        async with opened(f"sqlite:///{folder}/ledger.sqlite") as bench:
            await a_full_life(bench)
            bodies = a_told_life(bench) if told else bench.deliveries()
            for number in order:
                body = bodies[number % len(bodies)]
                await bench.inbox.receive("sandbox", signed(body, SECRET, bench.clock()), body)
                await bench.handle()
            await bench.deliver(bodies)  # what was not delivered yet comes in the end
            await bench.handle()
            assert await bench.differences() == []
            return await bench.books()


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
@given(order=st.lists(st.integers(0, 5), max_size=9), told=st.booleans())
def test_any_permutation_with_repetition_ends_in_the_same_ledger(order: list[int], told: bool) -> None:
    books = asyncio.run(books_after(order, told=told))
    assert books == asyncio.run(books_after([], told=False))


async def test_a_shuffle_of_what_was_told_takes_back_the_same_to_the_nano() -> None:
    """Thirds of the price do not divide: the sum is right in every order."""
    for order in itertools.islice(itertools.permutations(range(6)), 0, 720, 144):
        books = await books_after(list(order), told=True)
        assert isinstance(books, tuple)
        balance, in_store, *_ = books
        assert balance == in_store == (1000 - 333 - 333 - 100) * NANOS // 100
