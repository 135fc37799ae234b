"""A Valkey that may be killed, frozen, emptied, set back, and followed by a replica that is behind."""

import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.valkey import KEEPING, Server, command, valkey_binary, wait_for


class Valkey(Server):
    def freeze(self) -> None:
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: int) -> None:
        if self.process is not None:
            self.process.send_signal(number)

    def restart(self) -> None:
        self.kill()
        self.start()

    def lose_the_tail(self, size: int) -> int:
        """Killed, and started without the last bytes of its newest file, as after a power failure."""
        self.kill()
        newest = max(
            (self.folder / "appendonlydir").glob("*.incr.aof"), key=lambda path: path.stat().st_mtime
        )
        whole = newest.stat().st_size
        with newest.open("r+b") as file:
            file.truncate(max(0, whole - size))
        self.start()
        return min(size, whole)

    def say(self, *words: str) -> bytes:
        return command(self, *words)


@contextmanager
def valkey() -> Iterator[Valkey]:
    with TemporaryDirectory(prefix="metergate-valkey-") as folder:
        server = Valkey(valkey_binary(), Path(folder), (*KEEPING, "--maxmemory", "1gb"))
        try:
            server.start()
            yield server
        finally:
            server.thaw()
            server.kill()


@contextmanager
def replica(master: Valkey) -> Iterator[Valkey]:
    """A server that copies another one."""
    with valkey() as server:
        server.say("REPLICAOF", "127.0.0.1", str(master.port))
        wait_for(lambda: b"master_link_status:up" in server.say("INFO", "replication"))
        yield server


def take_the_place(stale: Valkey, of: Valkey) -> None:
    """A replica that was behind becomes the master, under the master's address."""
    stale.say("REPLICAOF", "NO", "ONE")
    wait_for(lambda: b"aof_rewrite_in_progress:0" in stale.say("INFO", "persistence"))
    stale.kill()
    of.kill()
    shutil.rmtree(of.folder / "appendonlydir")
    shutil.copytree(stale.folder / "appendonlydir", of.folder / "appendonlydir")
    of.start()
