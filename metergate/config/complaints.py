"""What pydantic found -> one sentence at its place in the file."""

from collections.abc import Mapping
from difflib import get_close_matches
from functools import cache
from typing import Any

from pydantic import ValidationError

from metergate.config.model import PolicyFile
from metergate.config.problems import Where, hint
from metergate.config.source import Source

_SENTENCES: Mapping[str, str] = {
    "dict_type": "write keys and values here, or leave the key out",
    "model_type": "write keys and values here, or leave the key out",
    "list_type": "write a list here, or leave the key out",
    "too_short": "give at least one",
}


def complain(source: Source, error: ValidationError) -> None:
    details = error.errors(include_url=False, include_input=False)
    unknown = {source.there(detail["loc"]) for detail in details if detail["type"] == "extra_forbidden"}
    for detail in details:
        if detail["type"] != "missing" or not _misspelt(
            source.there(detail["loc"]), detail["loc"][-1], unknown
        ):
            _complain(source, detail)


def _misspelt(where: Where, key: str | int, unknown: set[Where]) -> bool:
    """Whether a missing key is there under a similar name: that is one mistake and not two."""
    beside = [str(other[-1]) for other in unknown if other[:-1] == where]
    return bool(get_close_matches(str(key), beside, n=1))


def _complain(source: Source, detail: Mapping[str, Any]) -> None:
    kind, loc = detail["type"], detail["loc"]
    where = source.there(loc)
    if kind == "extra_forbidden":
        source.complain(where, f"unknown key{hint(str(where[-1]), keys_at(where[:-1]))}", at_key=True)
    elif kind == "missing":
        source.complain(where, f'the key "{loc[-1]}" is missing')
    elif kind == "literal_error":
        source.complain(where, _choice(source, where, detail))
    elif kind == "value_error":
        source.complain(where, str(detail["ctx"]["error"]), at_key=loc[-1:] == ("[key]",))
    else:
        source.complain(where, _SENTENCES.get(kind, detail["msg"]))


def _choice(source: Source, where: Where, detail: Mapping[str, Any]) -> str:
    expected = str(detail["ctx"]["expected"]).replace("'", '"')
    given = source.at(where)
    if where in source.holes or not isinstance(given, str):
        return f"use {expected}"
    meant = hint(given, expected.replace(" or ", ", ").replace('"', "").split(", "))
    return f"use {expected}" + (meant if "did you mean" in meant else "")


@cache
def _schema() -> dict[str, Any]:
    return PolicyFile.model_json_schema()


def keys_at(where: Where) -> list[str]:
    """The keys that a mapping of the file may have."""
    return sorted({key for form in _forms(where) for key in form.get("properties", {})})


def _forms(where: Where) -> list[dict[str, Any]]:
    forms = _alternatives(_schema())
    for part in where:
        forms = [form for parent in forms for form in _children(parent, part)]
    return forms


def _children(form: Mapping[str, Any], part: str | int) -> list[dict[str, Any]]:
    if isinstance(part, int):
        found = form.get("items")
    else:
        # Where the keys of a mapping are names, all values have one form.
        named = next(iter(form.get("patternProperties", {}).values()), None)
        found = form.get("properties", {}).get(part) or named
    return _alternatives(found) if isinstance(found, dict) else []


def _alternatives(form: dict[str, Any]) -> list[dict[str, Any]]:
    """The form itself, what it refers to, and every branch of a choice."""
    if "$ref" in form:
        return _alternatives(_schema()["$defs"][form["$ref"].rpartition("/")[2]])
    if "anyOf" in form:
        return [found for branch in form["anyOf"] for found in _alternatives(branch)]
    return [form]
