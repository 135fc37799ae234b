"""A process dies at each of its words to the outside, one after the other: whatever it had said is true."""

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.faults.harness.postgres import postgres
from tests.faults.harness.valkey import valkey
from tests.servers.serving import ENVIRON, kill

Point = dict[str, Any]


@contextmanager
def points(kind: str, folder: Path, **environ: str) -> Iterator[Iterator[Point]]:
    """Every crash point of a day, the last one first: where it died, and what was wrong afterwards."""
    words = [sys.executable, "-m", "tests.faults.scripted", kind, str(folder)]
    with (folder / "errors").open("wb") as errors:
        process = subprocess.Popen(
            words, env=ENVIRON | environ, stdout=subprocess.PIPE, stderr=errors, start_new_session=True
        )
    assert process.stdout is not None
    with process.stdout as told:
        try:
            yield map(json.loads, told)
        finally:
            kill(process)


def proven(found: Iterator[Point], folder: Path, *kinds: str) -> None:
    """No crash point left anything wrong, and there were many of each kind."""
    all = list(found)
    wrong = [point for point in all if point["complaints"]]
    assert not wrong, "\n".join([*map(json.dumps, wrong[:9]), (folder / "errors").read_text()[-3000:]])
    met = Counter(point["died_at"].partition(":")[0] for point in all)
    assert all and all[-1]["n"] == 1, (folder / "errors").read_text()
    assert not [kind for kind in kinds if met[kind] < 8], met


def test_over_the_embedded_store_every_word_may_be_the_last(tmp_path: Path) -> None:
    with points("embedded", tmp_path) as found:
        proven(found, tmp_path, "journal", "ledger")


def test_over_a_shared_store_every_word_may_be_the_last(tmp_path: Path, servers: dict[str, str]) -> None:
    with points("shared", tmp_path, **servers) as found:
        proven(found, tmp_path, "journal", "ledger", "store")


@pytest.mark.parametrize(
    ("variant", "complaint"),
    [("no-dispatch-record", "is served and not billed"), ("new-ids", "is billed 2 times")],
)
def test_a_variant_that_forgets_a_rule_is_caught(tmp_path: Path, variant: str, complaint: str) -> None:
    """The same day, and the same judge."""
    with points(variant, tmp_path) as found:
        caught(found, complaint)


def test_a_variant_that_acknowledges_before_its_commit_is_caught(
    tmp_path: Path, servers: dict[str, str]
) -> None:
    """Where the outbox is all that there is: a journal would have saved it."""
    with points("acknowledge-first", tmp_path, METERGATE_JOURNAL="off", **servers) as found:
        caught(found, "is served and not billed")


def caught(found: Iterator[Point], complaint: str) -> None:
    wrong: list[str] = next((point["complaints"] for point in found if point["complaints"]), [])
    assert any(complaint in each for each in wrong), wrong


@pytest.fixture
def servers() -> Iterator[dict[str, str]]:
    """An empty store and an empty ledger that processes share."""
    with valkey() as store, postgres() as ledger:
        ledger.keep_in_memory()
        yield {"METERGATE_STORE": f"{store.url}?takeover=1ms", "METERGATE_LEDGER": ledger.url}
