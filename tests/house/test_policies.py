"""The policies that ship work as they are."""

import pytest

from metergate import config
from metergate.config import schema
from tests.house.rules import ROOT

POLICIES = ROOT / "policies"


@pytest.mark.parametrize("name", sorted(path.name for path in POLICIES.glob("*.yaml")))
def test_the_policy_loads(name: str) -> None:
    """Without a variable set, without a file beside it."""
    config.load(POLICIES / name)


def test_the_committed_schema_is_fresh() -> None:
    """Editors complete from the committed file, so it says what the loader reads."""
    committed = (POLICIES / "policy-v1.schema.json").read_text(encoding="utf-8")
    assert committed == schema.text(), (
        "policies/policy-v1.schema.json is stale: write metergate.config.schema.text() into it."
    )
