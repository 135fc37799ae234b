"""What `metergate doctor` asks of the ledger, of the store and of a running service. It changes nothing."""

import asyncio
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from metergate import foundation
from metergate.admin import answering
from metergate.cli.findings import Finding, of_dangers
from metergate.config import plugins, secret_files
from metergate.config.settings import Settings
from metergate.core.policy import Policy
from metergate.errors import MetergateError
from metergate.ledger import apart, chain, keys, surroundings
from metergate.ledger.database import Ledger
from metergate.ledger.migrations import HEAD
from metergate.ports import Danger, SharedStore, Timed
from metergate.store import journal
from metergate.store.folder import DataFolder
from metergate.store.journals import Journals

APART_US = 10**6
"""How much two clocks may differ before somebody should know."""


def of_ledger(policy: Policy, settings: Settings) -> Iterator[Finding]:
    folder = foundation.folder_of(settings)
    strict = policy.profile == "strict"
    try:
        url = foundation.ledger_url(policy, settings, folder)
        with closing(Ledger.open(url)) as ledger:
            made = yield from _revision(ledger, made_by_itself=url == folder.ledger_url)
            if ledger.sqlite:
                yield from of_dangers(surroundings.dangers(ledger), strict=strict)
            if made:
                yield from _contents(ledger, settings, folder.path)
                if not ledger.sqlite:
                    yield from of_dangers(surroundings.dangers(ledger), strict=strict)
                    yield _clock("the ledger's database", _time_at(ledger))
    except MetergateError as error:
        yield Finding(False, str(error))


def _revision(ledger: Ledger, *, made_by_itself: bool) -> Generator[Finding, None, bool]:
    """Answers whether it is at the revision of this program."""
    found = ledger.revision()
    if found == HEAD:
        version = ledger.health().version
        yield Finding(True, f"The ledger {ledger.name} is at revision {found} ({version}).")
        return True
    if made_by_itself:
        how = "migrated" if found else "made"
        yield Finding(True, f"The ledger {ledger.name} is {how} at the next start.")
    else:
        at = f"at revision {found}" if found else "empty"
        yield Finding(False, f"The ledger {ledger.name} is {at}, not at {HEAD}: run metergate migrate.")
    return False


def _contents(ledger: Ledger, settings: Settings, folder: Path) -> Iterator[Finding]:
    with ledger.read() as tx:
        known, aside = keys.any_known(tx), apart.waiting(tx)
        head, unchained = chain.head(tx), chain.unchained(tx)
    if known:  # of keys that were made already, the pepper has to be there
        secret_files.peppers(settings, folder, has_keys=True)
        yield Finding(True, "The pepper of the stored keys is there.")
    if aside:
        yield Finding(
            False,
            f"{aside} usage events were set aside and not posted: see docs/runbook.md#usage-was-set-aside.",
        )
    yield Finding(
        True, f"The chain over the ledger has {head.link} links; {unchained} rows wait for the next."
    )


def _time_at(ledger: Ledger) -> int:
    with ledger.read() as tx:
        return int(tx.sql("SELECT extract(epoch FROM clock_timestamp()) * 1000000").scalar_one())


def _clock(whose: str, there_us: int) -> Finding:
    apart_us = abs(there_us - time.time_ns() // 1000)
    told = f"The clock here and that of {whose} are {apart_us / 10**6:.3f} seconds apart"
    if apart_us <= APART_US:
        return Finding(True, f"{told}.")
    return Finding(False, f"{told}: let one time service set both.")


def of_store(address: str, policy: Policy) -> Iterator[Finding]:
    """A store that processes share answers, and is set up for money."""
    try:
        name = plugins.adapter_of_store(address)
        if name:
            adapter = plugins.load_adapter(name, policy.enabled)
            more = {"strict": True} if policy.profile == "strict" else {}
            asked = _asked(lambda: adapter.open_store(address, space="doctor", backlog=1, **more))
            yield from asyncio.run(asked)
    except MetergateError as error:
        yield Finding(False, str(error))


async def _asked(make: Callable[[], SharedStore]) -> list[Finding]:
    store = make()
    try:
        await store.connect()
        await store.standing()
        store.enter("doctor")  # what it says then of itself is about its server, and not about an epoch
        told = store.health()
        there_us = await store.time_us() if isinstance(store, Timed) else None
    finally:
        await store.close()
    found = [Finding(True, f"The store ({told.name}) answers.")]
    found += of_dangers(map(Danger, told.warnings), strict=False)
    return found if there_us is None else [*found, _clock("the store", there_us)]


def of_journals(policy: Policy, settings: Settings) -> Iterator[Finding]:
    """Of processes of this machine that share a store and have died: somebody has to end their calls."""
    folder = foundation.folder_of(settings)
    place = foundation.journals_folder(settings, folder)
    if not plugins.adapter_of_store(settings.store or policy.store):
        return
    if place is None:
        told = "No journals are kept, so what the store loses is lost: unset METERGATE_JOURNAL to keep them."
        yield Finding(True, told, mind=True)
        return
    left = 0
    for store in place.glob("*"):
        for orphan in Journals(store).orphans():
            orphan.leave()
            left += 1
    if not left:
        yield Finding(True, f"No process has left its journal behind in {place}.")
        return
    yield Finding(
        False,
        f"{left} processes are gone and have left their journals in {place}: start a worker that shares this "
        "store and folder, or run metergate recover.",
    )


def of_service(folder: DataFolder) -> Iterator[Finding]:
    """What runs here, and how much waits; or what the last process left."""
    try:
        health = asyncio.run(_health(folder.path))
    except MetergateError as error:
        yield Finding(False, str(error))
        return
    if health is None:
        left = len(journal.segment_numbers(folder.journal)) if folder.journal.is_dir() else 0
        told = f"; the next start takes over {left} journal segments" if left else ""
        yield Finding(True, f"No service runs in {folder.path}{told}.")
        return
    store, worker = health["store"], health["worker"]
    waiting = f"{store['backlog']} usage events wait for the ledger and {store['open_holds']} calls are open"
    yield Finding(True, f"A service runs in {folder.path}: {waiting}.")
    for name in ("store", "ledger", "worker"):
        if health[name]["state"] != "ok":
            why = health[name].get("detail", "")
            yield Finding(False, f"The {name} of the service is not well: {why or 'see its log'}")
    if worker["state"] == "ok":
        yield Finding(True, "Its worker does its work.")


async def _health(folder: Path) -> dict[str, Any] | None:
    running = await answering(folder)
    return await running[0].do("health", {}) if running else None
