"""An app of another process: a request travels there as one JSON object, and its answer back."""

import base64
from collections.abc import Iterable, Mapping, MutableMapping
from typing import Any, Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from metergate.admin import Doing
from metergate.api import problem, reading
from metergate.errors import MetergateError

VERB: Final = "authz.ask"

Json = dict[str, Any]


class Relay:
    """Asks the office of the process that serves the app."""

    def __init__(self, office: Doing) -> None:
        self._office = office

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await self._answer(Request(scope, receive))
        except MetergateError as error:
            response = problem.of_error(error)
        except HTTPException as error:
            response = problem.of_status(error.status_code)
        await response(scope, receive, send)

    async def _answer(self, request: Request) -> Response:
        scope = request.scope
        raw_path: bytes = scope.get("raw_path") or scope["path"].encode()
        told = await self._office.do(
            VERB,
            {
                "method": request.method,
                "path": raw_path.removeprefix(scope.get("root_path", "").encode()).decode("latin-1"),
                "query": scope["query_string"].decode("latin-1"),
                "headers": _as_text(scope["headers"]),
                "body": base64.b64encode(await reading.body(request)).decode(),
            },
        )
        response = Response(base64.b64decode(told["body"]), told["status"])
        response.raw_headers = _as_bytes(told["headers"])
        return response


async def answer(app: ASGIApp, asked: Mapping[str, Any]) -> Json:
    """What the app answers to what a `Relay` asks."""
    path = asked["path"].encode("latin-1")
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "scheme": "http",
        "method": asked["method"],
        "path": path.decode("latin-1"),
        "raw_path": path,
        "root_path": "",
        "query_string": asked["query"].encode("latin-1"),
        "headers": _as_bytes(asked["headers"]),
    }
    said: list[MutableMapping[str, Any]] = []

    async def receive() -> MutableMapping[str, Any]:
        return {"type": "http.request", "body": base64.b64decode(asked["body"]), "more_body": False}

    async def send(message: MutableMapping[str, Any]) -> None:
        said.append(message)

    await app(scope, receive, send)
    start, *rest = said
    body = b"".join([message.get("body", b"") for message in rest])
    return {
        "status": start["status"],
        "headers": _as_text(start["headers"]),
        "body": base64.b64encode(body).decode(),
    }


def _as_text(headers: Iterable[tuple[bytes, bytes]]) -> list[list[str]]:
    return [[name.decode("latin-1"), value.decode("latin-1")] for name, value in headers]


def _as_bytes(headers: Iterable[Iterable[str]]) -> list[tuple[bytes, bytes]]:
    return [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers]
