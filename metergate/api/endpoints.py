"""An endpoint as data: what it takes, which verb of the office it is, and what it gives."""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import BaseModel
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from metergate.admin import Doing
from metergate.api import reading

Answer = Callable[[Request], Awaitable[Response]]
NO_STORE = {"cache-control": "no-store"}
PATH_PARAMETER = re.compile(r"\{(\w+)\}")
LIST = ("limit", "after")


class Endpoint(NamedTuple):
    method: str
    path: str
    verb: str
    gives: type[BaseModel]
    summary: str
    takes: type[BaseModel] | None = None
    query: tuple[str, ...] = ()
    status: int = 200
    idempotent: bool = False
    """Whether it reads an Idempotency-Key."""
    optional_body: bool = False


def answered(
    value: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return JSONResponse(value, status, {**NO_STORE, **(headers or {})})


def grouped(answers: Iterable[tuple[str, str, Answer]]) -> list[Route]:
    """One route for a path, so that a method it does not have hears of all that it has."""
    paths: dict[str, dict[str, Answer]] = {}
    for method, path, answer in answers:
        paths.setdefault(path, {})[method] = answer
    plain_first = sorted(paths.items(), key=lambda item: "{" in item[0])
    return [Route(path, _by_method(methods), methods=list(methods)) for path, methods in plain_first]


def _by_method(methods: Mapping[str, Answer]) -> Answer:
    async def answer(request: Request) -> Response:
        return await methods["GET" if request.method == "HEAD" else request.method](request)

    return answer


def of_office(endpoint: Endpoint, office: Doing) -> Answer:
    """The answer of an endpoint that is a verb and no more."""

    async def answer(request: Request) -> Response:
        params = {**request.path_params, **reading.query(request, endpoint.query)}
        if endpoint.takes is not None:
            read = reading.optional_json_body if endpoint.optional_body else reading.json_body
            params = {**params, **reading.fitted(endpoint.takes, await read(request))}
        return answered(await office.do(endpoint.verb, params), endpoint.status)

    return answer
