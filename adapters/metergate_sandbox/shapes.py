"""The neutral facts as JSON objects, which is what the sandbox speaks over HTTP."""

from collections.abc import Mapping
from types import NoneType, UnionType
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

T = TypeVar("T")


def to_json(value: Any) -> Any:
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return {name: to_json(each) for name, each in zip(value._fields, value, strict=True)}
    if isinstance(value, (tuple, list)):
        return [to_json(each) for each in value]
    return dict(value) if isinstance(value, Mapping) else value


def from_json(kind: type[T], value: Any) -> T:
    """A NamedTuple of this kind; what the object does not name has its default."""
    hints = get_type_hints(kind)
    made: T = kind(**{name: _read(hints[name], each) for name, each in value.items() if name in hints})
    return made


def _read(kind: Any, value: Any) -> Any:
    origin, inner = get_origin(kind), get_args(kind)
    if origin in (Union, UnionType):
        return None if value is None else _read(next(each for each in inner if each is not NoneType), value)
    if origin is tuple:
        return tuple([_read(inner[0], each) for each in value])
    return from_json(kind, value) if hasattr(kind, "_fields") else value
