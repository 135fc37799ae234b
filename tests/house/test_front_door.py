"""What `import metergate` gives, and what it costs."""

import subprocess
import sys
from types import ModuleType

import metergate
from tests.house.rules import ROOT, read

EXTRAS = (
    "Adyen fastapi granian h11 httptools httpx2 hypercorn paypalserversdk psycopg redis square stripe "
    "uvicorn uvloop watchfiles websockets"
)
HEAVY = frozenset({"alembic", "click", "msgspec", "pydantic", "rich", "sqlalchemy", "starlette", "yaml"})
MODULES_AT_MOST = 250

# Alembic runs the migrations, `-m` runs __main__, and pytest comes with the one who uses the test helpers.
RUN_BY_OTHERS = ("metergate/ledger/migrations/", "metergate/__main__", "metergate/testing/")

IMPORT_ALL_WITHOUT_EXTRAS = """
import importlib, sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split():
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Missing())
for name in sys.argv[2:]:
    importlib.import_module(name)
"""

IMPORT_AND_LIST = """
import sys
before = set(sys.modules)
import metergate
print(*set(sys.modules) - before)
"""


def python(code: str, *args: str) -> str:
    """What a fresh interpreter prints; pytest's own imports must not help."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, *args],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_front_door_is_listed_once_sorted_and_exact() -> None:
    """`__all__` is the public surface: sorted, every name there, no public name beside it."""
    assert list(metergate.__all__) == sorted(set(metergate.__all__))
    for name in metergate.__all__:
        assert hasattr(metergate, name), f"metergate.__all__ promises {name}, which is not there."
    beside = {
        name
        for name, value in vars(metergate).items()
        if not name.startswith("_") and name not in metergate.__all__ and not isinstance(value, ModuleType)
        if str(getattr(value, "__module__", "")).startswith("metergate")
    }
    assert not beside, f"Public, but not in metergate.__all__: {beside}."


def test_the_contract_names_are_there() -> None:
    """The names that the documents promise."""
    promised = {
        "FeatureNotAvailable", "Gate", "InvalidInput", "MeterGate", "PaymentFailed", "PaymentRequired",
        "ProviderError", "StoreUnavailable", "UsageLimitExceeded", "current",
    }  # fmt: skip
    assert promised <= set(metergate.__all__)


def test_every_module_imports_without_extras() -> None:
    """`pip install metergate` is complete: extras are imported where they are used."""
    modules = [
        source.path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        for source in read("metergate/")
        if not source.path.startswith(RUN_BY_OTHERS)
    ]
    python(IMPORT_ALL_WITHOUT_EXTRAS, EXTRAS, *modules)


def test_importing_metergate_is_light() -> None:
    """The libraries load when a gate or a command is made, so the import costs next to nothing."""
    loaded = python(IMPORT_AND_LIST).split()
    assert not HEAVY.intersection(loaded)
    assert len(loaded) <= MODULES_AT_MOST, f"import metergate loads {len(loaded)} modules: {sorted(loaded)}"
