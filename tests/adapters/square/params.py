"""Whether a request has what the SDK's own parameters have, and nothing else."""

import collections.abc
import inspect
import typing
from typing import Any, Literal, Union, get_args, get_origin

import typing_extensions
from square import AsyncSquare

_WRAPPERS = (typing_extensions.NotRequired, typing_extensions.Required, typing.Annotated)


def strangers(method: Any, body: dict[str, Any]) -> list[str]:
    """What of a body the SDK's method does not take, or takes otherwise, or wants and has not got."""
    module = inspect.getmodule(method)
    hints = typing.get_type_hints(method, vars(module))
    given = inspect.signature(method).parameters
    known = {name: hints[name] for name in given if name != "request_options"}
    return [each for name, value in body.items() for each in _wrong(name, known.get(name), value)]


def _wrong(path: str, kind: Any, value: Any) -> list[str]:
    if kind is None:
        return [f"{path} is unknown"]
    origin, inner = get_origin(kind), get_args(kind)
    if kind is Any:
        return []
    if origin in _WRAPPERS:
        return _wrong(path, inner[0], value)
    if origin is Union:
        tried = [_wrong(path, each, value) for each in inner if each is not type(None) and each is not Any]
        return min(tried, key=len) if value is not None else []
    if origin is Literal:
        return [] if value in inner else [f"{path} is none of {inner}"]
    if typing_extensions.is_typeddict(kind):
        return _of_dict(path, kind, value)
    if origin in (list, collections.abc.Sequence):
        if not isinstance(value, list):
            return [f"{path} is no list"]
        return [each for at, one in enumerate(value) for each in _wrong(f"{path}.{at}", inner[0], one)]
    if origin in (dict, collections.abc.Mapping):
        return [each for name, one in value.items() for each in _wrong(f"{path}.{name}", inner[1], one)]
    return [] if type(value) is kind else [f"{path} is no {kind}"]


def _of_dict(path: str, kind: Any, value: Any) -> list[str]:
    if not isinstance(value, dict):
        return [f"{path} is no object"]
    hints = typing_extensions.get_type_hints(kind, include_extras=True)
    missing = [f"{path}.{name} is missing" for name in kind.__required_keys__ if name not in value]
    return missing + [
        each for name, one in value.items() for each in _wrong(f"{path}.{name}", hints.get(name), one)
    ]


SDK = AsyncSquare(base_url="http://127.0.0.1:1", token="nobody")
