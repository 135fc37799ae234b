"""The JSON Schema of the policy file, for editors; `python -m metergate.config.schema` writes it."""

import json
from typing import Any

from metergate.config import locate
from metergate.config.model import PolicyFile

FILE = "policy-v1.schema.json"


def text() -> str:
    """The schema as it is committed, byte for byte."""
    schema = _plain(PolicyFile.model_json_schema())
    whole = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "metergate policy, version 1",
        **schema,
    }
    return json.dumps(whole, indent=2, ensure_ascii=False) + "\n"


def _plain(part: Any) -> Any:
    """What helps a person: without titles, without null for what can be left out, without empty defaults."""
    if isinstance(part, list):
        return [_plain(item) for item in part]
    if not isinstance(part, dict):
        return part
    if "anyOf" in part:
        forms = [form for form in part["anyOf"] if form != {"type": "null"}]
        rest = {key: value for key, value in part.items() if key != "anyOf"}
        part = {**forms[0], **rest} if len(forms) == 1 else {"anyOf": forms, **rest}
    return {key: _plain(value) for key, value in part.items() if not _noise(key, value, part)}


def _noise(key: str, value: object, part: dict[str, Any]) -> bool:
    if key == "title":
        return isinstance(value, str)
    if key != "default" or isinstance(value, bool):
        return False
    # Durations and multipliers are kept in units that no file uses.
    types = {form.get("type") for form in part.get("anyOf", [part])}
    foreign = isinstance(value, int) and "integer" not in types
    return foreign or not value or isinstance(value, dict | tuple) or value == [1, 1]


if __name__ == "__main__":
    (locate.folder() / FILE).write_text(text(), encoding="utf-8")
