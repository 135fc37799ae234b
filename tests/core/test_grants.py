"""Credits are spent in one order, down to nothing, never below."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st
from pytest import mark, raises

from metergate.core.grants import Burn, Grant, burn, order, repay, spendable

instants = st.integers(0, 20)
grants = st.lists(
    st.builds(
        Grant,
        id=st.uuids().map(str),
        remaining=st.integers(0, 100),
        priority=st.integers(1, 3),
        expires_at_us=st.none() | instants,
        promotional=st.booleans(),
        effective_at_us=instants,
    ),
    max_size=8,
    unique_by=lambda grant: grant.id,
)


@mark.parametrize(
    ("first", "second"),
    [
        (Grant("b", 1, priority=1), Grant("a", 1, priority=2, expires_at_us=9)),
        (Grant("b", 1, expires_at_us=8), Grant("a", 1, expires_at_us=9, promotional=True)),
        (Grant("b", 1, expires_at_us=8), Grant("a", 1, promotional=True)),
        (Grant("b", 1, promotional=True), Grant("a", 1)),
        (Grant("b", 1, effective_at_us=1), Grant("a", 1, effective_at_us=2)),
        (Grant("a", 1), Grant("b", 1)),
    ],
    ids=["priority", "sooner expiry", "expiry before none", "promotional", "older", "id"],
)
def test_which_of_two_grants_is_spent_first(first: Grant, second: Grant) -> None:
    assert order([second, first], 5) == order([first, second], 5) == [first, second]


@mark.parametrize(("at_us", "usable"), [(9, False), (10, True), (19, True), (20, False)])
def test_a_grant_is_usable_from_its_start_until_just_before_its_end(at_us: int, usable: bool) -> None:
    grant = Grant("a", 5, effective_at_us=10, expires_at_us=20)
    assert order([grant], at_us) == [grant] * usable
    assert spendable([grant], at_us) == 5 * usable


def test_an_amount_runs_through_the_grants() -> None:
    stock = [Grant("paid", 100), Grant("gift", 30, promotional=True), Grant("gone", 50, expires_at_us=5)]
    assert burn(stock, 40, at_us=5) == Burn((("gift", 30), ("paid", 10)), 0)
    assert burn(stock, 140, at_us=5) == Burn((("gift", 30), ("paid", 100)), 10)
    assert burn(stock, 0, at_us=5) == Burn((), 0)


@given(grants, st.integers(0, 1000), instants)
def test_draws_and_the_uncovered_rest_are_the_amount(stock: list[Grant], amount: int, at_us: int) -> None:
    burnt = burn(stock, amount, at_us)
    remaining = {grant.id: grant.remaining for grant in stock}
    assert sum(taken for _, taken in burnt.draws) + burnt.uncovered == amount
    assert all(0 < taken <= remaining[id] for id, taken in burnt.draws)
    assert burnt.uncovered == max(0, amount - spendable(stock, at_us))
    assert len({id for id, _ in burnt.draws}) == len(burnt.draws)


@given(grants, st.integers(0, 200), st.integers(0, 200), instants)
def test_two_amounts_burn_like_their_sum(stock: list[Grant], a: int, b: int, at_us: int) -> None:
    def after(amounts: list[int]) -> dict[str, int]:
        left = list(stock)
        for amount in amounts:
            taken = dict(burn(left, amount, at_us).draws)
            left = [_reduced(grant, taken.get(grant.id, 0)) for grant in left]
        return {grant.id: grant.remaining for grant in left}

    assert after([a, b]) == after([a + b])


@given(grants, st.randoms(use_true_random=False), instants)
def test_the_order_does_not_depend_on_how_grants_come_in(
    stock: list[Grant], random: Random, at_us: int
) -> None:
    shuffled = random.sample(stock, len(stock))
    assert order(shuffled, at_us) == order(stock, at_us)


def test_nothing_is_burnt_backwards() -> None:
    with raises(ValueError, match="zero or more"):
        burn([], -1, 0)


@mark.parametrize(
    ("debt", "amount", "split"), [(0, 10, (0, 10)), (4, 10, (4, 6)), (10, 10, (10, 0)), (25, 10, (10, 0))]
)
def test_a_new_grant_first_pays_the_debt(debt: int, amount: int, split: tuple[int, int]) -> None:
    assert repay(debt, amount) == split


def _reduced(grant: Grant, taken: int) -> Grant:
    return Grant(
        grant.id,
        grant.remaining - taken,
        grant.priority,
        grant.expires_at_us,
        grant.promotional,
        grant.effective_at_us,
    )
