"""The operator's side: every verb of the office over HTTP, behind one token."""

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from metergate.admin import Doing
from metergate.api import metrics, models, openapi, problem, reading
from metergate.api.endpoints import NO_STORE, Answer, answered, grouped, of_office
from metergate.api.operations import ENDPOINTS
from metergate.errors import ConfigurationError

PREFIX = "/admin/v1"
OPEN = frozenset({"/livez", "/readyz", "/metrics", "/openapi.json"})
"""What orchestrators and readers of the API may see without the token."""


def admin_app(office: Doing, token: str, *, version: str = "1") -> ASGIApp:
    """The admin API. `office.acting_as("admin")` names it in the audit rows."""
    if not token.strip():
        raise ConfigurationError(
            "Give the admin API a token with METERGATE_ADMIN_TOKEN; a blank one protects nothing."
        )
    special: Mapping[str, Answer] = {"usage.record": _record(office), "credits.grant": _grant(office)}
    answers = [
        (each.method, PREFIX + each.path, special.get(each.verb) or of_office(each, office))
        for each in ENDPOINTS
    ]
    document = openapi.document(ENDPOINTS, PREFIX, version)
    app = Starlette(
        routes=[
            Route("/livez", _live, methods=["GET"]),
            Route("/readyz", _ready(office), methods=["GET"]),
            Route("/metrics", _metrics(office), methods=["GET"]),
            Route("/openapi.json", _document(document), methods=["GET"]),
            *grouped(answers),
        ],
        exception_handlers=problem.HANDLERS,
    )
    app.router.redirect_slashes = False
    return _Guarded(app, token)


class _Guarded:
    """Nothing behind it is reached without the token, not even to learn which paths there are."""

    def __init__(self, app: ASGIApp, token: str) -> None:
        self._app = app
        self._expected = hashlib.sha256(token.strip().encode()).digest()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._may(Request(scope)):
            headers = {"www-authenticate": 'Bearer realm="metergate admin"'}
            await problem.of_status(401, headers)(scope, receive, send)
            return
        await self._app(scope, receive, send)

    def _may(self, request: Request) -> bool:
        path = request.scope["path"].removeprefix(request.scope.get("root_path", ""))
        if path in OPEN:
            return True
        shown = request.headers.getlist("authorization")
        scheme, _, token = (shown[0] if len(shown) == 1 else "").partition(" ")
        # Digests have one length, so the comparison tells nothing of the token's.
        given = hashlib.sha256(token.strip().encode("latin-1", "replace")).digest()
        return hmac.compare_digest(given, self._expected) and scheme.lower() == "bearer"


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


def _grant(office: Doing) -> Answer:
    """A grant; an Idempotency-Key stands for its id when it has none."""

    async def answer(request: Request) -> Response:
        reading.query(request, ())
        key = reading.idempotency_key(request)
        grant = reading.fitted(models.NewGrant, await reading.json_body(request))
        if key is not None:
            grant.setdefault("id", "idem:" + hashlib.sha256(key.encode()).hexdigest()[:40])
        return answered(await office.do("credits.grant", grant), 201)

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


def _document(document: Mapping[str, Any]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(_request: Request) -> Response:
        return answered(document)

    return answer
