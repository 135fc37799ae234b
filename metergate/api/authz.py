"""Decisions for fronts that serve the calls themselves: hold, then settle or release.

Whoever asks is trusted to say which key a caller showed; who that is, is read from the key alone. A hold
stands until it is ended, or for its time: then it ends by the route's `on_unknown_outcome`, for the front has
let the call go at once. Nothing of it is kept in this process, see `gate.tickets`.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp

from metergate.admin import Doing, NotFound, inputs
from metergate.api import models, problem, reading
from metergate.api.endpoints import Answer, Endpoint, answered, grouped
from metergate.core.hold import LATE_US
from metergate.core.money import as_json
from metergate.core.periods import rfc3339
from metergate.core.refusal import Refusal
from metergate.errors import InvalidInput, MetergateError, as_exception
from metergate.gate import deciding, tickets
from metergate.gate.call import Call, Visit
from metergate.gate.deciding import Question
from metergate.gate.gate import RequestGate
from metergate.gate.tickets import End, Ticket
from metergate.ledger import Conflict
from metergate.ports import CONFLICT, DONE, UNKNOWN, Answers, Settle

PREFIX: Final = "/authz/v1"
SECOND_US: Final = 10**6
LASTS_MAX_US: Final = 24 * 3600 * SECOND_US

Headers = Iterable[tuple[bytes, bytes]]
Dress = Callable[[Call], Headers]
"""What the answer to an admitted call tells of it in headers."""
Revive = Callable[[Sequence[Settle]], Awaitable[object]]
"""Charges calls that the store has lost."""

ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/hold",
        "authz.hold",
        models.Hold,
        "Hold what a call may cost",
        models.NewHold,
        idempotent=True,
    ),
    Endpoint(
        "POST",
        "/settle",
        "authz.settle",
        models.EndedHold,
        "End a hold with what was used; again alike answers the same",
        models.Settlement,
    ),
    Endpoint(
        "POST",
        "/release",
        "authz.release",
        models.EndedHold,
        "End a hold that came to nothing",
        models.Release,
    ),
)


def authz_app(gate: Callable[[], RequestGate], office: Doing, revive: Revive, dress: Dress) -> ASGIApp:
    """The endpoints under `/authz/v1` that take JSON; `gate` answers the one of the running policy."""
    desk = _Decisions(gate, office, revive, dress)
    verbs = {"authz.hold": desk.hold, "authz.settle": desk.settle, "authz.release": desk.release}
    routes = grouped(
        (each.method, PREFIX + each.path, desk.answering(verbs[each.verb])) for each in ENDPOINTS
    )
    app = Starlette(routes=routes, exception_handlers=problem.HANDLERS)
    app.router.redirect_slashes = False
    return app


class _Decisions:
    def __init__(self, gate: Callable[[], RequestGate], office: Doing, revive: Revive, dress: Dress) -> None:
        self._gate = gate
        self._office = office
        self._revive = revive
        self._dress = dress

    def answering(self, verb: Callable[[Request], Awaitable[Response]]) -> Answer:
        """What goes wrong is told as the gate tells it, so that a front can pass it on."""

        async def answer(request: Request) -> Response:
            policy = self._gate().policy
            try:
                return await verb(request)
            except MetergateError as error:
                request_id = error.refusal.request_id if error.refusal else ""
                return problem.for_caller(error, request, policy, request_id)
            except HTTPException as error:
                return problem.of_status(error.status_code, anthropic=problem.speaks_anthropic(request))

        return answer

    async def hold(self, request: Request) -> Response:
        reading.query(request, ())
        key = reading.idempotency_key(request) or ""
        asked = _question(reading.fitted(models.NewHold, await reading.json_body(request)), key)
        gate = self._gate()
        request_id = gate.request_id()
        decided = await deciding.decide(gate, asked, request_id)
        if isinstance(decided, Refusal):
            raise as_exception(decided._replace(request_id=decided.request_id or request_id))
        if isinstance(decided, Visit):
            return _answer(_passed(decided), [(b"metergate-request-id", request_id.encode())])
        ticket = tickets.of_call(decided, gate.clock())
        return _answer(_held(decided, ticket, tickets.seal(ticket, gate.peppers)), self._dress(decided))

    async def settle(self, request: Request) -> Response:
        reading.query(request, ())
        given = reading.fitted(models.Settlement, await reading.json_body(request))
        ticket = self._ticket(given["hold"])
        units = inputs.units(given["units"]) if "units" in given else None
        end = inputs.sentence(lambda: tickets.end(ticket, units))
        told = await self._settle(end)
        if told == UNKNOWN:
            told = await self._settle_forgotten(ticket, end)
        _agreed(told)
        return _answer(_ended(ticket, "settled", end.units, end.cost), ())

    async def _settle(self, end: End) -> str:
        gate = self._gate()
        return await _first(gate.store.settle((end.settle,), gate.clock()))

    async def _settle_forgotten(self, ticket: Ticket, end: End) -> str:
        """The store does not know the hold: it ended long ago, or the store has lost it."""
        row = await self._row(ticket)
        if row is not None:
            same = (row["units"], row["cost"]["nanos"], row["measured"]) == (
                end.units,
                end.cost,
                end.measured,
            )
            return DONE if same else CONFLICT
        if self._gate().clock() > ticket.until_us + LATE_US:
            return CONFLICT
        await self._revive([end.settle])
        return await self._settle(end)

    async def release(self, request: Request) -> Response:
        reading.query(request, ())
        ticket = self._ticket(reading.fitted(models.Release, await reading.json_body(request))["hold"])
        gate = self._gate()
        told = await _first(gate.store.release((ticket.op,), gate.clock()))
        if told == UNKNOWN and await self._row(ticket) is None:
            told = DONE
        _agreed(told)
        return _answer(_ended(ticket, "released", 0, 0), ())

    def _ticket(self, text: str) -> Ticket:
        ticket = tickets.unseal(text, self._gate().peppers)
        if ticket is None:
            raise NotFound("There is no such hold; send it back as it was given.")
        return ticket

    async def _row(self, ticket: Ticket) -> dict[str, Any] | None:
        """What the ledger has of the call."""
        try:
            return await self._office.do("usage.show", {"id": ticket.op})
        except NotFound:
            return None


def _question(given: dict[str, Any], idempotency_key: str) -> Question:
    return Question(
        keys=(given["key"],) if given.get("key") else (),
        method=given["method"],
        target=given["path"].encode(),
        units=inputs.units(given["units"]) if "units" in given else None,
        lasts_us=_lasts(given["ttl"]) if "ttl" in given else 0,
        idempotency_key=idempotency_key,
    )


def _lasts(ttl: int | str) -> int:
    lasts_us = ttl * SECOND_US if isinstance(ttl, int) else inputs.duration(ttl)
    if not SECOND_US <= lasts_us <= LASTS_MAX_US:
        raise InvalidInput("Give ttl as 1 second to 24 hours, such as 90 or 10m.")
    return lasts_us


async def _first(answers: Answers[str]) -> str:
    return (answers if isinstance(answers, Sequence) else await answers)[0]


def _agreed(told: str) -> None:
    if told != DONE:
        raise Conflict(
            "The hold has ended in another way: it was settled with other units, it was released, or its "
            "time was over.",
            reason="hold_ended",
        )


def _answer(body: dict[str, Any], headers: Headers) -> Response:
    response = answered(body)
    response.raw_headers.extend(headers)
    return response


def _held(call: Call, ticket: Ticket, sealed: str) -> dict[str, Any]:
    terms, position = ticket.agreed, call.prepared.balance
    return {
        "hold": sealed,
        "request_id": ticket.request_id,
        "account": terms.account,
        "key": terms.key or None,
        "plan": terms.plan or None,
        "route": terms.route,
        "meter": terms.meter,
        "units": ticket.units,
        "cost": as_json(ticket.cost, terms.currency),
        "balance": as_json(call.values[position], terms.currency) if position >= 0 else None,
        "expires_at": rfc3339(ticket.until_us),
    }


def _passed(visit: Visit) -> dict[str, Any]:
    """A call for which nothing is held."""
    caller, policy = visit.member.caller, visit.gate.policy
    known = caller.account.id != ""
    return {
        "hold": None,
        "request_id": visit.request_id,
        "account": caller.account.id or None,
        "key": caller.key.kid if caller.key else None,
        "plan": policy.plan(caller.account.plan).id or None if known else None,
        "route": visit.route.match or None,
        "meter": None,
        "units": 0,
        "cost": as_json(0, policy.currency),
        "balance": None,
        "expires_at": None,
    }


def _ended(ticket: Ticket, state: str, units: int, cost: int) -> dict[str, Any]:
    terms = ticket.agreed
    return {
        "state": state,
        "request_id": ticket.request_id,
        "account": terms.account,
        "key": terms.key or None,
        "meter": terms.meter,
        "units": units,
        "cost": as_json(cost, terms.currency),
    }
