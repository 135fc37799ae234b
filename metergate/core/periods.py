"""Windows of time: calendar periods in a time zone, and periods counted from an anchor.

A window is a half-open pair of UTC instants. Boundaries are a pure function of (period, zone, anchor), each
computed on its own and never from its neighbour, so windows tile time without gap, overlap or drift.
"""

import re
from calendar import monthrange
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Final, Literal, get_args
from zoneinfo import ZoneInfo

from metergate.core.money import shown, whole_match

Every = Literal["second", "minute", "hour", "day", "week", "month", "year"]

PERIODS: Final[tuple[Every, ...]] = get_args(Every)
SECOND_US: Final = 10**6
TIME_MAX: Final = 2**53 - 1
"""The latest instant: every integer up to it is exact in a double too. It lies in the year 2255."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_LENGTHS = {
    "s": SECOND_US,
    "m": 60 * SECOND_US,
    "h": 3600 * SECOND_US,
    "d": 86400 * SECOND_US,
    "w": 7 * 86400 * SECOND_US,
}
_FIXED = {
    "second": (SECOND_US, "%Y-%m-%dT%H:%M:%S"),
    "minute": (60 * SECOND_US, "%Y-%m-%dT%H:%M"),
    "hour": (3600 * SECOND_US, "%Y-%m-%dT%H"),
}
_DURATION = re.compile(r"([0-9]{1,12})([smhdw])")
_TIME = re.compile(
    r"([0-9]{4}-[0-9]{2}-[0-9]{2})[Tt]((?:[01][0-9]|2[0-3]):[0-9]{2}:[0-9]{2})(?:\.([0-9]{1,9}))?"
    r"(?:[Zz]|([+-])([0-9]{2}):([0-9]{2}))"
)


@dataclass(frozen=True, slots=True)
class Window:
    """The period [start_us, end_us) under a name that is the same wherever it is computed."""

    id: str
    start_us: int
    end_us: int


def window(every: Every, now_us: int, zone: str = "UTC", anchor_us: int | None = None) -> Window:
    """The window that holds the instant: of the calendar of the zone, or counted from the anchor."""
    _check_time(now_us)
    if every not in PERIODS:
        raise ValueError(f"Use a period of {', '.join(PERIODS)}, not {shown(every)}.")
    if anchor_us is not None:
        _check_time(anchor_us)
    if every in _FIXED:
        return _fixed(every, now_us, anchor_us)
    if anchor_us is None:
        return _calendar(every, now_us, zone)
    return _anchored(every, now_us, _zone(zone), anchor_us)


def duration_us(text: str) -> int:
    """The microseconds of a text such as "30s", "15m", "24h", "30d" or "2w"."""
    shape = whole_match(_DURATION, text)
    length = int(shape[1]) * _LENGTHS[shape[2]] if shape else TIME_MAX + 1
    if length > TIME_MAX:
        raise ValueError(
            f"Write a duration as a number and s, m, h, d or w such as 30s or 24h, not {shown(text)}."
        )
    return length


def rfc3339(us: int) -> str:
    """The instant as RFC 3339 text in UTC."""
    _check_time(us)
    at = _at(us)
    return at.replace(tzinfo=None).isoformat() + "Z"


def parse_time(text: str) -> int:
    """The instant that an RFC 3339 text means; its offset is required, and nanoseconds are cut off."""
    shape = whole_match(_TIME, text)
    try:
        if shape is None:
            raise ValueError
        day, clock, fraction, sign, hours, minutes = shape.groups()
        at = datetime.fromisoformat(f"{day}T{clock}+00:00")
        offset = timedelta(0) if sign is None else _offset(sign, int(hours), int(minutes))
    except ValueError:
        raise ValueError(
            f"Write a time such as 2026-11-21T09:30:00Z, with its offset, not {shown(text)}."
        ) from None
    us = (at - _EPOCH - offset) // _MICROSECOND + int((fraction or "").ljust(6, "0")[:6])
    _check_time(us)
    return us


def _fixed(every: Every, now_us: int, anchor_us: int | None) -> Window:
    length, form = _FIXED[every]
    origin = anchor_us or 0
    start = origin + (now_us - origin) // length * length
    id = _at(start).strftime(form) if anchor_us is None else _anchored_id(every, start)
    return Window(id, start, start + length)


def _calendar(every: Every, now_us: int, name: str) -> Window:
    zone = _zone(name)
    today = _at(now_us).astimezone(zone).date()
    first = _first_day(every, today)

    def boundary(k: int) -> int:
        return _us(datetime.combine(_shifted(every, first, k), datetime.min.time(), zone))

    k, start, end = _around(now_us, 0, boundary)
    suffix = "" if name == "UTC" else f"@{name}"
    return Window(_calendar_id(every, _shifted(every, first, k)) + suffix, start, end)


def _anchored(every: Every, now_us: int, zone: ZoneInfo, anchor_us: int) -> Window:
    anchor = _at(anchor_us).astimezone(zone)
    now = _at(now_us).astimezone(zone)

    def boundary(k: int) -> int:
        if k == 0:
            return anchor_us
        return _us(datetime.combine(_shifted(every, anchor.date(), k), anchor.time(), zone).replace(fold=0))

    _, start, end = _around(now_us, _periods_between(every, anchor.date(), now.date()), boundary)
    return Window(_anchored_id(every, start), start, end)


def _around(now_us: int, k: int, boundary: Callable[[int], int]) -> tuple[int, int, int]:
    # The guess is at most a step or two off: where clocks change at midnight or a day is left out of the
    # calendar, the local date and the boundaries disagree for a while, and the boundaries decide.
    while now_us < boundary(k):
        k -= 1
    while now_us >= boundary(k + 1):
        k += 1
    return k, boundary(k), boundary(k + 1)


def _first_day(every: Every, day: date) -> date:
    if every == "week":
        return day - timedelta(days=day.weekday())
    if every == "month":
        return day.replace(day=1)
    return day.replace(month=1, day=1) if every == "year" else day


def _shifted(every: Every, day: date, k: int) -> date:
    """The day k periods later, clamped to the end of a shorter month."""
    if every in ("day", "week"):
        return day + timedelta(days=k if every == "day" else 7 * k)
    months = day.year * 12 + day.month - 1 + (k if every == "month" else 12 * k)
    year, month = months // 12, months % 12 + 1
    return date(year, month, min(day.day, monthrange(year, month)[1]))


def _periods_between(every: Every, first: date, last: date) -> int:
    if every in ("day", "week"):
        return (last - first).days // (1 if every == "day" else 7)
    months = (last.year - first.year) * 12 + last.month - first.month
    return months if every == "month" else months // 12


def _calendar_id(every: Every, first: date) -> str:
    if every == "week":
        year, week, _ = first.isocalendar()
        return f"{year}-W{week:02d}"
    return first.isoformat()[: {"day": 10, "month": 7, "year": 4}[every]]


def _anchored_id(every: Every, start_us: int) -> str:
    return f"{every}/{rfc3339(start_us).replace('-', '').replace(':', '')}"


def _zone(name: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError(
            f"Use a time zone of the IANA database such as Europe/Berlin, not {shown(name)}."
        ) from None


def _offset(sign: str, hours: int, minutes: int) -> timedelta:
    if hours > 23 or minutes > 59:
        raise ValueError
    offset = timedelta(hours=hours, minutes=minutes)
    return -offset if sign == "-" else offset


def _check_time(us: int) -> None:
    if not -TIME_MAX <= us <= TIME_MAX:
        raise ValueError("Use a time before the year 2255, in microseconds since 1970.")


def _at(us: int) -> datetime:
    return _EPOCH + us * _MICROSECOND


def _us(at: datetime) -> int:
    return (at - _EPOCH) // _MICROSECOND
