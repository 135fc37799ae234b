"""What stands under a policy at work: counter store, ledger and worker of one place, opened once a process.

Several MeterGates over the same data folder share one foundation; the last to leave closes it.
"""

import asyncio
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Protocol
from weakref import WeakKeyDictionary

from metergate.config import secret_files
from metergate.config.plugins import adapter_of_store, load_adapter
from metergate.config.settings import Settings
from metergate.core.policy import Policy
from metergate.errors import ConfigurationError
from metergate.gate.call import Call
from metergate.gate.gate import RequestGate
from metergate.ledger import keys
from metergate.ledger.database import Ledger
from metergate.ledger.thread import LedgerThread
from metergate.ports import Clock
from metergate.store.embedded import EmbeddedStore
from metergate.store.folder import DataFolder
from metergate.store.journal import Journal
from metergate.worker.loop import Worker
from metergate.worker.recovery import Left, load, recover


def now_us() -> int:
    return time.time_ns() // 1000


class OnFolder(Protocol):
    """An engine, as far as those that share its foundation know it."""

    def loaded(self) -> Policy: ...

    def use(self, policy: Policy) -> None: ...

    async def answer_for_the_folder(self) -> None: ...


class Foundation:
    """An embedded store, its ledger and its worker."""

    def __init__(self, policy: Policy, settings: Settings, clock: Clock = now_us) -> None:
        self.settings = settings
        self.clock = clock
        self.gates: list[RequestGate] = []
        self.abandoned = False
        self.engines: list[OnFolder] = []
        """Who stands here; the first answers for the folder on its socket."""
        self.recovered: Left | None = None
        """What the process before this one left behind."""
        self.loop = asyncio.get_running_loop()
        self._policy = policy
        self._scratch = tempfile.TemporaryDirectory(prefix="metergate-") if policy.store == "memory" else None
        self.folder = folder_of(settings, Path(self._scratch.name) if self._scratch else None)

    async def open(self) -> None:
        """Own the folder, take over what a dead process left, and begin the worker's rounds."""
        self.folder.own()
        try:
            await self._open()
        except BaseException:
            self.folder.disown()
            raise
        if self.settings.worker:
            self.worker.start()

    async def _open(self) -> None:
        url = ledger_url(self._policy, self.settings, self.folder)
        self.ledger = LedgerThread(Ledger.open(url, durable=self._policy.fsync != "no"))
        await self.ledger.run(self._ready)
        self.recovered = await recover(self.folder.journal, self.ledger, self.clock)
        journal = self._journal()
        self.store = EmbeddedStore(journal, backlog=self._policy.backlog)
        await load(self.store, self.ledger, self.clock)
        if journal is not None:
            journal.forget_old()
        self.worker = Worker(self.store, self.ledger, self.clock, self._live, self.store)

    def _ready(self) -> None:
        """The SQLite ledger of a data folder is brought up to date by itself, a database of yours is not."""
        ledger = self.ledger.ledger
        if ledger.sqlite:
            ledger.migrate()
        else:
            ledger.check()
        with ledger.read() as tx:
            has_keys = keys.any_known(tx)
        self.peppers: Mapping[int, bytes] = secret_files.peppers(
            self.settings, self.folder.path, has_keys=has_keys
        )
        ledger.claim()

    def _journal(self) -> Journal | None:
        if self._scratch is not None:
            return None
        return Journal(self.folder.journal, fsync=self._policy.fsync)

    async def close(self) -> None:
        await self.worker.stop()
        self.store.close()
        await self.ledger.close()
        self.folder.disown()
        if self._scratch is not None:
            self._scratch.cleanup()

    def abandon(self) -> None:
        """Let go of everything without a loop to wait in."""
        self.store.close()
        self.ledger.ledger.close()
        self.folder.disown()

    def _live(self) -> Iterable[Call]:
        return [call for gate in self.gates for call in gate.live.values()]


def folder_of(settings: Settings, scratch: Path | None = None) -> DataFolder:
    return DataFolder((scratch or settings.data).absolute())


def ledger_url(policy: Policy, settings: Settings, folder: DataFolder) -> str:
    return settings.ledger or policy.ledger or folder.ledger_url


def _refuse_other_stores(policy: Policy) -> None:
    name = adapter_of_store(policy.store)
    if name:
        load_adapter(name, policy.enabled)
        raise ConfigurationError(f"The store {name} cannot be used by this version; leave `store:` out.")


_open: dict[Path, tuple[Foundation, int]] = {}
_turns: WeakKeyDictionary[asyncio.AbstractEventLoop, asyncio.Lock] = WeakKeyDictionary()


def _turn() -> asyncio.Lock:
    """Those who come and go at the same moment do so one after the other."""
    return _turns.setdefault(asyncio.get_running_loop(), asyncio.Lock())


async def join(policy: Policy, settings: Settings, clock: Clock = now_us) -> Foundation:
    """The foundation of a place, opened by whoever comes first."""
    _refuse_other_stores(policy)
    if policy.store == "memory":
        alone = Foundation(policy, settings, clock)
        await alone.open()
        return alone
    async with _turn():
        return await _join(folder_of(settings).path, policy, settings, clock)


async def _join(path: Path, policy: Policy, settings: Settings, clock: Clock) -> Foundation:
    known, users = _open.get(path, (None, 0))
    if known is not None and known.loop.is_closed():
        abandon(known)
        known, users = None, 0
    if known is not None and known.loop is not asyncio.get_running_loop():
        raise ConfigurationError(
            f"The data folder {path} is in use by another event loop of this process; give each loop its own "
            "folder with METERGATE_DATA."
        )
    if known is None:
        known = Foundation(policy, settings, clock)
        await known.open()
    _open[path] = (known, users + 1)
    return known


async def leave(foundation: Foundation) -> None:
    """Stop using a foundation; the last one closes it."""
    path = foundation.folder.path
    async with _turn():
        known, users = _open.get(path, (None, 1))
        if known is foundation and users > 1:
            _open[path] = (foundation, users - 1)
            return
        _open.pop(path, None)
        await foundation.close()


def abandon(foundation: Foundation) -> None:
    """Let go of a foundation whose event loop has been closed under it."""
    known, _ = _open.get(foundation.folder.path, (None, 0))
    if known is foundation:
        del _open[foundation.folder.path]
    if not foundation.abandoned:
        foundation.abandoned = True
        foundation.abandon()
