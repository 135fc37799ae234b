"""Real fronts with the configurations of deploy/ between raw sockets, and metergate beside them."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from tests.house.rules import ROOT
from tests.ports import free_port
from tests.proxy.house import Gateway
from tests.servers.serving import ENVIRON, ended, kill, start
from tests.waiting import DEADLINE_S

TOKEN = "a-token-of-fronts"
DATA, ADMIN, API, HERE = "127.0.0.1:8080", "127.0.0.1:8081", "127.0.0.1:9000", "what METERGATE_AUTHZ_TOKEN is"

POLICY: Mapping[str, Any] = {
    "metergate": 1,
    "meters": {"requests": {"count": "calls"}, "few": {"count": "calls"}},
    "prices": {"requests": {"price": "0.01"}},
    "plans": {"all": {"included": {"few": {"units": 1, "every": "month"}}}},
    "default_plan": "all",
    "routes": [
        {"match": "* /public/**", "public": True},
        {"match": "* /free/**", "free": True},
        {"match": "* /few/**", "meter": "few"},
        {"match": "* /api/**", "meter": "requests"},
    ],
}


class Kind(NamedTuple):
    """How a front is installed, configured and started."""

    program: str
    file: str
    start: Callable[[str, Path], list[str]]
    changes: Mapping[str, str]
    """What stands in the file for what this machine uses; {port} is where the front listens."""


def nginx(text: str, folder: Path) -> list[str]:
    (folder / "metergate-token.conf").write_text(f'proxy_set_header Metergate-Token "{TOKEN}";\n')
    own = "".join(
        f"{name}_temp_path {folder}/{name};\n"
        for name in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    user = f"user {pwd.getpwuid(os.getuid()).pw_name};\n" if os.getuid() == 0 else ""
    main = f"{user}pid {folder}/nginx.pid;\nworker_processes 2;\nevents {{}}\n"
    (folder / "nginx.conf").write_text(f"{main}http {{\naccess_log off;\n{own}{text}}}\n")
    log = str(folder / "nginx-errors.log")
    return ["nginx", "-p", str(folder), "-e", log, "-c", str(folder / "nginx.conf"), "-g", "daemon off;"]


def _caddy(text: str, folder: Path) -> list[str]:
    (folder / "Caddyfile").write_text("{\n\tadmin off\n\tauto_https off\n}\n" + text)
    return ["caddy", "run", "--adapter", "caddyfile", "--config", str(folder / "Caddyfile")]


def _envoy(text: str, folder: Path) -> list[str]:
    (folder / "envoy.yaml").write_text(text)
    return ["envoy", "-c", str(folder / "envoy.yaml"), "--log-level", "warn", "--use-dynamic-base-id"]


KINDS: Mapping[str, Kind] = {
    "nginx": Kind("nginx", "nginx-auth-request.conf", nginx, {"listen 80;": "listen 127.0.0.1:{port};"}),
    "caddy": Kind("caddy", "Caddyfile.forward-auth", _caddy, {"\n:80 {": "\n:{port} {"}),
    "envoy": Kind(
        "envoy",
        "envoy-ext-authz.yaml",
        _envoy,
        {"address: 0.0.0.0, port_value: 10000": "address: 127.0.0.1, port_value: {port}"},
    ),
}


class Front(Gateway):
    """A front with metergate beside it; what it serves is played by each test."""

    def __init__(self, folder: Path, kind: str) -> None:
        self.kind = kind
        self.data_port = free_port()
        super().__init__(folder, POLICY)
        self.front = self._start(KINDS[kind])

    def start(self) -> subprocess.Popen[bytes]:
        ports = ["--port", str(self.data_port), "--admin-port", str(self.admin_port)]
        words = [sys.executable, "-m", "metergate", "serve", "policy.yaml", "--decide-only", *ports]
        return start(words, self.folder, METERGATE_AUTHZ_TOKEN=TOKEN)

    def _start(self, kind: Kind) -> subprocess.Popen[bytes]:
        text = (ROOT / "deploy" / kind.file).read_text(encoding="utf-8")
        places = {
            DATA: f"127.0.0.1:{self.data_port}",
            ADMIN: f"127.0.0.1:{self.admin_port}",
            API: f"127.0.0.1:{self.upstream_port}",
        }
        apart = {_apart(here): _apart(there) for here, there in places.items()}
        for here, there in {**places, **apart, **kind.changes, HERE: TOKEN}.items():
            text = text.replace(here, there.replace("{port}", str(self.port)))
        words = kind.start(text, self.folder)
        home = {
            "HOME": str(self.folder),
            "XDG_DATA_HOME": str(self.folder),
            "XDG_CONFIG_HOME": str(self.folder),
        }
        with (self.folder / "front.log").open("ab") as log:
            environ = ENVIRON | home | {"METERGATE_AUTHZ_TOKEN": TOKEN}
            return subprocess.Popen(
                words, cwd=self.folder, env=environ, stdout=log, stderr=log, start_new_session=True
            )

    def wait_until_it_answers(self) -> None:
        super().wait_until_it_answers()
        deadline = time.monotonic() + DEADLINE_S
        while time.monotonic() < deadline and not ended(self.front, within=0.02):
            with socket.socket() as attempt:
                if attempt.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
        raise AssertionError((self.folder / "front.log").read_text())


def _apart(place: str) -> str:
    """An address as Envoy writes it."""
    host, _, port = place.partition(":")
    return f"address: {host}, port_value: {port}}}"


def missing(kind: str) -> str:
    """Why a front cannot be tried here."""
    program = KINDS[kind].program
    return "" if shutil.which(program) else f"{program} is not installed here."


@contextmanager
def front(folder: Path, kind: str) -> Iterator[Front]:
    made = Front(folder, kind)
    with ExitStack() as stack:
        stack.callback(made.kept.close)
        stack.callback(kill, made.process)
        stack.callback(kill, made.front)
        made.wait_until_it_answers()
        yield made


def yaml_of(name: str) -> Any:
    return yaml.safe_load((ROOT / "deploy" / name).read_text(encoding="utf-8"))
