"""Commands that stay up, as processes: the demo, the admin side, live decisions."""

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.cli.conftest import Shell
from tests.house.rules import ROOT

TYPED = [sys.executable, "-m", "metergate"]
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith("METERGATE_")} | {
    "PYTHONPATH": str(ROOT)
}


@contextmanager
def running(*words: str, cwd: Path, **environ: str) -> Iterator[subprocess.Popen[str]]:
    """A command that stays; Ctrl-C ends it, with exit code 0."""
    process = subprocess.Popen(
        [*TYPED, *words],
        cwd=cwd,
        env=ENVIRON | environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        yield process
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.communicate()


def read_until(process: subprocess.Popen[str], last: str) -> str:
    assert process.stdout is not None
    said = ""
    while last not in said:
        line = process.stdout.readline()
        assert line, f"It ended: {said}"
        said += line
    return said


class Demo(NamedTuple):
    url: str
    key: str
    data: str

    def call(self) -> int:
        """A cheap question that takes its time."""
        said = {"model": "demo", "max_tokens": 1, "messages": [{"role": "user", "content": "Why?"}]}
        asked = urllib.request.Request(
            f"{self.url}/v1/chat/completions",
            data=json.dumps(said).encode(),
            headers={"authorization": f"Bearer {self.key}", "x-fake": "slow=0.2"},
        )
        with urllib.request.urlopen(asked, timeout=10) as answer:
            answer.read()
            return int(answer.status)


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    ports = ("--port", "0", "--admin-port", "0")
    with running("demo", *ports, cwd=tmp_path_factory.mktemp("demo")) as process:
        said = read_until(process, "It stays up")
        found = [re.search(rf"{name}\s+(\S+)", said) for name in ("The paid API", "A key", "The data")]
        assert all(found)
        yield Demo(*[each[1] for each in found if each])


@pytest.mark.parametrize("more", [[], ["--redis"]], ids=["embedded", "shared"])
def test_the_demo_checks_itself(tmp_path: Path, more: list[str]) -> None:
    """From the first call to 402, a top-up and books that add up; quickly, and from any folder."""
    done = subprocess.run(
        [*TYPED, "demo", "--script", *more],
        cwd=tmp_path,
        env=ENVIRON,
        capture_output=True,
        text=True,
        timeout=90 if more else 30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stderr == ""
    calls = re.findall(r"^(\d{3})  (?:GET|POST) /v1", done.stdout, re.MULTILINE)
    assert calls == ["200", "200", "200", "200", "402", "200"]
    assert done.stdout.count("\ncurl ") == 4
    assert "Every balance follows from the entries." in done.stdout
    assert not list(tmp_path.iterdir())


def test_the_demo_stays_up_for_a_person(demo: Demo) -> None:
    """What it printed can be tried."""
    assert demo.call() == 200


def test_a_running_service_is_asked_and_needs_no_policy_named(demo: Demo, shell: Shell) -> None:
    """It knows its policy; the command finds it by the data folder."""
    shell.environ = {"METERGATE_DATA": demo.data}
    assert [each["id"] for each in shell.json("accounts")["data"]] == ["acme"]
    assert shell.json("credits grant acme 5.00")["account"] == "acme"
    assert shell.json("audit")["data"][0]["actor"] == f"uid:{os.getuid()}"
    assert shell.json("verify")["ok"]


@pytest.mark.parametrize("form", [["--json"], []])
def test_tail_shows_decisions_as_they_are_made(demo: Demo, tmp_path: Path, form: list[str]) -> None:
    """A line for every call, while it happens."""
    tail = subprocess.Popen(
        [*TYPED, "tail", "--count", "1", *form],
        cwd=tmp_path,
        env=ENVIRON | {"METERGATE_DATA": demo.data},
        stdout=subprocess.PIPE,
        text=True,
    )
    while tail.poll() is None:
        assert demo.call() == 200
    told = tail.communicate()[0]
    if form:
        assert json.loads(told)["account"] == "acme"
    else:
        assert "admitted  acme  POST /v1/chat/completions" in told
        assert re.search(r"  req_[0-9a-f]+$", told.strip())


def test_tail_without_a_service_says_so(shell: Shell) -> None:
    """There is nobody to listen to."""
    assert "start the service" in shell.no("tail")


def test_the_admin_side_is_served_alone(shell: Shell) -> None:
    """For apps that embed the middleware; its token is kept in the data folder."""
    with running("admin", "policy.yaml", "--port", "0", cwd=shell.folder) as process:
        said = read_until(process, "Ctrl-C")
        url = said.split(" is at ")[1].split(";")[0]
        token = (shell.folder / "metergate-data" / "admin-token").read_text().strip()
        asked = urllib.request.Request(f"{url}/admin/v1/health", headers={"authorization": f"Bearer {token}"})
        with urllib.request.urlopen(asked, timeout=10) as answer:
            assert json.load(answer)["state"] == "ok"


def test_the_admin_side_does_not_start_on_a_policy_with_a_mistake(shell: Shell) -> None:
    """It says the line and the column."""
    (shell.folder / "policy.yaml").write_text("metergate: 1\nnonsense: 1\n")
    assert "policy.yaml:2:1: " in shell.no("admin policy.yaml --port 0")


def test_a_port_that_is_taken_is_one_sentence(demo: Demo, shell: Shell) -> None:
    """With what to do about it."""
    port = demo.url.rpartition(":")[2]
    assert "choose another port" in shell.no(f"admin policy.yaml --port {port}")
