"""Secrets that nobody gave: made once, and kept in the data folder for their owner only."""

import os
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

from metergate.config.settings import Settings
from metergate.errors import ConfigurationError


def peppers(settings: Settings, folder: Path, *, has_keys: bool = False) -> Mapping[int, bytes]:
    """The secrets of stored keys by version, from 1; keys are made with the highest.

    None is made for a ledger that has keys: with another pepper nobody would recognise them any more.
    """
    given = settings.peppers or (kept(folder, "pepper", make=not has_keys),)
    return {version: pepper.encode() for version, pepper in enumerate(given, start=1)}


def admin_token(settings: Settings, folder: Path) -> str:
    """The token of the admin API."""
    return settings.admin_token or kept(folder, "admin-token")


def kept(folder: Path, name: str, *, make: bool = True) -> str:
    """The secret in the folder; made when it is not there and may be."""
    path = folder / name
    try:
        try:
            return _read(path)
        except FileNotFoundError:
            if not make:
                variable = f"METERGATE_{name.upper().replace('-', '_')}"
                raise ConfigurationError(
                    f"Restore {path} from a backup or set {variable}: "
                    "the ledger has keys that only work with what it held."
                ) from None
            _make(path)
            return _read(path)
    except OSError as error:
        raise ConfigurationError(
            f"Make {path} readable and its folder writable for this user: {error.strerror}."
        ) from error


def _read(path: Path) -> str:
    with path.open(encoding="utf-8") as file:
        found = os.fstat(file.fileno())
        if stat.S_IMODE(found.st_mode) & 0o077:
            raise ConfigurationError(f"Let nobody but the owner read {path}: chmod 600 {path}")
        if found.st_uid not in (os.geteuid(), 0, path.parent.stat().st_uid):
            raise ConfigurationError(f"Somebody else made {path}: find out who, and delete it or own it.")
        value = file.read().strip()
    if not value:
        raise ConfigurationError(
            f"Restore {path} from a backup: it is empty. (A new one is made when it is deleted.)"
        )
    return value


def _make(path: Path) -> None:
    keep(path, secrets.token_hex(32))


def keep(path: Path, secret: str) -> None:
    """Write a secret for its owner alone; one that is there already stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(secret + "\n")
        file.flush()
        os.fsync(descriptor)
    try:
        # A link is made whole or not at all: of two processes that begin together both read the same secret.
        path.hardlink_to(draft)
    except FileExistsError:
        pass
    finally:
        draft.unlink()
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
