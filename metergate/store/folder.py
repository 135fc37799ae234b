"""The data folder: who owns it, and what lies in it."""

import fcntl
import logging
import os
from pathlib import Path

from metergate.errors import ConfigurationError

log = logging.getLogger("metergate")

OWNED = (
    "The data folder {folder} is in use by another process. The embedded store belongs to one process: run a "
    "single worker, or give all processes one store (store: redis://…) and a ledger in PostgreSQL."
)


OTHERS_WRITE = 0o022


class DataFolder:
    """A folder that one process owns while it holds the lock; the kernel frees it when the process dies."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock: int | None = None

    @property
    def journal(self) -> Path:
        return self.path / "journal"

    @property
    def ledger_url(self) -> str:
        return f"sqlite:///{self.path / 'ledger.sqlite'}"

    @property
    def socket(self) -> Path:
        return self.path / "owner.sock"

    def create(self) -> None:
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise ConfigurationError(
                f"The data folder {self.path} cannot be made ({error.strerror}); "
                "choose another with METERGATE_DATA."
            ) from error
        if self.path.stat().st_mode & OTHERS_WRITE:
            log.warning(
                "Others may put their own secrets and sockets into %s: run chmod 700 on it.", self.path
            )

    def own(self) -> None:
        """Become the owner, or say who to be instead."""
        self.create()
        descriptor = os.open(self.path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(descriptor)
            raise ConfigurationError(OWNED.format(folder=self.path), reason="data_folder_in_use") from error
        self._lock = descriptor

    def disown(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
