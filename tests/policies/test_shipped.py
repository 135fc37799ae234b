"""What all shipped policies have in common."""

from pathlib import Path

import pytest

from metergate import config
from metergate.config import locate
from metergate.errors import ConfigurationError

SHIPPED = sorted(locate.folder().glob("*.yaml"))


def test_the_templates_of_init() -> None:
    """Each can be asked for by its name; another one gets the list."""
    names = ("anthropic", "compatible", "gemini", "mcp", "openai", "starter", "tiers")
    assert locate.templates() == names
    assert locate.template("starter") in SHIPPED
    with pytest.raises(ConfigurationError, match=f"Use one of the templates {', '.join(names)}"):
        locate.template("../starter")


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_it_has_neither_errors_nor_warnings(path: Path) -> None:
    """On a machine where nothing is set."""
    assert config.check(path, {}) == []


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_editors_find_the_schema(path: Path) -> None:
    """The first line names it, and it is there."""
    first = path.read_text(encoding="utf-8").splitlines()[0]
    prefix, _, name = first.partition("$schema=")
    assert prefix == "# yaml-language-server: "
    assert (path.parent / name).is_file()
