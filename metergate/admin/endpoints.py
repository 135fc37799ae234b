"""Webhooks out: where notices go, what was delivered, and what is delivered once more."""

import json
import re
import secrets
from collections.abc import Mapping
from typing import Final

from metergate.admin import inputs, shapes
from metergate.admin.desk import Desk, Json, page
from metergate.admin.errors import NotFound
from metergate.core import outgoing
from metergate.core.money import shown
from metergate.errors import InvalidInput
from metergate.ledger import deliveries, endpoints, notices
from metergate.ledger.database import Tx
from metergate.ledger.deliveries import Attempt, Delivery
from metergate.ledger.endpoints import OFF, ON, Endpoint
from metergate.ledger.notices import Notice

STATES: Final = ("waiting", "delivered", "dead")
GRACE: Final = "24h"
GRACE_MAX_US: Final = 7 * 86_400 * 10**6
_PATTERN: Final = re.compile(r"\*|[a-z]+\.(\*|[a-z]+)")


class Endpoints:
    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def create(self, url: object, types: object = ("*",), description: object = "") -> Json:
        """Tell an address what happens. Its secret is shown this once."""
        now_us = self._desk.clock()
        new = Endpoint(
            seq=0,
            id=f"ep_{secrets.token_hex(10)}",
            url=_url(url),
            types=_types(types),
            description=inputs.text(description, "a description"),
            pepper=max(self._desk.peppers),
            version=1,
            both_until_us=0,
            state=ON,
            failures=0,
            failing_since_us=None,
            pause_until_us=0,
            reason="",
            created_at_us=now_us,
        )

        def work(tx: Tx) -> Endpoint:
            self._desk.note(tx, "endpoint.create", new.id, {"url": new.url})
            return endpoints.add(tx, new)

        return self._with_secret(await self._desk.ledger.write(work))

    async def page(self) -> Json:
        """All endpoints and how they do."""

        def work(tx: Tx) -> list[Json]:
            counted = deliveries.counts(tx)
            return [_endpoint(each, counted) for each in endpoints.page(tx)]

        return {"data": await self._desk.read(work)}

    async def show(self, id: object) -> Json:
        return await self._desk.read(lambda tx: _shown(tx, _named(tx, id)))

    async def update(
        self, id: object, url: object = None, types: object = None, description: object = None
    ) -> Json:
        """Change where notices go, or which; what is left out stays."""
        told = {
            "url": None if url is None else _url(url),
            "types": None if types is None else _types(types),
            "description": None if description is None else inputs.text(description, "a description"),
        }
        changed = {name: value for name, value in told.items() if value is not None}
        return await self._change(id, "endpoint.update", {"fields": sorted(changed)}, changed)

    async def enable(self, id: object) -> Json:
        """Ask it again: what waited while it was failing goes out, the oldest first."""
        now_us = self._desk.clock()
        healthy = {"state": ON, "failures": 0, "failing_since_us": None, "pause_until_us": 0, "reason": ""}

        def work(tx: Tx) -> Json:
            endpoint = _named(tx, id)
            endpoints.change(tx, endpoint.id, **healthy)
            deliveries.hurry(tx, endpoint.id, now_us)
            self._desk.note(tx, "endpoint.enable", endpoint.id)
            return _shown(tx, _named(tx, id))

        return await self._desk.ledger.write(work)

    async def disable(self, id: object) -> Json:
        """Tell it nothing more, and keep nothing for it, until it is enabled."""
        return await self._change(id, "endpoint.disable", {}, {"state": OFF})

    async def delete(self, id: object) -> Json:
        """Forget an endpoint and its deliveries."""

        def work(tx: Tx) -> Json:
            endpoint = _named(tx, id)
            deliveries.delete_of(tx, endpoint.id)
            endpoints.delete(tx, endpoint.id)
            self._desk.note(tx, "endpoint.delete", endpoint.id, {"url": endpoint.url})
            return {"id": endpoint.id, "deleted": True}

        return await self._desk.ledger.write(work)

    async def rotate(self, id: object, grace: object = GRACE) -> Json:
        """Make another secret; until the grace is over both sign. It is shown this once."""
        now_us = self._desk.clock()
        length = inputs.duration(grace)
        if length > GRACE_MAX_US:
            raise InvalidInput("Let both secrets sign for at most 7d.")

        def work(tx: Tx) -> Endpoint:
            endpoint = _named(tx, id)
            newest = max(self._desk.peppers)
            # A secret of another pepper cannot be made with this one, so it ends at once.
            until_us = 0 if newest > endpoint.pepper else now_us + length
            values = {"version": endpoint.version + 1, "pepper": newest, "both_until_us": until_us}
            endpoints.change(tx, endpoint.id, **values)
            self._desk.note(tx, "endpoint.rotate", endpoint.id, {"grace_s": length // 10**6})
            return _named(tx, id)

        return self._with_secret(await self._desk.ledger.write(work))

    async def test(self, id: object) -> Json:
        """Send it a notice that means nothing, to see whether it arrives."""
        now_us = self._desk.clock()

        def work(tx: Tx) -> Json:
            endpoint = _named(tx, id)
            cause = f"{endpoint.id}:{secrets.token_hex(8)}"
            notices.tell(tx, "endpoint.test", "", {"endpoint": endpoint.id}, now_us, cause, only=endpoint.id)
            return _delivery(deliveries.page(tx, endpoint.id, limit=1)[0])

        return await self._desk.ledger.write(work)

    async def types(self) -> Json:
        """The types of notices, and when each is told."""
        return {"data": [{"type": type, "told": told} for type, told in notices.TYPES.items()]}

    async def deliveries(
        self,
        endpoint: object = None,
        state: object = None,
        notice: object = None,
        limit: object = inputs.LIMIT,
        after: object = "",
    ) -> Json:
        """Deliveries, the newest first."""
        wanted = (
            None if endpoint is None else inputs.ident(endpoint, "an endpoint"),
            _state(state),
            None if notice is None else inputs.ident(notice, "a notice"),
        )
        most, last = inputs.limit(limit), inputs.seq(after)
        rows = await self._desk.read(lambda tx: deliveries.page(tx, *wanted, most + 1, last))
        return page(map(_delivery, rows), most, [row.seq for row in rows])

    async def delivery(self, id: object) -> Json:
        """One delivery with what was sent and every attempt."""
        seq = inputs.seq(id)

        def work(tx: Tx) -> Json:
            row = deliveries.get(tx, seq)
            if row is None:
                raise NotFound(f"There is no delivery {seq}.")
            tries = [_attempt(each) for each in deliveries.attempts_of(tx, seq)]
            return {**_delivery(row), "body": json.loads(row.body), "attempts": tries}

        return await self._desk.read(work)

    async def replay(
        self, id: object = None, endpoint: object = None, state: object = None, since: object = None
    ) -> Json:
        """Deliver once more, with the same id and body: one, or those of a state or since a time."""
        if id is None and state is None and since is None:
            raise InvalidInput("Name a delivery by its id, or give a state or a time since when.")
        seq = None if id is None else inputs.seq(id)
        wanted = {
            "endpoint": None if endpoint is None else inputs.ident(endpoint, "an endpoint"),
            "state": _state(state),
        }
        since_us = 0 if since is None else inputs.time(since)
        now_us = self._desk.clock()

        def work(tx: Tx) -> int:
            count = deliveries.replay(tx, now_us, seq=seq, since_us=since_us, **wanted)
            if seq is not None and not count:
                raise NotFound(f"There is no such delivery {seq}.")
            subject = wanted["endpoint"] or str(seq or wanted["state"] or "all")
            self._desk.note(tx, "deliveries.replay", subject, {"deliveries": count})
            return count

        return {"replayed": await self._desk.ledger.write(work)}

    async def told(
        self, account: object = None, type: object = None, limit: object = inputs.LIMIT, after: object = ""
    ) -> Json:
        """What was told to anybody, the newest first."""
        owner = None if account is None else inputs.account_id(account)
        wanted = None if type is None else inputs.name(type, "a type")
        most, last = inputs.limit(limit), inputs.seq(after)
        rows = await self._desk.read(lambda tx: notices.page(tx, owner, wanted, most + 1, last))
        return page(map(_notice, rows), most, [row.seq for row in rows])

    async def _change(
        self, id: object, action: str, details: Mapping[str, object], values: Mapping[str, object]
    ) -> Json:
        def work(tx: Tx) -> Json:
            endpoint = _named(tx, id)
            if values:
                endpoints.change(tx, endpoint.id, **values)
                self._desk.note(tx, action, endpoint.id, dict(details))
            return _shown(tx, _named(tx, id))

        return await self._desk.ledger.write(work)

    def _with_secret(self, row: Endpoint) -> Json:
        made = outgoing.secret(self._desk.peppers[row.pepper], row.id, row.version)
        return {"secret": made, **_endpoint(row, {})}


def _named(tx: Tx, id: object) -> Endpoint:
    named = inputs.ident(id, "an endpoint")
    row = endpoints.get(tx, named, lock=False)
    if row is None:
        raise NotFound(f"There is no endpoint {named}: list the endpoints.")
    return row


def _url(value: object) -> str:
    url = inputs.text(value, "an address", outgoing.URL_MAX)
    problem = outgoing.url_problem(url)
    if problem:
        raise InvalidInput(problem)
    return url


def _types(value: object) -> str:
    """Patterns: `*`, `payment.*` or `payment.failed`; each must stand for something."""
    listed = [value] if isinstance(value, str) else value
    if not isinstance(listed, list | tuple) or not 0 < len(listed) <= inputs.PAIRS_MAX:
        raise InvalidInput(f"Give types as a list of at most {inputs.PAIRS_MAX}, such as payment.*.")
    for each in listed:
        named = isinstance(each, str) and _PATTERN.fullmatch(each)
        if not named or not any(notices.wants(json.dumps([each]), type) for type in notices.TYPES):
            raise InvalidInput(f"There is no type {shown(each)}; they are {', '.join(notices.TYPES)}.")
    return json.dumps(list(dict.fromkeys(listed)))


def _state(value: object) -> str | None:
    if value is not None and value not in STATES:
        raise InvalidInput(f"Ask for one of the states {', '.join(STATES)}.")
    return None if value is None else str(value)


def _shown(tx: Tx, row: Endpoint) -> Json:
    return _endpoint(row, deliveries.counts(tx))


def _endpoint(row: Endpoint, counted: Mapping[tuple[str, str], int]) -> Json:
    return {
        "id": row.id,
        "url": row.url,
        "types": json.loads(row.types),
        "description": row.description,
        "state": row.state,
        "failing_since": shapes.when(row.failing_since_us),
        "reason": row.reason or None,
        "deliveries": {state: counted.get((row.id, state), 0) for state in STATES},
        "both_secrets_until": shapes.when(row.both_until_us),
        "created_at": shapes.when(row.created_at_us),
    }


def _delivery(row: Delivery) -> Json:
    return {
        "id": str(row.seq),
        "endpoint": row.endpoint,
        "notice": row.notice,
        "type": row.type,
        "account": row.account or None,
        "state": row.state,
        "tries": row.tries,
        "status": row.status or None,
        "detail": row.detail or None,
        "at": shapes.when(row.at_us),
        "next_at": shapes.when(row.next_at_us) if row.state == "waiting" else None,
        "ended_at": shapes.when(row.ended_at_us),
    }


def _attempt(row: Attempt) -> Json:
    return {
        "at": shapes.when(row.at_us),
        "took_us": row.took_us,
        "status": row.status or None,
        "detail": row.detail or None,
    }


def _notice(row: Notice) -> Json:
    told = json.loads(row.body)
    return {"id": row.id, "type": row.type, "account": row.account or None, "at": shapes.when(row.at_us)} | {
        "data": told["data"]
    }
