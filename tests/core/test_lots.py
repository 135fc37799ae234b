"""Lots: events of the same terms side by side, and not one of them lost or changed."""

from hypothesis import given
from hypothesis import strategies as st

from metergate.core.hold import Outcome, Terms, UsageEvent
from metergate.core.lots import Lots

TERMS = [Terms(account, "k", "free", "v1", "", "GET /", "calls", "USD", ()) for account in "ab"]
OUTCOMES = [Outcome(units, (), units * 10, "measured", (), terms) for terms in TERMS for units in (0, 1, 2)]

events = st.lists(
    st.builds(
        UsageEvent,
        op=st.uuids().map(str),
        request_id=st.sampled_from(["r1", "r2"]),
        at_us=st.integers(1, 9),
        path=st.sampled_from(["/x", "/y"]),
        outcome=st.sampled_from(OUTCOMES),
        twin=st.none() | st.tuples(st.text(), st.text(), st.integers()),
        answer=st.none() | st.binary(),
    ).map(lambda event: event if event.twin else event._replace(answer=None)),
    unique_by=lambda event: event.op,
)


@given(batch=events)
def test_every_event_comes_out_as_it_went_in(batch: list[UsageEvent]) -> None:
    lots = Lots(batch)
    assert len(lots) == len(batch)
    assert sorted(event for lot in lots for event in lot.events()) == sorted(batch)


@given(batch=events)
def test_a_lot_is_of_one_account_and_charged_as_a_whole_or_not_at_all(batch: list[UsageEvent]) -> None:
    for lot in Lots(batch):
        assert {event.terms for event in lot.events()} == {lot.terms}
        assert {event.cost > 0 for event in lot.events()} == {lot.charged}
        assert lot.cost == sum(event.cost for event in lot.events())
        assert lot.alike == (len({event.units for event in lot.events()}) == 1)
        assert sum(count for _, count in lot.counted) == len(lot.ops)


@given(batch=events, known=st.integers(0, 9))
def test_what_is_known_is_left_out_and_the_rest_is_there_once(batch: list[UsageEvent], known: int) -> None:
    ops = {event.op for event in batch[:known]}
    left = Lots([*batch, *batch]).without(ops)
    assert sorted(event for lot in left for event in lot.events()) == sorted(batch[known:])


def test_columns_are_added_as_single_events_are() -> None:
    one, other = OUTCOMES[1], OUTCOMES[5]
    alike, mixed = Lots(), Lots()
    alike.add_alike(["1", "2"], ["1", "2"], [5, 6], ["/", "/"], one)
    mixed.add(["1", "3", "2"], ["1", "3", "2"], [5, 7, 6], ["/", "/", "/"], [one, other, one])
    lot, another = mixed
    assert [lot] == list(alike)
    assert list(another.events()) == [UsageEvent("3", "3", 7, "/", other)]
