"""OpenAPI 3.1 from the same table and models that serve the requests."""

from collections.abc import Mapping, Sequence
from functools import cache
from itertools import chain
from typing import Any, Final, NamedTuple

from pydantic import BaseModel
from pydantic.json_schema import models_json_schema

from metergate.api import models
from metergate.api.endpoints import PATH_PARAMETER, Endpoint

REF: Final = "#/components/schemas/{model}"
QUERY: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "limit": ("How many rows at most.", {"type": "integer", "minimum": 1, "maximum": 1000, "default": 100}),
    "after": ("Where the page before ended.", {"type": "string"}),
    "head": ("A link of the chain that was kept elsewhere, as number:hash.", {"type": "string"}),
    "step": ("Prove one part only.", {"type": "string"}),
    "account": ("Only of this account.", {"type": "string"}),
    "subject": ("Only about this account or key.", {"type": "string"}),
    "since": ("From this time on.", {"type": "string", "format": "date-time"}),
    "until": ("Before this time.", {"type": "string", "format": "date-time"}),
    "provider": ("Only of this payment provider.", {"type": "string"}),
    "state": ("Only in this state.", {"type": "string"}),
    "endpoint": ("Only of this endpoint.", {"type": "string"}),
    "notice": ("Only of this notice.", {"type": "string"}),
    "type": ("Only of this type.", {"type": "string"}),
}
FORWARD: Final = "/authz/v1/forward"
NAMING: Final = {
    "X-Original-URI": "path and query",
    "X-Original-Method": "method",
    "X-Forwarded-Uri": "path and query",
    "X-Forwarded-Method": "method",
}
PROBLEMS: Final = {
    "400": "Something sent cannot be accepted; nothing was changed",
    "401": "No valid token",
    "404": "Not found",
    "409": "In conflict with what is there",
    "502": "The payment provider cannot be used",
    "503": "Not possible now; try again",
}
OF_BODIES: Final = {
    "413": "More than 1 MB",
    "415": "Not JSON, or not said to be",
}
GUESSES: Final = {"429": "Too many wrong tokens from this address; wait as Retry-After says"}
MISDIRECTED: Final = {"421": "Ask under an address, or a name of METERGATE_ADMIN_HOSTS"}
REFUSALS: Final = {
    "401": "No valid key",
    "402": "Credits are used up",
    "403": "Not in the plan",
    "429": "Too many, or a limit is reached",
}
PROBES: Final = {"/livez": "Is the process alive", "/readyz": "Can it serve"}


Sections = Mapping[str, Sequence[Endpoint]]
"""Prefix -> the endpoints under it."""


class Side(NamedTuple):
    """One of the two APIs, as its description tells of it."""

    title: str
    sections: Sections
    secrets: Mapping[str, Mapping[str, str]]
    """How a caller shows who it is: one of these."""
    problems: Mapping[str, str]
    others: Mapping[str, dict[str, Any]] = {}
    """Path -> what a GET of it is, where that is no endpoint of a section."""

    @property
    def endpoints(self) -> list[Endpoint]:
        return list(chain.from_iterable(self.sections.values()))


def operators(sections: Sections) -> Side:
    token = {"token": {"type": "http", "scheme": "bearer"}}
    others = {FORWARD: _forward(), "/metrics": _numbers("metrics")}
    others |= {path: _open(path.strip("/"), summary) for path, summary in PROBES.items()}
    return Side("metergate admin API", sections, token, {**PROBLEMS, **GUESSES}, others)


def customers(prefix: str, own: Sequence[Endpoint]) -> Side:
    keys = {
        "key": {"type": "http", "scheme": "bearer"},
        "header": {"type": "apiKey", "in": "header", "name": "x-api-key"},
    }
    return Side("metergate billing API", {prefix: own}, keys, {**PROBLEMS, **REFUSALS})


def document(side: Side, version: str = "1") -> dict[str, Any]:
    paths: dict[str, dict[str, Any]] = {}
    for prefix, endpoints in side.sections.items():
        for each in endpoints:
            operation = _operation(each, side.problems)
            paths.setdefault(prefix + each.path, {})[each.method.lower()] = operation
    for path, operation in side.others.items():
        paths[path] = {"get": operation}
    return {
        "openapi": "3.1.0",
        "info": {"title": side.title, "version": version},
        "security": [{name: []} for name in side.secrets],
        "paths": paths,
        "components": {"schemas": _schemas(side), "securitySchemes": side.secrets},
    }


def _schemas(side: Side) -> dict[str, Any]:
    taken: set[type[BaseModel]] = {each.takes for each in side.endpoints if each.takes is not None}
    given: set[type[BaseModel]] = {models.Problem, *(each.gives for each in side.endpoints)}
    if models.NewUsage in taken:
        taken.add(models.UsageBatch)
        given.add(models.RecordedBatch)
    if side.others:
        given.add(models.State)
    pairs: list[tuple[type[BaseModel], Any]] = [(model, "validation") for model in taken]
    pairs += [(model, "serialization") for model in given]
    return _definitions(tuple(sorted(pairs, key=lambda pair: _name(pair[0]))))


@cache
def _definitions(pairs: tuple[tuple[type[BaseModel], Any], ...]) -> dict[str, Any]:
    """Once a process: it takes a tenth of a second, in which a gate that reads its policy stands still."""
    _, schema = models_json_schema(pairs, ref_template=REF)
    definitions: dict[str, Any] = schema["$defs"]
    return definitions


def _name(model: type[BaseModel]) -> str:
    return model.__name__.replace("[", "_").replace("]", "_")


def _schema(*wanted: type[BaseModel]) -> dict[str, Any]:
    refs = [{"$ref": REF.format(model=_name(model))} for model in wanted]
    return refs[0] if len(refs) == 1 else {"anyOf": refs}


def _content(schema: dict[str, Any], media_type: str = "application/json") -> dict[str, Any]:
    return {media_type: {"schema": schema}}


def _operation(endpoint: Endpoint, problems: Mapping[str, str]) -> dict[str, Any]:
    gives = [endpoint.gives]
    if endpoint.verb == "usage.record":
        gives.append(models.RecordedBatch)
    content = _content(_schema(*gives))
    responses = {str(endpoint.status): {"description": endpoint.summary, "content": content}}
    problem = _content(_schema(models.Problem), "application/problem+json")
    known = {**problems, **OF_BODIES} if endpoint.takes is not None else problems
    for status, description in sorted(known.items()):
        responses[status] = {"description": description, "content": problem}
    if endpoint.verb == "authz.hold":
        responses["4XX"] = {"description": "What the caller is to be told instead", "content": problem}
    operation: dict[str, Any] = {
        "operationId": f"{endpoint.method.lower()}_{endpoint.verb.replace('.', '_')}",
        "summary": endpoint.summary,
        "tags": [endpoint.path.split("/")[1]],
        "parameters": _parameters(endpoint),
        "responses": responses,
    }
    if endpoint.takes is not None:
        schema = _schema(endpoint.takes)
        if endpoint.verb == "usage.record":
            rows = {"type": "array", "items": schema, "minItems": 1, "maxItems": 1000}
            schema = {"anyOf": [schema, _schema(models.UsageBatch), rows]}
        operation["requestBody"] = {"required": not endpoint.optional_body, "content": _content(schema)}
    return operation


def _parameters(endpoint: Endpoint) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = [
        {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
        for name in PATH_PARAMETER.findall(endpoint.path)
    ]
    for name in endpoint.query:
        description, schema = QUERY[name]
        found.append({"name": name, "in": "query", "description": description, "schema": schema})
    if endpoint.idempotent:
        schema = {"type": "string", "minLength": 1, "maxLength": 255}
        description = "The same request with the same key counts once."
        found.append(
            {"name": "Idempotency-Key", "in": "header", "description": description, "schema": schema}
        )
    return found


def _forward() -> dict[str, Any]:
    """Any method; the request that is asked about stands in headers or behind the path."""
    told = {
        name: {"description": f"Of the request that is asked about: {what}.", "schema": {"type": "string"}}
        for name, what in NAMING.items()
    }
    refused = _content(_schema(models.Problem), "application/problem+json")
    return {
        "operationId": "forward",
        "summary": "Decide about a request that a front passes on, and charge it at once",
        "tags": ["forward"],
        "parameters": [{"name": name, "in": "header", **each} for name, each in told.items()],
        "responses": {
            "200": {"description": "Let it go"},
            "4XX": {"description": "Answer with this refusal", "content": refused},
            "503": {"description": "Not possible now; try again", "content": refused},
        },
    }


def _open(id: str, summary: str) -> dict[str, Any]:
    state = _content(_schema(models.State))
    return {
        "operationId": id,
        "summary": summary,
        "tags": ["probes"],
        "security": [],
        "responses": {
            "200": {"description": "Yes", "content": state},
            "503": {"description": "No", "content": state},
            **_misdirected(),
        },
    }


def _numbers(id: str) -> dict[str, Any]:
    text = {"text/plain": {"schema": {"type": "string"}}}
    return {
        "operationId": id,
        "summary": "Numbers for Prometheus",
        "tags": ["probes"],
        "security": [],
        "responses": {
            "200": {"description": "Counters, gauges and a histogram", "content": text},
            **_misdirected(),
        },
    }


def _misdirected() -> dict[str, Any]:
    problem = _content(_schema(models.Problem), "application/problem+json")
    return {status: {"description": each, "content": problem} for status, each in MISDIRECTED.items()}
