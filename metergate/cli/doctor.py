"""What is in order on this machine and what is not, a sentence each. It changes nothing."""

import os
import sqlite3
import stat
import sys
from collections.abc import Iterator
from pathlib import Path

from metergate import config, foundation
from metergate.cli import examination, payees
from metergate.cli.files import versions
from metergate.cli.findings import Finding, of_dangers
from metergate.config import plugins
from metergate.config import settings as environment
from metergate.config.settings import Settings
from metergate.core.policy import Policy
from metergate.errors import MetergateError
from metergate.ledger.surroundings import STRICT_TABLES
from metergate.store import disk

SECRET_MIN = 16
"""Fewer characters can be guessed; what metergate makes itself has 64."""
SECRETS = ("pepper", "admin-token", "ledger.sqlite", "ledger.sqlite.lock")


def findings(named: str) -> list[Finding]:
    found = [*_versions()]
    found += [Finding(False, sentence) for sentence in environment.unknown(os.environ)]
    try:
        settings = environment.read(os.environ)
    except MetergateError as error:
        return [*found, Finding(False, str(error))]
    found.append(Finding(True, "The METERGATE_ settings can be read."))
    found += _secrets(settings)
    policy = _policy(named or settings.policy, found)
    folder = foundation.folder_of(settings)
    found += _folder(folder.path)
    if policy is not None:
        found += _disks(settings, policy)
        found += examination.of_ledger(policy, settings)
        found += examination.of_store(settings.store or policy.store, policy)
        found += examination.of_journals(policy, settings)
        found += payees.of_providers(policy, settings)
    found += examination.of_service(folder)
    return found


def _secrets(settings: Settings) -> Iterator[Finding]:
    """Those that were given are long enough; the others are made by metergate."""
    given = {
        "METERGATE_PEPPER": settings.peppers,
        "METERGATE_ADMIN_TOKEN": (settings.admin_token,),
        "METERGATE_AUTHZ_TOKEN": (settings.authz_token,),
    }
    for name, values in given.items():
        weak = [value for value in values if value and (len(value) < SECRET_MIN or len(set(value)) < 8)]
        if weak:
            yield Finding(
                False, f"{name} can be guessed: give it 64 random characters (openssl rand -hex 32)."
            )
        elif any(values):
            yield Finding(True, f"{name} is given, and long enough.")


def _disks(settings: Settings, policy: Policy) -> Iterator[Finding]:
    """Where the data folder is, and where journals are kept beside it."""
    folder, store = foundation.folder_of(settings), settings.store or policy.store
    shared = bool(plugins.adapter_of_store(store))
    journals = foundation.journals_folder(settings, folder) if shared else folder.path
    keeps = folder.path == journals and store != "memory"
    yield from _disk(folder.path, "the data folder is", policy, keeps=keeps)
    if journals is not None and journals != folder.path:
        yield from _disk(journals, "the journals are", policy, keeps=True)


def _disk(path: Path, what: str, policy: Policy, *, keeps: bool) -> Iterator[Finding]:
    """`keeps` says that what nobody may lose is written there."""
    place = path if path.exists() else _nearest(path)
    if keeps:
        yield from of_dangers(disk.of_folder(place), strict=policy.profile == "strict")
    free = disk.free_bytes(place)
    told = f"{free // 1024**2} MB are free where {what}"
    yield Finding(
        free >= disk.LEAST_BYTES,
        f"{told}." if free >= disk.LEAST_BYTES else f"{told}: make room, or journals cannot be written.",
    )


def _versions() -> Iterator[Finding]:
    told = versions()
    yield Finding(sys.version_info >= (3, 11), f"metergate {told.metergate} runs on Python {told.python}.")
    if sqlite3.sqlite_version_info >= STRICT_TABLES:
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
    policy = config.load(name)
    found.append(Finding(True, f"The policy {name} can be used; its profile is {policy.profile}."))
    return policy


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
