"""The JSON Schema that editors complete from."""

import json
import re
from collections.abc import Iterator
from typing import Any

from metergate.config import locate, schema
from metergate.config.complaints import keys_at
from metergate.config.model import PolicyFile

SCHEMA: dict[str, Any] = json.loads(schema.text())


def objects() -> Iterator[tuple[str, dict[str, Any]]]:
    yield "the top", SCHEMA
    yield from SCHEMA["$defs"].items()


def test_the_committed_file_is_fresh() -> None:
    """Byte for byte."""
    assert (locate.folder() / schema.FILE).read_text(encoding="utf-8") == schema.text()


def test_every_key_is_explained() -> None:
    """An editor shows a sentence for each of them."""
    missing = [
        f"{name}: {key}"
        for name, form in objects()
        for key, value in form["properties"].items()
        if key != "scope" and not value.keys() & {"description", "$ref"}
    ]
    assert not missing


def test_unknown_keys_are_errors_for_editors_too() -> None:
    """At every level."""
    assert all(form["additionalProperties"] is False for _, form in objects())


def test_defaults_are_written_as_in_a_file() -> None:
    """No microseconds, no fractions, no nulls."""
    assert not re.search(r'"default": (null|\[\s*1,|\d{7,}0)', schema.text())


def test_known_keys_are_found_at_every_depth() -> None:
    """They are what a typing error is compared with."""
    assert keys_at(()) == sorted(PolicyFile.model_fields)
    assert "per" in keys_at(("plans", "free", "prices", "requests", 0))
    assert keys_at(("plans", "free", "trial")) == ["credits", "for"]
    assert keys_at(("providers", "eu")) == ["settings", "use", "when"]
    assert keys_at(("no", "such", "place")) == []
