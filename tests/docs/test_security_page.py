"""The page of security rules names tests that are there."""

import re

from tests.house.rules import ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


def test_every_rule_names_a_test_that_is_there() -> None:
    """A rule whose test was renamed or deleted is no rule."""
    page = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| ") and not line.startswith("| Rule ")]
    assert len(rows) > 30
    for row in rows:
        named = NAMED.findall(row)
        assert named, row
        for path, name in named:
            text = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"^(?:async )?def {name or 'test_'}", text, re.MULTILINE), (path, name)
