"""Each rule of the house is able to fail: a small bad sample, and the word its complaint must contain."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from tests.house import rules
from tests.house.rules import Source

TYPE_CHECKING_ONLY = (
    "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from metergate.gate import gate\n"
)

BAD = [
    (rules.every_room_has_a_floor, "metergate/attic/box.py", "", "metergate/attic has no floor"),
    (
        rules.imports_go_down,
        "metergate/core/money.py",
        "from metergate import ports",
        "metergate.ports (floor 1)",
    ),
    (
        rules.imports_go_down,
        "metergate/store/journal.py",
        TYPE_CHECKING_ONLY,
        "journal.py:3: store (floor 2)",
    ),
    (
        rules.imports_go_down,
        "metergate/store/a.py",
        "import metergate.ledger.sql",
        "imports metergate.ledger.sql",
    ),
    (
        rules.imports_go_down,
        "metergate/gate/a.py",
        "def f():\n    import metergate.ledger.posting",
        "a.py:2: gate",
    ),
    (
        rules.imports_go_down,
        "metergate/gate/a.py",
        "from metergate.admin import keys",
        "metergate.admin.keys",
    ),
    (
        rules.imports_go_down,
        "metergate/api/a.py",
        "from metergate import MeterGate",
        "metergate.MeterGate (floor 10)",
    ),
    (rules.imports_go_down, "metergate/wire.py", "import_module('metergate.cli')", "imports metergate.cli"),
    (
        rules.libraries_stay_in_their_rooms,
        "metergate/core/a.py",
        "import msgspec",
        "core may not import msgspec",
    ),
    (
        rules.libraries_stay_in_their_rooms,
        "metergate/gate/a.py",
        "import sqlalchemy as sa",
        "only ledger may",
    ),
    (
        rules.libraries_stay_in_their_rooms,
        "metergate/billing/a.py",
        "import stripe",
        "that is for an adapter",
    ),
    (rules.libraries_stay_in_their_rooms, "metergate/cli/a.py", "import metergate_sandbox", "for an adapter"),
    (
        rules.adapters_see_ports_only,
        "adapters/metergate_a/a.py",
        "from metergate.store import b",
        "floors 0 and 1",
    ),
    (
        rules.adapters_see_ports_only,
        "adapters/metergate_a/a.py",
        "import metergate_b",
        "another one, metergate_b",
    ),
    (rules.core_is_pure, "metergate/core/a.py", "async def f(): ...", "may not be async"),
    (rules.core_is_pure, "metergate/core/a.py", "from time import time", "may not import time.time"),
    (rules.core_is_pure, "metergate/core/a.py", "import logging", "may not import logging"),
    (
        rules.core_is_pure,
        "metergate/core/a.py",
        "from datetime import datetime\ndatetime.now()",
        "may not call now()",
    ),
    (rules.core_is_pure, "metergate/core/a.py", "open('x')", "may not call open()"),
    (rules.secrets_take_one_time, "metergate/api/a.py", "ok = given == self._admin_token", "admin_token"),
    (rules.secrets_take_one_time, "metergate/api/a.py", "if row['digest'] != found: pass", "compares digest"),
    (rules.secrets_take_one_time, "metergate/api/a.py", "known = x.hexdigest() in known", "hexdigest"),
    (rules.secrets_take_one_time, "metergate/api/a.py", "ok = sealed[:16] == _seal(data)", "compares seal"),
    (rules.files_are_short, "metergate/a.py", "x = 1\n" * 401, "401 lines; split it"),
    (rules.functions_are_short, "metergate/a.py", "def f():\n" + " x = 1\n" * 60, "f has 61 lines"),
    (rules.tests_use_the_real_thing, "tests/a.py", "from unittest import mock", "no mocks"),
    (rules.no_path_of_a_machine, "docs/a.md", "see\n/" + "home/ann/notes", "a.md:2: names a folder"),
]


@pytest.mark.parametrize(("rule", "path", "text", "complaint"), BAD)
def test_a_bad_sample_is_named(
    rule: Callable[[Iterable[Source]], list[str]], path: str, text: str, complaint: str
) -> None:
    """One bad file gives one complaint, and it says where and what."""
    [sentence] = rule([Source(path, text)])
    assert complaint in sentence


GOOD = [
    (
        rules.imports_go_down,
        "metergate/gate/a.py",
        "from metergate.core import money\nfrom metergate.gate import b",
    ),
    (rules.libraries_stay_in_their_rooms, "metergate/ledger/a.py", "import sqlalchemy.exc\nimport json"),
    (
        rules.adapters_see_ports_only,
        "adapters/metergate_a/a.py",
        "import stripe\nfrom metergate.ports import Clock",
    ),
    (rules.core_is_pure, "metergate/core/a.py", "from datetime import datetime\ndatetime.fromtimestamp(0)"),
    (
        rules.secrets_take_one_time,
        "metergate/api/a.py",
        "a = compare_digest(token, x) or token == '' or tokens_used > 3 or pepper is None",
    ),
    (rules.no_path_of_a_machine, "docs/a.md", "POST /billing/v1/usage, ./home/x and https://host/home/x"),
]


@pytest.mark.parametrize(("rule", "path", "text"), GOOD)
def test_a_good_sample_passes(rule: Callable[[Iterable[Source]], list[str]], path: str, text: str) -> None:
    """A rule that complains about good code would be worked around."""
    assert rule([Source(path, text)]) == []


def test_a_name_is_documented_only_as_a_whole_word() -> None:
    """`key_missing` in a table is enough; `key_missing_twice` is another name."""
    documents = [Source("docs/a.md", "| `key_missing_twice` | `METERGATE_DATA` |")]
    assert rules.undocumented({"METERGATE_DATA"}, documents) == []
    assert rules.undocumented({"key_missing"}, documents) == [
        "key_missing is not documented: name it in README.md or docs/."
    ]


def test_the_tree_is_read_without_what_tools_leave_behind(tmp_path: Path) -> None:
    """Caches, environments and data folders are nobody's source."""
    for name in (
        "metergate/a.py",
        "docs/b.md",
        ".ci/run",
        ".venv/c.py",
        "metergate/__pycache__/d.py",
        "dist/e.py",
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("METERGATE_DATA", encoding="utf-8")
    assert [source.path for source in rules.read_all(tmp_path)] == [".ci/run", "docs/b.md", "metergate/a.py"]
    assert [source.path for source in rules.read("metergate/", root=tmp_path)] == ["metergate/a.py"]
    assert rules.settings(rules.read_all(tmp_path)) == {"METERGATE_DATA"}
