"""Windows tile time in every zone, and never drift from their anchor."""

from datetime import UTC, datetime
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metergate.core.periods import PERIODS, TIME_MAX, Every, Window, duration_us, parse_time, rfc3339, window

# Clocks that change at midnight (Havana, Sao Paulo, Beirut), a minute past it (St. John's until 2011), by
# half an hour (Lord Howe), under a negative summer time (Dublin); a day left out (Apia); odd offsets.
ZONES = [
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Havana",
    "America/Sao_Paulo",
    "America/St_Johns",
    "Asia/Beirut",
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Europe/Dublin",
    "Pacific/Apia",
    "Pacific/Chatham",
]
HOUR_US = 3600 * 10**6
DAY_US = 24 * HOUR_US
YEAR_2050 = 80 * 365 * DAY_US

zones = st.sampled_from(ZONES)
periods: st.SearchStrategy[Every] = st.sampled_from(PERIODS)
instants = st.integers(-DAY_US, YEAR_2050)
anchors = st.none() | instants


def local(us: int, zone: str) -> datetime:
    return datetime.fromtimestamp(us // 10**6, UTC).astimezone(ZoneInfo(zone))


def span(found: Window) -> tuple[str, str, str]:
    return found.id, rfc3339(found.start_us), rfc3339(found.end_us)


@settings(deadline=None)
@given(periods, instants, zones, anchors)
def test_windows_tile_time_without_gap_or_overlap(
    every: Every, now_us: int, zone: str, anchor_us: int | None
) -> None:
    found = window(every, now_us, zone, anchor_us)
    assert found.start_us <= now_us < found.end_us
    for inside in (found.start_us, (found.start_us + found.end_us) // 2, found.end_us - 1):
        assert window(every, inside, zone, anchor_us) == found
    after = window(every, found.end_us, zone, anchor_us)
    before = window(every, found.start_us - 1, zone, anchor_us)
    assert (before.end_us, after.start_us) == (found.start_us, found.end_us)
    assert len({before.id, found.id, after.id}) == 3


@settings(deadline=None)
@given(st.sampled_from(PERIODS[3:]), instants, zones)
def test_windows_are_found_around_every_change_of_the_clocks(every: Every, now_us: int, zone: str) -> None:
    """Searches for a change of offset after the instant and looks at each quarter of an hour around it."""
    day = now_us
    for _ in range(366):
        if local(day, zone).utcoffset() != local(day + DAY_US, zone).utcoffset():
            break
        day += DAY_US
    found = [window(every, day + quarter * HOUR_US // 4, zone) for quarter in range(-8, 25 * 4 + 8)]
    for earlier, later in pairwise(found):
        assert later == earlier or later.start_us == earlier.end_us


@pytest.mark.parametrize(
    ("every", "zone", "expected"),
    [
        ("second", "UTC", ("2026-11-21T09:30:15", "2026-11-21T09:30:15Z", "2026-11-21T09:30:16Z")),
        ("minute", "UTC", ("2026-11-21T09:30", "2026-11-21T09:30:00Z", "2026-11-21T09:31:00Z")),
        ("hour", "Asia/Kathmandu", ("2026-11-21T09", "2026-11-21T09:00:00Z", "2026-11-21T10:00:00Z")),
        ("day", "UTC", ("2026-11-21", "2026-11-21T00:00:00Z", "2026-11-22T00:00:00Z")),
        ("week", "UTC", ("2026-W47", "2026-11-16T00:00:00Z", "2026-11-23T00:00:00Z")),
        ("month", "UTC", ("2026-11", "2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z")),
        ("year", "UTC", ("2026", "2026-01-01T00:00:00Z", "2027-01-01T00:00:00Z")),
        (
            "day",
            "Asia/Kathmandu",
            ("2026-11-21@Asia/Kathmandu", "2026-11-20T18:15:00Z", "2026-11-21T18:15:00Z"),
        ),
        ("month", "Europe/Berlin", ("2026-11@Europe/Berlin", "2026-10-31T23:00:00Z", "2026-11-30T23:00:00Z")),
    ],
)
def test_calendar_windows(every: Every, zone: str, expected: tuple[str, str, str]) -> None:
    assert span(window(every, parse_time("2026-11-21T09:30:15.5Z"), zone)) == expected


@pytest.mark.parametrize(
    ("every", "now", "id"),
    [
        ("week", "2024-12-31T12:00:00Z", "2025-W01"),
        ("week", "2027-01-03T23:59:59Z", "2026-W53"),
        ("day", "2024-02-29T00:00:00Z", "2024-02-29"),
        ("month", "2024-02-29T23:59:59Z", "2024-02"),
        ("year", "2026-12-31T23:59:59.999999Z", "2026"),
    ],
)
def test_calendar_windows_at_their_edges(every: Every, now: str, id: str) -> None:
    assert window(every, parse_time(now)).id == id


@pytest.mark.parametrize(
    ("zone", "now", "start", "hours"),
    [
        ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-28T23:00:00Z", 23),
        ("Europe/Berlin", "2026-10-25T12:00:00Z", "2026-10-24T22:00:00Z", 25),
        ("America/Havana", "2026-03-08T12:00:00Z", "2026-03-08T05:00:00Z", 23),
        ("America/Havana", "2026-11-01T12:00:00Z", "2026-11-01T04:00:00Z", 25),
        ("Asia/Beirut", "2026-03-29T12:00:00Z", "2026-03-28T22:00:00Z", 23),
        ("Australia/Lord_Howe", "2026-04-05T12:00:00Z", "2026-04-04T13:00:00Z", 24.5),
    ],
)
def test_a_local_day_is_as_long_as_the_clocks_make_it(zone: str, now: str, start: str, hours: float) -> None:
    found = window("day", parse_time(now), zone)
    assert rfc3339(found.start_us) == start
    assert (found.end_us - found.start_us) / HOUR_US == hours


def test_a_day_that_the_calendar_left_out_has_no_window() -> None:
    before = window("day", parse_time("2011-12-30T09:59:59Z"), "Pacific/Apia")
    after = window("day", before.end_us, "Pacific/Apia")
    assert (before.id, after.id) == ("2011-12-29@Pacific/Apia", "2011-12-31@Pacific/Apia")


def test_midnight_comes_once_where_clocks_go_back_right_after_it() -> None:
    """In Newfoundland it was 00:01, then 23:01 again; the new day had begun all the same."""
    again_the_28th = parse_time("2006-10-29T02:45:00Z")
    found = window("day", again_the_28th, "America/St_Johns")
    assert span(found) == ("2006-10-29@America/St_Johns", "2006-10-29T02:30:00Z", "2006-10-30T03:30:00Z")


def starts(every: Every, anchor: str, count: int, zone: str = "UTC") -> list[str]:
    anchor_us = parse_time(anchor)
    found = [window(every, anchor_us, zone, anchor_us)]
    while len(found) < count:
        found.append(window(every, found[-1].end_us, zone, anchor_us))
    return [rfc3339(each.start_us) for each in found]


def test_months_anchored_on_the_31st_come_back_to_it() -> None:
    days = [start[5:10] for start in starts("month", "2023-12-31T10:00:00Z", 14)]
    assert days[:7] == ["12-31", "01-31", "02-29", "03-31", "04-30", "05-31", "06-30"]
    assert days[-2:] == ["12-31", "01-31"]


def test_years_anchored_on_the_29th_of_february_come_back_to_it() -> None:
    days = [start[:10] for start in starts("year", "2024-02-29T10:00:00Z", 5)]
    assert days == ["2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"]


def test_anchored_windows_keep_the_local_time_of_day_when_clocks_change() -> None:
    assert starts("day", "2026-03-28T08:30:00Z", 3, "Europe/Berlin") == [
        "2026-03-28T08:30:00Z",
        "2026-03-29T07:30:00Z",
        "2026-03-30T07:30:00Z",
    ]


def test_an_anchor_in_an_hour_that_does_not_exist_waits_for_the_clock_and_comes_back() -> None:
    local_times = [
        local(parse_time(start), "Europe/Berlin").strftime("%d %H:%M")
        for start in starts("day", "2026-03-28T01:30:00Z", 3, "Europe/Berlin")
    ]
    assert local_times == ["28 02:30", "29 03:30", "30 02:30"]


@pytest.mark.parametrize("anchor", ["2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"])
def test_an_anchor_in_a_doubled_hour_is_kept_as_it_is(anchor: str) -> None:
    assert starts("day", anchor, 2, "Europe/Berlin") == [anchor, "2026-10-26T01:30:00Z"]


def test_a_doubled_hour_counts_from_its_first_time() -> None:
    assert starts("day", "2026-10-24T00:30:00Z", 3, "Europe/Berlin")[1] == "2026-10-25T00:30:00Z"


@settings(deadline=None)
@given(st.sampled_from(["month", "year"]), st.integers(1, 31), st.integers(0, 60), zones)
def test_an_anchored_start_falls_on_the_day_of_the_anchor_or_the_end_of_its_month(
    every: Every, day: int, months: int, zone: str
) -> None:
    anchor = datetime(2024, 1, day, 12, tzinfo=ZoneInfo(zone))
    anchor_us = int(anchor.timestamp()) * 10**6
    start = local(window(every, anchor_us + months * 30 * DAY_US, zone, anchor_us).start_us, zone)
    assert (start.hour, start.minute) == (12, 0)
    assert start.day == day or (
        start.day < day and local(int(start.timestamp() + 86400) * 10**6, zone).day == 1
    )


def test_an_anchored_window_is_named_after_its_start() -> None:
    anchor_us = parse_time("2026-01-31T09:30:00Z")
    assert (
        window("month", parse_time("2026-03-01T00:00:00Z"), "UTC", anchor_us).id == "month/20260228T093000Z"
    )
    assert window("hour", anchor_us + 1, "UTC", anchor_us).id == "hour/20260131T093000Z"
    assert window("day", anchor_us, "UTC", anchor_us - 1).id == "day/20260131T092959.999999Z"


@pytest.mark.parametrize("zone", ["Mars/Olympus", "", "../etc/passwd", "/etc/passwd", "Europe", "a\0b"])
def test_an_unknown_zone_is_one_sentence(zone: str) -> None:
    with pytest.raises(ValueError, match=r"^Use a time zone of the IANA database .*\.$"):
        window("day", 0, zone)


def test_an_unknown_period_is_one_sentence() -> None:
    with pytest.raises(ValueError, match=r"^Use a period of second, .*'fortnight'\.$"):
        window("fortnight", 0)  # type: ignore[arg-type]


@pytest.mark.parametrize("us", [TIME_MAX + 1, -TIME_MAX - 1])
def test_a_time_that_a_double_cannot_hold_is_refused(us: int) -> None:
    for read in (lambda: window("day", us), lambda: window("hour", 0, "UTC", us), lambda: rfc3339(us)):
        with pytest.raises(ValueError, match="2255"):
            read()


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("0s", 0),
        ("30s", 30 * 10**6),
        ("15m", 900 * 10**6),
        ("24h", DAY_US),
        ("30d", 30 * DAY_US),
        ("2w", 14 * DAY_US),
    ],
)
def test_a_duration_is_read(text: str, us: int) -> None:
    assert duration_us(text) == us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "30",
        "s",
        "-1s",
        "+1s",
        "1.5h",
        "1 h",
        "1h30m",
        "1H",
        "1ms",
        "1y",
        "1s\n",
        "\u0661s",
        "999999999999w",
    ],
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^Write a duration .*\.$"):
        duration_us(text)


@pytest.mark.parametrize(
    ("text", "us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-11-21T09:30:00Z", 1_795_253_400_000_000),
        ("2026-11-21t10:30:00.25+01:00", 1_795_253_400_250_000),
        ("2026-11-21T05:00:00-04:30", 1_795_253_400_000_000),
        ("2026-11-21T09:30:00.123456789z", 1_795_253_400_123_456),
        ("2024-02-29T00:00:00-00:00", 1_709_164_800_000_000),
    ],
)
def test_a_time_is_read_with_its_offset(text: str, us: int) -> None:
    assert parse_time(text) == us


NO_TIMES = """2026-11-21 2026-11-21T09:30:00 2026-11-21T09:30Z 20261121T093000Z 1795253400
2026-02-29T00:00:00Z 2026-13-01T00:00:00Z 0000-01-01T00:00:00Z 2026-11-21T24:00:00Z 2026-11-21T09:30:60Z
2026-11-21T09:30:00+24:00 2026-11-21T09:30:00+01:60 2026-11-21T09:30:00+0100 2026-11-21T09:30:00.Z"""


@pytest.mark.parametrize(
    "text",
    [*NO_TIMES.split(), "", "2026-11-21 09:30:00Z", "2026-11-21T09:30:00Z\n", "2026-11-2\u0661T09:30:00Z"],
)
def test_what_is_no_time_with_offset_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^Write a time such as .*\.$"):
        parse_time(text)


def test_a_time_beyond_2255_is_refused() -> None:
    with pytest.raises(ValueError, match="2255"):
        parse_time("9999-12-31T23:59:59Z")


@given(st.integers(-TIME_MAX, TIME_MAX))
def test_a_written_time_reads_back_as_the_same_instant(us: int) -> None:
    assert parse_time(rfc3339(us)) == us


@given(st.integers(0, YEAR_2050 // 10**6))
def test_whole_seconds_are_written_without_fraction(seconds: int) -> None:
    assert len(rfc3339(seconds * 10**6)) == len("2026-11-21T09:30:00Z")
