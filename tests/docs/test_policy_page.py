"""docs/policy.md: every key of the policy file is there, and every sample is one."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from metergate import config
from tests.docs.documents import Block, of
from tests.house.rules import ROOT

SCHEMA = json.loads((ROOT / "policies" / "policy-v1.schema.json").read_text())
PAGE = (ROOT / "docs" / "policy.md").read_text()
SAMPLES = of("yaml")

NAMED_IN_PROSE: set[str] = set()


def keys(value: Any) -> Iterator[str]:
    """Every key at whatever depth."""
    if isinstance(value, dict):
        for key, each in value.items():
            yield str(key)
            yield from keys(each)
    elif isinstance(value, list):
        for each in value:
            yield from keys(each)


@pytest.mark.parametrize("block", SAMPLES, ids=lambda block: block.place)
def test_every_sample_is_a_policy(block: Block) -> None:
    """As it stands in the document, without a variable set."""
    loaded = config.loads(block.text.encode(), block.place, {})
    assert loaded.warnings == ()


def test_every_key_is_in_a_sample() -> None:
    """Each key of the schema stands in a sample of the page; those that nothing acts on yet are named."""
    later = set(re.findall(r"`(\w+)`", PAGE[PAGE.index("## Read, and not acted on yet") :]))
    shown = {key for block in of("yaml", "docs/policy.md") for key in keys(yaml.safe_load(block.text))}
    known = set(SCHEMA["properties"])
    for part in SCHEMA["$defs"].values():
        known |= set(part.get("properties", {}))
    assert known - shown - later - NAMED_IN_PROSE == set()
    assert all(f"`{key}`" in PAGE for key in NAMED_IN_PROSE)
