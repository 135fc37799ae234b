"""What Stripe understands: the SDK's own parameter classes, asked at run time."""

import sys
import types
from collections.abc import Mapping
from functools import cache
from typing import Any
from urllib.parse import parse_qsl

import stripe.params
import stripe.params.billing
import stripe.params.billing_portal
import stripe.params.checkout
import typing_extensions
from pydantic import ConfigDict, TypeAdapter, ValidationError

from tests.adapters.stripe.fake.errors import Refused


class Untyped:
    """What the SDK names only for type checkers: metadata that was read from an object."""

    def __class_getitem__(cls, value: Any) -> Any:
        return dict[str, value]


def decoded(text: str) -> dict[str, Any]:
    """A form with names such as `lines[0][amount]`, as the object that was meant."""
    tree: dict[str, Any] = {}
    for name, value in parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)):
        *path, last = name.replace("]", "").split("[")
        place = tree
        for step in path:
            place = place.setdefault(step, {})
        place[last] = value
    return {name: _lists(value) for name, value in tree.items()}


def _lists(value: Any) -> Any:
    if not isinstance(value, dict):
        return value
    inner = {name: _lists(each) for name, each in value.items()}
    if inner and all(name.isdecimal() for name in inner):
        return [inner[name] for name in sorted(inner, key=int)]
    return inner


def understood(asked: Mapping[str, Any], params: type | None) -> dict[str, Any]:
    """The parameters in their types; one that Stripe does not know, or cannot read, is a 400."""
    if params is None:
        if asked:
            raise Refused(400, f"Received unknown parameter: {next(iter(asked))}", "parameter_unknown")
        return {}
    try:
        read: dict[str, Any] = _adapter(params).validate_python(asked)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(each) for each in first["loc"])
        code = "parameter_unknown" if first["type"] == "extra_forbidden" else "parameter_invalid"
        raise Refused(400, f"{where}: {first['msg']}", code, param=where) from None
    return read


@cache
def _adapter(params: type) -> TypeAdapter[Any]:
    names = vars(sys.modules[params.__module__])
    names |= {"UntypedStripeObject": Untyped, "StripeContext": str, "Mapping": Mapping}
    for each in names.values():
        if typing_extensions.is_typeddict(each):
            each.__pydantic_config__ = ConfigDict(extra="forbid")
    made: TypeAdapter[Any] = TypeAdapter(params)
    made.rebuild(raise_errors=True)
    return made


def known(name: str) -> type:
    """A parameter class by its name: `checkout.SessionCreateParams`."""
    place: types.ModuleType = stripe.params
    *rooms, last = name.split(".")
    for room in rooms:
        place = getattr(place, room)
    found: type = getattr(place, last)
    return found
