"""Adapters are found by their names."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from metergate.config import plugins
from metergate.errors import ConfigurationError


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder whose packages can be imported during the test."""
    before = set(sys.modules)
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def test_a_third_partys_package_is_found_by_its_name(packages: Path) -> None:
    """No registry knows it."""
    (packages / "metergate_thirdparty.py").write_text("provider = 5")
    assert plugins.installed("thirdparty")
    assert plugins.load_adapter("thirdparty").provider == 5
    assert plugins.load_adapter("thirdparty", ["thirdparty"]).provider == 5


def test_asking_whether_it_is_there_imports_nothing(packages: Path) -> None:
    """`check` runs no foreign code."""
    (packages / "metergate_explosive.py").write_text("raise SystemExit")
    assert plugins.installed("explosive")
    assert "metergate_explosive" not in sys.modules


def test_a_missing_package_is_one_sentence() -> None:
    """It names the package, and no extra: this version has none for adapters."""
    with pytest.raises(ConfigurationError) as told:
        plugins.load_adapter("foo")
    assert str(told.value) == (
        "Install the package that provides metergate_foo, which does not come with this version of "
        "metergate, or leave foo out."
    )


def test_a_missing_sdk_is_named(packages: Path) -> None:
    """The adapter is there, and what it needs is not."""
    (packages / "metergate_needy.py").write_text("import some_absent_sdk.client")
    with pytest.raises(ConfigurationError, match=r"^Install some_absent_sdk, which metergate_needy needs\.$"):
        plugins.load_adapter("needy")


def test_only_what_is_enabled_is_imported(packages: Path) -> None:
    """An empty list enables nothing."""
    (packages / "metergate_other.py").write_text("raise SystemExit")
    with pytest.raises(ConfigurationError, match="Add other to `enabled:` in the policy"):
        plugins.load_adapter("other", [])


@pytest.mark.parametrize("name", ["", "os.path", "../x", "Stripe", "x" * 40, "x-y", "1x"])
def test_a_name_that_is_none(name: str) -> None:
    """It reaches no import."""
    assert not plugins.installed(name)
    with pytest.raises(ConfigurationError, match="Name an adapter with small letters"):
        plugins.load_adapter(name)


@pytest.mark.parametrize(
    ("store", "adapter"),
    [
        ("", ""),
        ("memory", ""),
        ("redis://localhost:6379/0", "redis"),
        ("rediss://u:p@host", "redis"),
        ("valkey://host", "redis"),
        ("redis+unix:///run/redis.sock", "redis"),
        ("rediss+cluster://a,b", "redis"),
        ("valkey+sentinel://a,b/service", "redis"),
        ("foo://x", "foo"),
    ],
)
def test_the_adapter_of_a_store(store: str, adapter: str) -> None:
    """The scheme names it."""
    assert plugins.adapter_of_store(store) == adapter


@pytest.mark.parametrize("store", ["redis", "localhost:6379", "://x", "a.b://x", "A://x"])
def test_a_store_that_is_no_address(store: str) -> None:
    """The sentence shows one that is."""
    with pytest.raises(ConfigurationError, match="Write the store as an address such as redis://"):
        plugins.adapter_of_store(store)


WITHOUT = """
import sys

sys.modules[sys.argv[2]] = None
from metergate.config.plugins import load_adapter
from metergate.errors import ConfigurationError

try:
    load_adapter(sys.argv[1])
except ConfigurationError as error:
    print(error)
"""


@pytest.mark.parametrize(("name", "sdk"), [("paypal", "paypalserversdk"), ("square", "square")])
def test_the_sdk_of_an_adapter_of_ours_comes_with_an_extra_of_its_name(name: str, sdk: str) -> None:
    asked = [sys.executable, "-c", WITHOUT, name, sdk]
    told = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert told.startswith(f"Run pip install 'metergate[{name}]' for {sdk}")
    assert told.endswith(f", which metergate_{name} needs.\n")
