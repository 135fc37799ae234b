"""What is in order on this machine and what is not, a sentence each. It changes nothing."""

import asyncio
import os
import sqlite3
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from metergate import config, foundation
from metergate.cli.files import versions
from metergate.config import plugins, secret_files
from metergate.config import settings as environment
from metergate.config.settings import Settings
from metergate.core.policy import Policy
from metergate.errors import MetergateError
from metergate.ledger import keys
from metergate.ledger.database import Ledger
from metergate.ledger.migrations import HEAD
from metergate.ports import SharedStore
from metergate.store.folder import DataFolder

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
        found += _store(settings.store or policy.store, policy)
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
    try:
        url = foundation.ledger_url(policy, settings, folder)
        with closing(Ledger.open(url)) as ledger:
            yield from _revision(ledger, settings, folder, made_by_itself=url == folder.ledger_url)
    except MetergateError as error:
        yield Finding(False, str(error))


def _revision(
    ledger: Ledger, settings: Settings, folder: DataFolder, *, made_by_itself: bool
) -> Iterator[Finding]:
    found = ledger.revision()
    if found == HEAD:
        yield Finding(True, f"The ledger {ledger.name} is at revision {found}.")
        yield from _peppers(ledger, settings, folder.path)
    elif not found and made_by_itself:
        yield Finding(True, f"The ledger {ledger.name} is made at the first start.")
    else:
        at = f"at revision {found}" if found else "empty"
        yield Finding(False, f"The ledger {ledger.name} is {at}, not at {HEAD}: run metergate migrate.")


def _store(address: str, policy: Policy) -> Iterator[Finding]:
    """A store that processes share answers, and is set up for money."""
    try:
        name = plugins.adapter_of_store(address)
        if name:
            adapter = plugins.load_adapter(name, policy.enabled)
            yield asyncio.run(_asked(lambda: adapter.open_store(address, space="doctor", backlog=1)))
    except MetergateError as error:
        yield Finding(False, str(error))


async def _asked(make: Callable[[], SharedStore]) -> Finding:
    store = make()
    try:
        await store.connect()
        await store.standing()
        store.enter("doctor")  # what it says then of itself is about its server, and not about an epoch
        told = store.health()
    finally:
        await store.close()
    return Finding(True, f"The store ({told.name}) answers. {told.detail}".strip())


def _peppers(ledger: Ledger, settings: Settings, folder: Path) -> Iterator[Finding]:
    """Of keys that were made already, the pepper has to be there."""
    with ledger.read() as tx:
        if not keys.any_known(tx):
            return
    secret_files.peppers(settings, folder, has_keys=True)
    yield Finding(True, "The pepper of the stored keys is there.")
