"""What a request says: a bounded JSON body in the shape of a model, and query parameters that are known."""

from collections.abc import Iterable, Mapping
from typing import Any, Final

from pydantic import BaseModel, ValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request

from metergate.admin import strict_json
from metergate.api.problem import Unfit
from metergate.core.idempotency import check_key
from metergate.core.money import shown
from metergate.errors import InvalidInput

BODY_MAX: Final = 1024 * 1024
FIELDS_TOLD: Final = 50

SENTENCES: Final[Mapping[str, str]] = {
    "missing": "Give {field}.",
    "extra_forbidden": "Leave {field} out; it is not known here.",
    "string_type": "Give {field} as text{not_a_number}.",
    "int_type": "Give {field} as a whole number.",
    "bool_type": "Give {field} as true or false.",
    "list_type": "Give {field} as a list.",
    "dict_type": "Give {field} as an object.",
    "model_type": "Give {field} as an object.",
    "model_attributes_type": "Give {field} as an object.",
}


async def json_body(request: Request) -> object:
    """The value that the body holds."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not (kind.startswith("application/") and kind.endswith("+json")):
        raise HTTPException(415)
    return strict_json.decode(await body(request))


async def optional_json_body(request: Request) -> object:
    """The value that the body holds; an empty object where there is no body."""
    if request.headers.get("content-length", "0") == "0" and "transfer-encoding" not in request.headers:
        return {}
    return await json_body(request)


async def body(request: Request) -> bytes:
    chunks: list[bytes] = []
    size = 0
    async for chunk in request.stream():
        size += len(chunk)
        if size > BODY_MAX:
            raise HTTPException(413)
        chunks.append(chunk)
    return b"".join(chunks)


def fitted(model: type[BaseModel], value: object, place: str = "") -> dict[str, Any]:
    """The fields that were given; null is as good as left out."""
    try:
        return model.model_validate(value).model_dump(exclude_unset=True, exclude_none=True)
    except ValidationError as error:
        raise Unfit(list(_sentences(error.errors(include_url=False), place).items())) from None


def _sentences(problems: Iterable[Mapping[str, Any]], place: str) -> dict[str, str]:
    """One sentence for a field, however many of its forms it does not fit."""
    told: dict[str, str] = {}
    for problem in problems:
        name = str(problem["loc"][0])[:64] if problem["loc"] else "the body"
        field = f"{place}{name}"
        if field in told or len(told) == FIELDS_TOLD:
            continue
        number = isinstance(problem["input"], int | float) and not isinstance(problem["input"], bool)
        form = SENTENCES.get(problem["type"], f"Correct {{field}}: {problem['msg']}.")
        if name == "units":
            form = "Give {field} as a whole number, or as its digits."
        words = ', for example "5.00", not as a number' if number else ""
        told[field] = form.replace("{field}", field).replace("{not_a_number}", words)
    return told


def query(request: Request, known: Iterable[str]) -> dict[str, str]:
    """The query parameters; one that is not known or stands there twice is an error, never ignored."""
    allowed = tuple(known)
    found: dict[str, str] = {}
    for name, value in request.query_params.multi_items():
        if name not in allowed:
            offered = ", ".join(allowed) or "no parameters"
            raise InvalidInput(f"This path takes {offered} in the query, not {shown(name)}.")
        if name in found:
            raise InvalidInput(f"Give {name} once.")
        found[name] = value
    return found


def idempotency_key(request: Request) -> str | None:
    """The Idempotency-Key of a request, if it has one."""
    values = set(request.headers.getlist("idempotency-key"))
    if not values:
        return None
    if len(values) > 1:
        raise InvalidInput("Send one Idempotency-Key.", reason="bad_idempotency_key")
    value = values.pop()
    problem = check_key(value)
    if problem is not None:
        raise InvalidInput(problem, reason="bad_idempotency_key")
    return value
