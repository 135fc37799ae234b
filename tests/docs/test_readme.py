"""The README, tried as a new user would: its files, its commands, its answers."""

import json
import os
import re
import shutil
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.docs.documents import Block, of
from tests.house.rules import ROOT
from tests.ports import free_port

APP, HANDLER, WITHOUT_HTTP = of("python", "README.md")
[POLICY] = of("yaml", "README.md")
SET_UP, SERVE, CALL, PROXY = of("sh", "README.md")
[REFUSAL] = of("json", "README.md")


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    """A shell in which `metergate` and `uvicorn` can be typed."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name in ("metergate", "uvicorn"):
        (commands / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m {name} "$@"\n')
        (commands / name).chmod(0o755)
    clean = {name: value for name, value in os.environ.items() if not name.startswith("METERGATE_")}
    return clean | {"PATH": f"{commands}:{clean['PATH']}", "PYTHONPATH": str(ROOT)}


def typed(script: str, folder: Path, environ: dict[str, str]) -> str:
    done = subprocess.run(
        ["bash", "-euc", script],
        cwd=folder,
        env=environ,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@contextmanager
def served(folder: Path, environ: dict[str, str]) -> Iterator[str]:
    """The app of the README, up; the answer is its port."""
    port = str(free_port())
    command = SERVE.text.replace("8000", port).split()
    server = subprocess.Popen(command, cwd=folder, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        while "Uvicorn running on" not in (line := server.stderr.readline()):
            assert line, "The app did not start."
        yield port
    finally:
        server.terminate()
        server.communicate(timeout=20)


@pytest.mark.skipif(shutil.which("curl") is None, reason="The README calls with curl.")
def test_the_first_five_minutes(tmp_path: Path, environ: dict[str, str]) -> None:
    """Two files, an account, a key, two paid calls, a 402, and books that add up."""
    folder = tmp_path / "app"
    folder.mkdir()
    (folder / "app.py").write_text(APP.text)
    (folder / "policy.yaml").write_text(POLICY.text)

    key = re.search(r"mg_live_\w+", typed(SET_UP.text, folder, environ))
    assert key
    with served(folder, environ) as port:
        call = CALL.text.replace("8000", port).replace("mg_live_…", key[0])
        said = typed(call, folder, environ)
        health = typed(f"curl -s http://127.0.0.1:{port}/health", folder, environ)
        typed("metergate credits grant acme 5.00", folder, environ | {"METERGATE_POLICY": "policy.yaml"})
        again = typed(call, folder, environ)
    assert re.findall(r"HTTP/1.1 (\d+)", said) == ["200", "200", "402"]
    for header in ("metergate-request-id", "metergate-cost: 0.01", "metergate-balance: 0.01"):
        assert header in said
    assert re.search(r"requests +2 +2 +0.02 USD", said)
    assert "\nEvery balance follows from the entries.\n" in said
    assert json.loads(health) == {"state": "fine"}
    assert again.count("HTTP/1.1 200") == 3

    told = json.JSONDecoder().raw_decode(said, said.index('{"type":'))[0]
    shown = json.loads(REFUSAL.text)
    assert {**told, "request_id": shown["request_id"]} == shown
    assert list(told) == list(shown)


def test_one_command_in_front_of_an_ai_api(tmp_path: Path, environ: dict[str, str]) -> None:
    """The policy is written, is fine, and is served; without a key nobody gets to the upstream."""
    port = free_port()
    *prepare, serve = PROXY.text.replace("sk-…", "sk-test").strip().splitlines()
    typed("\n".join(prepare), tmp_path, environ)
    command = ["bash", "-c", f"{serve.replace('OPENAI', 'exec env OPENAI', 1)} --port {port} --admin-port 0"]
    server = subprocess.Popen(command, cwd=tmp_path, env=environ, stderr=subprocess.PIPE, text=True)
    try:
        assert server.stderr is not None
        assert "The proxy is at" in server.stderr.readline()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/v1/chat/completions", b"{}")
        with pytest.raises(urllib.error.HTTPError) as raised:
            urllib.request.urlopen(request, timeout=20)
        assert raised.value.code == 401
        assert json.load(raised.value)["reason"] == "key_missing"
        raised.value.close()
    finally:
        server.terminate()
        server.communicate(timeout=20)


def test_the_first_payment(tmp_path: Path, environ: dict[str, str]) -> None:
    """docs/taking-money.md: a page that is paid, credits that came, a refund, and books that add up."""
    set_up, buy, pay, refund = (block.text for block in of("sh", "docs/taking-money.md"))
    (tmp_path / "app.py").write_text(APP.text)
    (tmp_path / "policy.yaml").write_text(of("yaml", "docs/taking-money.md")[0].text)
    prepare, _, serve = set_up.strip().rpartition("\n")
    assert serve == SERVE.text.strip()
    key = re.search(r"mg_live_\w+", typed(prepare, tmp_path, environ))
    assert key
    environ |= {"METERGATE_POLICY": "policy.yaml", "KEY": key[0]}
    with served(tmp_path, environ) as port:
        made = json.loads(typed(_without("KEY", buy).replace("8000", port), tmp_path, environ))
        environ |= {"PAGE": made["url"], "PAYMENT": made["id"]}
        said = typed(_without("PAGE", _without("PAYMENT", pay)).replace("8000", port), tmp_path, environ)
        after = typed(refund, tmp_path, environ)
    assert '"state":"succeeded"' in said
    assert '"balance":{"currency":"USD","amount":"5.50"' in said
    assert "Nothing is free." in said
    assert re.search(r"succeeded +5.00 USD +2.00 USD", after)
    assert "\nEvery balance follows from the entries.\n" in after


def _without(name: str, script: str) -> str:
    """The script, but for the line in which the reader is to fill something in."""
    return re.sub(rf"^{name}=.*\n", "", script, count=1, flags=re.MULTILINE)


[PAYING] = of("python", "docs/taking-money.md")


@pytest.mark.parametrize("block", [HANDLER, WITHOUT_HTTP, PAYING], ids=lambda block: block.place)
def test_the_code_runs(block: Block, tmp_path: Path, environ: dict[str, str]) -> None:
    """As a file of its own."""
    (tmp_path / "code.py").write_text(block.text)
    typed(f'"{sys.executable}" -W error code.py', tmp_path, environ)


def test_no_paragraph_stands_there_twice() -> None:
    """Nor does one begin like another."""
    parts = re.sub(r"```.*?```", "", (ROOT / "README.md").read_text(), flags=re.DOTALL).split("\n\n")
    begun = [part[:40] for part in parts if len(part) > 40]
    assert len(begun) == len(set(begun))


def test_the_two_commands_are_targets_of_make() -> None:
    """`make demo` and `make test`."""
    makefile = (ROOT / "Makefile").read_text()
    readme = (ROOT / "README.md").read_text()
    for target in ("demo", "test", "bench"):
        assert f"make {target}" in readme
        assert f"\n{target}:" in makefile
