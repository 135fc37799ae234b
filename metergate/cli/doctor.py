"""What is in order on this machine and what is not, a sentence each. It changes nothing."""

import os
import sqlite3
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from metergate import config, foundation
from metergate.cli.files import versions
from metergate.config import secret_files
from metergate.config import settings as environment
from metergate.config.settings import Settings
from metergate.core.policy import Policy
from metergate.errors import MetergateError
from metergate.ledger import keys
from metergate.ledger.database import Ledger
from metergate.ledger.migrations import HEAD

SQLITE_MIN = (3, 37)
"""The first with STRICT tables."""
SECRETS = ("pepper", "admin-token", "ledger.sqlite", "ledger.sqlite.lock")


class Finding(NamedTuple):
    ok: bool
    sentence: str


def findings(named: str) -> list[Finding]:
    found = [*_versions()]
    found += [Finding(False, sentence) for sentence in environment.unknown(os.environ)]
    try:
        settings = environment.read(os.environ)
    except MetergateError as error:
        return [*found, Finding(False, str(error))]
    found.append(Finding(True, "The METERGATE_ settings can be read."))
    policy = _policy(named or settings.policy, found)
    found += _folder(foundation.folder_of(settings).path)
    if policy is not None:
        found += _ledger(policy, settings)
    return found


def _versions() -> Iterator[Finding]:
    told = versions()
    yield Finding(sys.version_info >= (3, 11), f"metergate {told.metergate} runs on Python {told.python}.")
    if sqlite3.sqlite_version_info >= SQLITE_MIN:
        yield Finding(True, f"SQLite is {told.sqlite}.")
    else:
        yield Finding(False, f"SQLite is {told.sqlite}; use a Python with SQLite 3.37 or newer.")


def _policy(name: str, found: list[Finding]) -> Policy | None:
    if not name:
        found.append(
            Finding(True, "No policy is named; --policy FILE or METERGATE_POLICY looks it over too.")
        )
        return None
    problems = config.check(name)
    found += [Finding(problem.warning, str(problem)) for problem in problems]
    if not all(problem.warning for problem in problems):
        return None
    found.append(Finding(True, f"The policy {name} can be used."))
    return config.load(name)


def _folder(path: Path) -> Iterator[Finding]:
    if not path.exists():
        yield Finding(
            os.access(_nearest(path), os.W_OK), f"The data folder {path} is made at the first start."
        )
        return
    if not os.access(path, os.R_OK | os.W_OK | os.X_OK):
        yield Finding(False, f"Make the data folder {path} readable and writable for this user.")
        return
    yield Finding(True, f"The data folder {path} can be used.")
    yield _private(path, 0o700)
    for file in (path / name for name in SECRETS):
        if file.exists():
            yield _private(file, 0o600)


def _private(path: Path, wanted: int) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    safe = not mode & 0o077
    advice = "its owner alone may read it" if safe else f"run chmod {wanted:o} {path}"
    return Finding(safe, f"{path} has the mode {mode:04o}: {advice}.")


def _nearest(path: Path) -> Path:
    """The folder that would hold it."""
    return next(parent for parent in path.parents if parent.exists())


def _ledger(policy: Policy, settings: Settings) -> Iterator[Finding]:
    folder = foundation.folder_of(settings)
    url = foundation.ledger_url(policy, settings, folder)
    try:
        ledger = Ledger.open(url)
        found = ledger.revision()
        if found == HEAD:
            yield Finding(True, f"The ledger {ledger.name} is at revision {found}.")
            yield from _peppers(ledger, settings, folder.path)
            return
    except MetergateError as error:
        yield Finding(False, str(error))
        return
    if not found and url == folder.ledger_url:
        yield Finding(True, f"The ledger {ledger.name} is made at the first start.")
        return
    at = f"at revision {found}" if found else "empty"
    yield Finding(False, f"The ledger {ledger.name} is {at}, not at {HEAD}: run metergate migrate.")


def _peppers(ledger: Ledger, settings: Settings, folder: Path) -> Iterator[Finding]:
    """Of keys that were made already, the pepper has to be there."""
    with ledger.read() as tx:
        if not keys.any_known(tx):
            return
    secret_files.peppers(settings, folder, has_keys=True)
    yield Finding(True, "The pepper of the stored keys is there.")
