"""The examples run by themselves, and say what they said when they were committed."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.house.rules import ROOT

EXAMPLES = sorted((ROOT / "examples").glob("*.py"))


def test_every_example_has_its_output() -> None:
    """And no output is left of an example that is gone."""
    assert EXAMPLES
    assert [path.stem for path in EXAMPLES] == sorted(path.stem for path in (ROOT / "examples").glob("*.out"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_the_example_says_what_it_said(example: Path, tmp_path: Path) -> None:
    """In a folder of its own, of which it leaves nothing behind. Refresh: python x.py > x.out"""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("METERGATE_")}
    done = subprocess.run(
        [sys.executable, "-W", "error", str(example)],
        cwd=tmp_path,
        env=environ | {"PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert done.stdout == example.with_suffix(".out").read_text(encoding="utf-8")
    assert not list(tmp_path.iterdir())
