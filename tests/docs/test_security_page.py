"""The pages of security rules name tests that are there."""

import re

import pytest

from tests.house.rules import ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")


@pytest.mark.parametrize(("name", "rules"), [("security.md", 30), ("payments-security.md", 8)])
def test_every_rule_names_a_test_that_is_there(name: str, rules: int) -> None:
    """A rule whose test was renamed or deleted is no rule."""
    page = (ROOT / "docs" / name).read_text(encoding="utf-8")
    tables = re.findall(r"^\| Rule \| Kept by \|\n\|---\|---\|\n((?:\| .+\n)+)", page, re.MULTILINE)
    rows = [line for table in tables for line in table.splitlines()]
    assert len(rows) > rules
    for row in rows:
        named = NAMED.findall(row)
        assert named, row
        for path, test in named:
            text = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"^(?:async )?def {test or 'test_'}", text, re.MULTILINE), (path, test)
