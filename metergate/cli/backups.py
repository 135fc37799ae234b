"""What `metergate backup` and `metergate restore` do."""

import asyncio
import contextlib
import os
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import click

from metergate import config, foundation
from metergate.cli import asking, show
from metergate.cli.files import versions
from metergate.config import secret_files
from metergate.config import settings as environment
from metergate.config.settings import Settings
from metergate.core.periods import rfc3339
from metergate.errors import ConfigurationError, MetergateError
from metergate.ledger import accounts, chain, push_windows, pushes
from metergate.ledger import backup as backups
from metergate.ledger.backup import Ended, Made
from metergate.ledger.database import Ledger
from metergate.ledger.verify import verify
from metergate.store.folder import DataFolder

SEPARATE = "The pepper is not in it: keep METERGATE_PEPPER, or the file `pepper`, with it."


class Place(NamedTuple):
    settings: Settings
    folder: DataFolder
    url: str

    @property
    def embedded(self) -> bool:
        """Whether the ledger is the one of the data folder."""
        return self.url == self.folder.ledger_url


def backup(target: str, policy: str, *, with_pepper: bool, as_json: bool) -> None:
    place = _place(policy)
    path = _target(Path(target))
    asyncio.run(_gathered(policy))
    with closing(Ledger.open(place.url)) as ledger:
        if not ledger.revision():
            raise ConfigurationError(f"There is no ledger {ledger.name} yet, and nothing to back up.")
        backups.make(
            ledger, path, Made(foundation.now_us(), versions().metergate, _peppers(place, with_pepper))
        )
    told = _looked_over(path) | {"backup": str(path), "bytes": path.stat().st_size, "pepper": with_pepper}
    if as_json:
        show.as_json(told)
    else:
        click.echo(f"Wrote {path}: {told['accounts']} accounts, {told['bytes']} bytes; the chain's head is")
        click.echo(f"{told['head']}. " + ("It holds the pepper: guard it." if with_pepper else SEPARATE))


async def _gathered(policy: str) -> None:
    """What was settled up to now is in the ledger, where a service runs or a journal is left."""
    async with asking.office(policy) as office:
        await office.do("ledger.head", {})


def restore(source: str, policy: str, *, replace: bool, keys: str | None, as_json: bool) -> None:
    place, file = _place(policy), Path(source)
    made = backups.read(file)
    if place.embedded:
        told = _into_folder(place, file, made, keys, replace=replace)
    else:
        told = _into_database(place, file, made, keys)
    if as_json:
        show.as_json(told)
        return
    click.echo(f"The ledger is that of {told['from']}; what was used since is not in it.")
    click.echo(
        f"{told['ended']} keys and accounts were ended; {told['active']} keys are active. {told['next']}"
    )


def _into_folder(
    place: Place, file: Path, made: Made, choice: str | None, *, replace: bool
) -> dict[str, Any]:
    place.folder.own()  # nobody serves from it meanwhile
    try:
        present = place.folder.path / "ledger.sqlite"
        if present.exists() and not replace:
            raise ConfigurationError(
                f"There is a ledger {present} already: add --replace to put it aside, or name another folder "
                "with METERGATE_DATA."
            )
        known = _ended_in(place.url) if present.exists() else None
        draft = present.with_name("ledger.sqlite.restored")
        try:
            told = _prepared(file, draft, made, known, choice)
            _put_aside(present)
            draft.rename(present)
        finally:
            backups.discard(draft)
        _keep_pepper(place, made)
        return told | {"next": "Start the service; what its journal still holds is posted."}
    finally:
        place.folder.disown()


def _into_database(place: Place, file: Path, made: Made, choice: str | None) -> dict[str, Any]:
    place.folder.create()
    draft = place.folder.path / f"restored-{os.getpid()}.sqlite"
    try:
        told = _prepared(file, draft, made, None, choice)
        with closing(Ledger.open(f"sqlite:///{draft}")) as copy, closing(Ledger.open(place.url)) as ledger:
            ledger.migrate()
            backups.put_into(copy, ledger)
        _keep_pepper(place, made)
    finally:
        backups.discard(draft)
    return told | {"next": "Start the processes; the counters are filled from it."}


def _prepared(file: Path, draft: Path, made: Made, known: Ended | None, choice: str | None) -> dict[str, Any]:
    """The backup as a ledger beside its place, with everybody kept out who has to be."""
    now_us = foundation.now_us()
    with closing(backups.opened(file, draft)) as ledger:
        with ledger.write() as tx:
            active = backups.active_keys(tx)
            if active and known is None and choice is None:
                raise ConfigurationError(
                    f"{len(active)} keys are active in this backup, and those that were revoked after "
                    f"{rfc3339(made.at_us)} would be again: choose --keys keep if none was, or --keys revoke "
                    "to end them all."
                )
            if choice == "revoke":
                before = known or Ended({}, frozenset())
                known = before._replace(keys={**dict.fromkeys(active, now_us), **before.keys})
            ended = backups.end(tx, known) if known is not None else 0
            told = {"from": rfc3339(made.at_us), "ended": ended, "active": len(backups.active_keys(tx))}
            push_windows.doubt(tx, now_us)
            pushes.doubt(tx)
            backups.note(tx, now_us, told)
        with ledger.read() as tx:
            wrong = next(verify(tx), None)
        if wrong is not None:
            raise ConfigurationError(f"The backup does not add up, and nothing was restored: {wrong}")
    _as_one_file(draft)
    return told


def _ended_in(url: str) -> Ended | None:
    """Who was ended in the ledger that is put aside; None where it cannot be read any more."""
    with contextlib.suppress(MetergateError), closing(Ledger.open(url)) as ledger, ledger.read() as tx:
        return backups.ended(tx)
    return None


def _put_aside(present: Path) -> None:
    """Another name for the ledger that is there, so that one is in its place at any instant."""
    if not present.exists():
        return
    moment = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
    with contextlib.suppress(sqlite3.Error):  # what is damaged is put aside as it is
        _as_one_file(present)
    for path in present.parent.glob("ledger.sqlite-*"):
        path.rename(path.with_name(path.name.replace("ledger.sqlite", f"replaced-{moment}.sqlite")))
    present.with_name(f"replaced-{moment}.sqlite").hardlink_to(present)


def _as_one_file(path: Path) -> None:
    """Whatever stands in the log beside it goes into the file."""
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("PRAGMA journal_mode=DELETE")


def _looked_over(path: Path) -> dict[str, Any]:
    """A backup that nobody has read is none."""
    with closing(Ledger.open(f"sqlite:///{path}")) as ledger, ledger.read() as tx:
        wrong = next(verify(tx), None)
        if wrong is not None:
            raise ConfigurationError(f"The ledger does not add up, and its backup {path} does not: {wrong}")
        return {"accounts": accounts.count(tx), "head": chain.head(tx).name}


def _place(policy: str) -> Place:
    given = environment.read(os.environ)
    folder = foundation.folder_of(given)
    named = policy or given.policy
    if given.ledger:
        url = given.ledger
    elif named:
        url = foundation.ledger_url(config.load(named), given, folder)
    else:
        url = folder.ledger_url
    return Place(given, folder, url)


def _target(path: Path) -> Path:
    if path.is_dir():
        path /= time.strftime("metergate-%Y%m%dT%H%M%SZ.backup", time.gmtime())
    if path.exists():
        raise ConfigurationError(f"There is a file {path} already: choose another name.")
    return path


def _peppers(place: Place, wanted: bool) -> str:
    if not wanted:
        return ""
    found = secret_files.peppers(place.settings, place.folder.path, has_keys=True)
    return ",".join(pepper.decode() for _, pepper in sorted(found.items()))


def _keep_pepper(place: Place, made: Made) -> None:
    """The pepper of the backup, where the folder has none and the environment names none."""
    path = place.folder.path / "pepper"
    if made.peppers and not place.settings.peppers and not path.exists():
        if "," in made.peppers:
            click.echo(f"Set METERGATE_PEPPER to what the backup holds: {path} keeps only one.", err=True)
            return
        secret_files.keep(path, made.peppers)
