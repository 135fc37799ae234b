"""The journals of the processes of one machine that share a store: a folder each, locked by its process.

The kernel frees the lock when the process dies. A folder whose lock is free is an orphan, and belongs to
whoever takes the lock next: it ends what the dead process had begun, and removes the folder.
"""

import fcntl
import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from weakref import WeakSet

from metergate.errors import ConfigurationError

LOCK = "lock"
EPOCH = "epoch"
LEFT = -1


class Claim:
    """A journal folder that is this process's own, for as long as it holds the lock."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self._lock = lock

    def entered(self, epoch: str) -> None:
        """Note in which epoch the store has heard of all holds that are written here, where there is room."""
        with suppress(OSError):
            (self.path / EPOCH).write_text(epoch)

    def was_in(self, epoch: str) -> bool:
        """Whether it was this one; where that is not known the store may have lost them."""
        try:
            return (self.path / EPOCH).read_text() == epoch != ""
        except OSError:
            return False

    def leave(self) -> None:
        """Let whoever comes next have it."""
        lock, self._lock = self._lock, LEFT
        if lock != LEFT:
            os.close(lock)

    def remove(self) -> None:
        shutil.rmtree(self.path, ignore_errors=True)
        self.leave()


class Journals:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._claims: WeakSet[Claim] = WeakSet()

    def create(self) -> None:
        try:
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            if not os.access(self.folder, os.W_OK | os.X_OK):
                raise PermissionError(0, "nothing can be written there")
        except OSError as error:
            raise ConfigurationError(
                f"No journal can be kept in {self.folder} ({error.strerror}); choose another folder with "
                "METERGATE_JOURNAL."
            ) from error

    def begin(self) -> Claim:
        """A new folder. It has its lock before it has its name, so nobody takes it for an orphan."""
        name = secrets.token_hex(8)
        draft = self.folder / f".{name}"
        draft.mkdir(mode=0o700, parents=True)
        lock = os.open(draft / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            draft.rename(self.folder / name)
        except OSError:
            os.close(lock)
            shutil.rmtree(draft, ignore_errors=True)
            raise
        return self._own(Claim(self.folder / name, lock))

    def all(self) -> list[Path]:
        """Every folder, whether its process lives or not."""
        return sorted(path.parent for path in self.folder.glob(f"*/{LOCK}") if path.parent.name[0] != ".")

    def orphans(self) -> Iterator[Claim]:
        """Folders of processes that have died, each claimed for the caller."""
        for path in self.all():
            claim = taken(path)
            if claim is not None:
                yield self._own(claim)

    def leave(self) -> None:
        """Let others have all that was begun or claimed here: nobody is left who could end it."""
        for claim in tuple(self._claims):
            claim.leave()

    def _own(self, claim: Claim) -> Claim:
        self._claims.add(claim)
        return claim


def found_below(folder: Path) -> list[Path]:
    """Folders with a journal in them, wherever below they were copied to."""
    return sorted({path.parent for path in folder.glob("**/*.journal")})


def taken(folder: Path, *, copied: bool = False) -> Claim | None:
    """The folder as one's own; None while its process lives, or somebody else is at it.

    One that was `copied` may lack the file that is locked.
    """
    try:
        lock = os.open(folder / LOCK, os.O_RDWR | os.O_CLOEXEC | (os.O_CREAT if copied else 0), 0o600)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock).st_nlink:  # else who had it before has removed it
            return Claim(folder, lock)
    except BlockingIOError:
        pass
    os.close(lock)
    return None
