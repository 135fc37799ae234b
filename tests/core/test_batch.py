"""A batch: events column by column, and not one of them lost or changed."""

from hypothesis import given
from hypothesis import strategies as st

from metergate.core.batch import Batch
from metergate.core.hold import Outcome, Terms, UsageEvent

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


@given(came=events)
def test_every_event_comes_out_as_it_went_in(came: list[UsageEvent]) -> None:
    batch = Batch(came)
    assert (len(batch), list(batch)) == (len(came), came)
    assert batch.alike == (len({event.outcome for event in came}) <= 1)


@given(came=events)
def test_a_lot_is_of_one_account_and_charged_as_a_whole_or_not_at_all(came: list[UsageEvent]) -> None:
    found = {event.op: event for event in came}
    ops = []
    for lot in Batch(came).lots():
        its = [found[op] for op in lot.ops]
        assert {event.terms for event in its} == {lot.terms}
        assert {event.cost > 0 for event in its} == {lot.charged}
        assert [(event.at_us, event.outcome) for event in its] == list(
            zip(lot.instants, lot.outcomes, strict=True)
        )
        assert lot.cost == sum(event.cost for event in its)
        assert sum(count for _, count in lot.counted) == len(its)
        ops += lot.ops
    assert sorted(ops) == sorted(found)


@given(came=events, known=st.integers(0, 9))
def test_what_is_known_is_left_out_and_the_rest_is_there_once(came: list[UsageEvent], known: int) -> None:
    ops = {event.op for event in came[:known]}
    assert list(Batch([*came, *came]).without(ops)) == came[known:]


def test_columns_are_added_as_single_events_are() -> None:
    one, other = OUTCOMES[1], OUTCOMES[5]
    batch = Batch()
    batch.add(["1", "2"], ["1", "2"], [5, 6], ["/", "/"], [one, other])
    assert list(batch) == [UsageEvent("1", "1", 5, "/", one), UsageEvent("2", "2", 6, "/", other)]
