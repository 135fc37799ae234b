"""The command as a user types it."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from metergate.cli import main

POLICY = """\
metergate: 1
meters: {requests: {count: calls}, tokens: {count: app}}
prices: {requests: {price: "0.10"}, tokens: {price: "0.001"}}
plans:
  free: {features: [api]}
  pro: {name: Pro, features: [api, chat], price: {amount: "9.00", every: month}}
default_plan: free
routes:
  - {match: "GET /health", public: true}
  - {match: "* /chat", meter: requests, feature: chat}
  - {match: "* /**", meter: requests, feature: api}
"""


class Shell:
    """A user in a folder of their own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environ: Mapping[str, str] = {"METERGATE_POLICY": str(folder / "policy.yaml")}

    def run(self, line: str, **environ: str) -> Result:
        return CliRunner(env={**self.environ, **environ}).invoke(main, line.split())

    def ok(self, line: str) -> str:
        done = self.run(line)
        assert done.exit_code == 0, done.output
        return done.stdout

    def json(self, line: str) -> Any:
        return json.loads(self.ok(f"{line} --json"))

    def no(self, line: str, code: int = 1, **environ: str) -> str:
        """The one sentence of a command that failed."""
        done = self.run(line, **environ)
        assert done.exit_code == code, done.output
        assert done.stdout == ""
        [sentence] = done.stderr.splitlines()
        assert sentence.startswith("metergate: ")
        return sentence


@pytest.fixture
def shell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Shell:
    for name in [name for name in os.environ if name.startswith("METERGATE_")]:
        monkeypatch.delenv(name)
    (tmp_path / "policy.yaml").write_text(POLICY)
    monkeypatch.chdir(tmp_path)
    return Shell(tmp_path)
