"""What stands under a policy at work: counter store, ledger and worker of one place."""

import asyncio
import logging
import tempfile
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from metergate import alarms
from metergate.asgi.types import Receive, Scope, Send
from metergate.config import secret_files
from metergate.config.plugins import adapter_of_store, load_adapter
from metergate.config.settings import Settings
from metergate.core.policy import Policy
from metergate.errors import ConfigurationError, StoreUnavailable
from metergate.gate.call import Call
from metergate.gate.gate import RequestGate
from metergate.gate.watching import Watch
from metergate.ledger import epochs, keys, peppers, surroundings
from metergate.ledger.database import Ledger
from metergate.ledger.thread import LedgerThread
from metergate.ports import Clock, CounterStore, Danger, Hold, Settle, SharedStore, Timed
from metergate.store.disk import of_folder
from metergate.store.embedded import EmbeddedStore
from metergate.store.folder import DataFolder
from metergate.store.journal import Journal
from metergate.store.journalled import Journalled
from metergate.store.journals import Journals
from metergate.worker.entrance import Sharing
from metergate.worker.lookout import mind
from metergate.worker.loop import Worker
from metergate.worker.recovery import Recovered, load, recover
from metergate.worker.reviving import Reviving

log = logging.getLogger("metergate")

START_S = 5.0
"""How long a process waits at its start for a store that is being filled."""


def now_us() -> int:
    return time.time_ns() // 1000


class OnFolder(Protocol):
    """An engine, as far as those that share its foundation know it."""

    watch: Watch

    def loaded(self) -> Policy: ...

    def use(self, policy: Policy) -> None: ...

    def numbers(self) -> Mapping[str, list[list[Any]]]: ...

    async def answer_for_the_folder(self) -> None: ...

    async def decide(self, scope: Scope, receive: Receive, send: Send) -> None: ...


class Foundation(ABC):
    """A counter store, its ledger and its worker."""

    place: str
    """What engines that share it have in common."""
    ledger: LedgerThread
    store: CounterStore
    worker: Worker

    def __init__(self, policy: Policy, settings: Settings, clock: Clock = now_us) -> None:
        self.settings = settings
        self.clock = clock
        self.gates: list[RequestGate] = []
        self.engines: list[OnFolder] = []
        """Who stands here; the first answers for the folder on its socket."""
        self.recovered: Recovered | None = None
        """What the process before this one left behind."""
        self.shared: SharedStore | None = None
        """The store, where other processes use it too."""
        self.loop = asyncio.get_running_loop()
        self.folder = folder_of(settings)
        self.peppers: Mapping[int, bytes] = {}
        self._policy = policy
        self._lost: list[Settle] = []

    @property
    @abstractmethod
    def held(self) -> Callable[[str], int] | None:
        """Says what an account's open calls have set aside; None where other processes have calls too."""

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    @abstractmethod
    def abandon(self) -> None:
        """Let go of everything without a loop to wait in."""

    def dismiss(self, gate: RequestGate) -> None:
        """A gate serves no more; what the store did not know of its calls is kept."""
        self.gates.remove(gate)
        self._lost += gate.endings.lost()

    def _open_ledger(self, url: str) -> LedgerThread:
        return LedgerThread(Ledger.open(url, durable=self._policy.fsync != "no"))

    def _look_around(self) -> None:
        """Refuse what loses money, and in the profile `strict` what could; warn of the rest."""
        found = surroundings.dangers(self.ledger.ledger)
        path = self.ledger.ledger.path
        for place in {
            self._journal_place(),
            path.parent if path and self._policy.store != "memory" else None,
        }:
            found += of_folder(place) if place is not None else []
        mind(found, strict=self._policy.profile == "strict")

    @abstractmethod
    def _journal_place(self) -> Path | None:
        """Where this process keeps its journal, if it keeps one."""

    def _know_peppers(self) -> None:
        with self.ledger.ledger.read() as tx:
            has_keys = keys.any_known(tx)
        self.peppers = secret_files.peppers(self.settings, self.folder.path, has_keys=has_keys)
        with self.ledger.ledger.write() as tx:
            peppers.prove(tx, self.peppers)

    def _live(self) -> Iterable[Call]:
        return [call for gate in self.gates for call in gate.live.values()]


class Embedded(Foundation):
    """The embedded store of one data folder, which this process owns."""

    store: EmbeddedStore

    def __init__(self, policy: Policy, settings: Settings, clock: Clock = now_us) -> None:
        super().__init__(policy, settings, clock)
        self._scratch = tempfile.TemporaryDirectory(prefix="metergate-") if policy.store == "memory" else None
        if self._scratch is not None:
            self.folder = folder_of(settings, Path(self._scratch.name))
        self.place = str(self.folder.path)

    @property
    def held(self) -> Callable[[str], int]:
        return self.store.held

    async def open(self) -> None:
        """Own the folder, take over what a dead process left, and begin the worker's rounds."""
        self.folder.own()
        try:
            self.ledger = self._open_ledger(ledger_url(self._policy, self.settings, self.folder))
            await self._open()
        except BaseException:
            if hasattr(self, "ledger"):
                await self.ledger.close()
            self.folder.disown()
            raise
        if self.settings.worker:
            self.worker.start()

    async def _open(self) -> None:
        await self.ledger.run(self._ready)
        self.recovered = await recover(self.folder.journal, self.ledger, self.clock)
        journal = self._journal()
        self.store = EmbeddedStore(journal, backlog=self._policy.backlog)
        await load(self.store, self.ledger, self.clock)
        await Reviving(self.store, self.ledger, self.clock).hold_again(self.recovered.standing)
        if journal is not None:
            journal.forget_old()
        self.worker = Worker(
            self.store, self.ledger, self.clock, self._live, self.store, backlog=self._policy.backlog
        )

    def _ready(self) -> None:
        """The SQLite ledger of a data folder is brought up to date by itself, a database of yours is not."""
        ledger = self.ledger.ledger
        if ledger.sqlite:
            ledger.migrate()
        else:
            ledger.check()
        self._look_around()
        self._know_peppers()
        ledger.claim()
        with ledger.write() as tx:
            epochs.begin(tx, "")  # what a shared store holds is no longer what the ledger says

    def _journal_place(self) -> Path | None:
        return None if self._scratch is not None else self.folder.path

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
        self.store.close()
        self.ledger.ledger.close()
        self.folder.disown()


class Shared(Foundation):
    """A store that other processes use too, over a ledger in PostgreSQL."""

    def __init__(self, policy: Policy, settings: Settings, clock: Clock = now_us) -> None:
        super().__init__(policy, settings, clock)
        self._adapter = load_adapter(adapter_of_store(policy.store), policy.enabled)
        self._url = ledger_url(policy, settings, self.folder)
        self.journals: Journals | None = None
        self.journalled: Journalled | None = None
        # Where processes share, so may the event loops of one.
        self.place = f"{policy.store} {self._url} {id(self.loop)}"

    @property
    def held(self) -> None:
        return None

    async def open(self) -> None:
        """Reach the store, be let in or fill it, and begin the worker's rounds.

        Where the store is away the process begins all the same, and lets calls in when it is there.
        """
        self.ledger = self._open_ledger(self._url)
        try:
            space = await self.ledger.run(self._ready)
            await self._reach(space)
        except BaseException:
            await self.ledger.close()
            raise
        self.worker.start()

    def _ready(self) -> str:
        ledger = self.ledger.ledger
        ledger.check()
        self._look_around()
        self._know_peppers()
        ledger.claim(shared=True)
        with ledger.read() as tx:
            return epochs.space(tx)

    async def _reach(self, space: str) -> None:
        policy = self._policy
        more = {"strict": True} if policy.profile == "strict" else {}
        bare: SharedStore = self._adapter.open_store(
            policy.store, space=space, backlog=policy.backlog, **more
        )
        shared = self._with_journal(bare, space)
        self.store = self.shared = shared
        errands, there = self.settings.worker, bare.time_us if isinstance(bare, Timed) else None
        sharing = Sharing(
            shared, self._running, self._ends_lost, errands, self.journalled, self.journals, there
        )
        self.worker = Worker(
            shared, self.ledger, self.clock, self._live, self.journalled, sharing, policy.backlog
        )
        try:
            await shared.connect()
            mind(map(Danger, shared.health().warnings))
            await self.worker.be_let_in(START_S)
        except StoreUnavailable as error:
            sentence = f"Metered calls are answered with 503 until the store can be used: {error}"
            alarms.tell(log, alarms.STORE_AWAY, sentence)
        except BaseException:
            await shared.close()
            raise

    def _journal_place(self) -> Path | None:
        place = journals_folder(self.settings, self.folder)
        if place is None and self._policy.profile == "strict":
            raise ConfigurationError("Unset METERGATE_JOURNAL: the profile strict needs a journal.")
        return place

    def _with_journal(self, bare: SharedStore, space: str) -> SharedStore:
        folder = journals_folder(self.settings, self.folder)
        if folder is None:
            return bare
        self.journals = Journals(folder / space)
        self.journals.create()
        self.journalled = Journalled(bare, self.journals, self._policy.fsync)
        return self.journalled

    async def close(self) -> None:
        await self.worker.stop()
        assert self.shared is not None
        await self.shared.close()
        await self.ledger.close()

    def abandon(self) -> None:
        if self.journalled is not None and self.journals is not None:
            self.journalled.abandon()
            self.journals.leave()
        self.ledger.ledger.close()

    def _running(self) -> Sequence[Hold]:
        now_us = self.clock()
        return [call.as_hold(now_us) for call in self._live()]

    def _ends_lost(self) -> Sequence[Settle]:
        lost, self._lost = self._lost, []
        return [*lost, *(end for gate in self.gates for end in gate.endings.lost())]


def folder_of(settings: Settings, scratch: Path | None = None) -> DataFolder:
    return DataFolder((scratch or settings.data).absolute())


def journals_folder(settings: Settings, folder: DataFolder) -> Path | None:
    """Where processes of this machine that share a store keep their journals; None where they keep none."""
    if settings.journal == "off":
        return None
    return Path(settings.journal).absolute() if settings.journal else folder.path / "journals"


def ledger_url(policy: Policy, settings: Settings, folder: DataFolder) -> str:
    url = settings.ledger or policy.ledger or folder.ledger_url
    if adapter_of_store(settings.store or policy.store) and not url.startswith("postgres"):
        raise ConfigurationError(
            "A store that several processes share needs a ledger that they can share: set `ledger:` in the "
            "policy or METERGATE_LEDGER to a PostgreSQL database, such as postgresql://localhost/metergate."
        )
    return url
