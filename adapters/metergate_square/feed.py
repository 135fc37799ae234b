"""What Square could not deliver, fetched: it keeps events for four weeks, from when it was told to on."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from metergate.ports import Clock
from metergate.provider_port import EventPage, ProviderEvent
from metergate_square.calls import ONCE, Calls, Refused
from metergate_square.news import event

DAY_US: Final = 86_400 * 10**6
LATE_US: Final = 600 * 10**6
FIRST_US: Final = 3 * DAY_US
KEPT_US: Final = 28 * DAY_US
PAGE: Final = 100
TYPES: Final = (
    "payment.created",
    "payment.updated",
    "refund.created",
    "refund.updated",
    "order.updated",
    "dispute.created",
    "dispute.state.updated",
)


class Feed:
    def __init__(self, calls: Calls, clock: Clock, *, live: bool) -> None:
        self._calls = calls
        self._clock = clock
        self._live = live

    async def after(self, cursor: str) -> EventPage:
        """The cursor is when we asked; what happened shortly before may have come late to Square's list."""
        now_us = self._clock()
        if not cursor and not await self.allowed():
            return EventPage((), "")
        since_us = int(cursor) - LATE_US if cursor else now_us - FIRST_US
        span = {"start_at": _text(max(since_us, now_us - KEPT_US)), "end_at": _text(now_us + LATE_US)}
        found = await self._all({"filter": {"event_types": TYPES, "created_at": span}})
        return EventPage(sorted(found, key=lambda each: (each.at_us, each.id)), str(now_us))

    async def allowed(self) -> bool:
        """Have Square keep events, which it does for the application's own token and for no seller's."""
        try:
            await self._calls.do(self._calls.square.events.enable_events(request_options=ONCE))
        except Refused as refused:
            if refused.status in (401, 403):
                return False
            raise
        return True

    async def _all(self, query: Any) -> list[ProviderEvent]:
        found: list[ProviderEvent] = []
        more: Mapping[str, str] = {}
        while True:
            asked = self._calls.square.events.search_events(
                query=query, limit=PAGE, request_options=ONCE, **more
            )
            page = await self._calls.do(asked)
            found += [known for each in page.events or () if (known := self._read(each)) is not None]
            if not page.cursor:
                return found
            more = {"cursor": page.cursor}

    def _read(self, told: Any) -> ProviderEvent | None:
        """One that cannot be read must not keep the others from us."""
        listed = told.model_dump(mode="json")
        try:
            return event({**listed, "created_at": _zoned(listed["created_at"])}, live=self._live)
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
            return None


def _zoned(text: str) -> str:
    """What is listed has been seen without a zone, which is UTC then."""
    at = datetime.fromisoformat(text)
    return text if at.tzinfo is not None else f"{text}Z"


def _text(us: int) -> str:
    return datetime.fromtimestamp(us // 10**6, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
