"""The operator's side: every verb of the office over HTTP, behind one token."""

import hashlib
from collections.abc import Collection, Mapping

from pydantic import BaseModel
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from metergate.admin import Doing
from metergate.api import authz, guard, metrics, models, models_payments, openapi, pages, problem, reading
from metergate.api.endpoints import NO_STORE, Answer, answered, grouped, of_office
from metergate.api.operations import ENDPOINTS
from metergate.api.relay import Relay
from metergate.errors import ConfigurationError
from metergate.gate.guesses import Guesses

PREFIX = "/admin/v1"
OPEN = frozenset({"/livez", "/readyz", "/metrics", *pages.paths()})
"""What orchestrators and readers of the API may see without the token."""


def admin_app(
    office: Doing,
    token: str,
    *,
    decisions: ASGIApp | None = None,
    authz_token: str = "",
    version: str = "1",
    hosts: Collection[str] = (),
) -> ASGIApp:
    """The admin API. `office.acting_as("admin")` names it in the audit rows.

    `decisions` answers under `/authz/v1/`, to a token of its own as well; left out, the office is asked.
    `hosts` are names, beside addresses and localhost, under which it may be asked without a token.
    """
    if not token.strip():
        raise ConfigurationError(
            "Give the admin API a token with METERGATE_ADMIN_TOKEN; a blank one protects nothing."
        )
    special: Mapping[str, Answer] = {
        "usage.record": _record(office),
        "credits.grant": _once(office, "credits.grant", models.NewGrant),
        "credits.adjust": _once(office, "credits.adjust", models.NewAdjustment),
        "payments.create": _once(office, "payments.create", models_payments.NewPayment),
        "refunds.create": _once(office, "refunds.create", models_payments.NewRefund),
    }
    answers = [
        (each.method, PREFIX + each.path, special.get(each.verb) or of_office(each, office))
        for each in ENDPOINTS
    ]
    sections = {PREFIX: ENDPOINTS, authz.PREFIX: authz.ENDPOINTS}
    document = openapi.document(openapi.operators(sections), version)
    app = Starlette(
        routes=[
            Route("/livez", _live, methods=["GET"]),
            Route("/readyz", _ready(office), methods=["GET"]),
            Route("/metrics", _metrics(office), methods=["GET"]),
            *pages.routes(document),
            *grouped(answers),
        ],
        exception_handlers=problem.HANDLERS,
    )
    app.router.redirect_slashes = False
    guesses = Guesses()
    fronts = guard.GuardedForFronts(decisions or Relay(office), (token, authz_token), guesses)
    operators = guard.Operators(app, guard.Guarded(app, (token,), guesses), OPEN, hosts)
    return _Sides(operators, fronts)


class _Sides:
    """Operators at one end, fronts at the other."""

    def __init__(self, operators: ASGIApp, fronts: ASGIApp) -> None:
        self._operators = operators
        self._fronts = fronts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        fronts = scope["type"] == "http" and guard.path(scope).startswith(authz.PREFIX + "/")
        await (self._fronts if fronts else self._operators)(scope, receive, send)


def _record(office: Doing) -> Answer:
    """Usage: an object is one row, a list or {"data": […]} a batch."""

    async def answer(request: Request) -> Response:
        reading.query(request, ())
        key = reading.idempotency_key(request)
        told = await reading.json_body(request)
        if isinstance(told, list) or (isinstance(told, dict) and "data" in told):
            return await _batch(office, told, key)
        row = reading.fitted(models.NewUsage, told)
        if key is not None:
            row.setdefault("idempotency_key", key)
        recorded = await office.do("usage.record", row)
        headers = {"idempotency-replayed": "true"} if recorded["replayed"] else {}
        return answered(recorded, 200 if recorded["replayed"] else 201, headers)

    return answer


async def _batch(office: Doing, told: object, key: str | None) -> Response:
    batch = reading.fitted(models.UsageBatch, {"data": told} if isinstance(told, list) else told)
    params: dict[str, object] = {"data": batch["data"]}
    if key is not None:
        params["idempotency_key"] = key
    done = await office.do("usage.record_batch", params)
    return answered(done, 207 if done["failed"] else 201)


def _once(office: Doing, verb: str, takes: type[BaseModel]) -> Answer:
    """Money, once per id; an Idempotency-Key stands for the id where there is none."""

    async def answer(request: Request) -> Response:
        reading.query(request, ())
        key = reading.idempotency_key(request)
        told = reading.fitted(takes, await reading.json_body(request))
        if key is not None:
            told.setdefault("id", "idem:" + hashlib.sha256(key.encode()).hexdigest()[:40])
        return answered(await office.do(verb, told), 201)

    return answer


async def _live(_request: Request) -> Response:
    return answered({"state": "ok"})


def _ready(office: Doing) -> Answer:
    async def answer(_request: Request) -> Response:
        state = (await office.do("health", {}))["state"]
        return answered({"state": state}, 200 if state == "ok" else 503)

    return answer


def _metrics(office: Doing) -> Answer:
    async def answer(_request: Request) -> Response:
        told = metrics.text(await office.do("metrics", {}))
        return Response(told, headers=NO_STORE, media_type=metrics.MEDIA_TYPE)

    return answer
