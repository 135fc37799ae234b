"""What pip installs."""

import re
import subprocess
import sys
import tarfile
from pathlib import Path
from zipfile import ZipFile

import pytest

from tests.house.rules import ROOT, files


def build(source: Path, target: str, out: Path) -> Path:
    """The one file that hatchling makes of a source tree."""
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)],
        cwd=source,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    [made] = out.iterdir()
    return made


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(ROOT, "wheel", tmp_path_factory.mktemp("wheel"))


def names(wheel: Path) -> set[str]:
    with ZipFile(wheel) as archive:
        return set(archive.namelist())


def test_the_wheel_has_no_generic_top_level_name(wheel: Path) -> None:
    """`policies`, `tests` or `adapters` in site-packages would meet somebody else's."""
    tops = {name.partition("/")[0] for name in names(wheel)}
    assert "metergate" in tops
    assert [top for top in tops if not re.fullmatch(r"metergate(_\w+|-[\d.]+\.dist-info)?", top)] == []


def test_the_wheel_holds_everything_that_runs(wheel: Path) -> None:
    """Code, adapters, migrations, scripts in other languages, and the policies for `metergate init`."""
    wanted = {path.relative_to(ROOT).as_posix() for path in files(ROOT / "metergate")}
    wanted |= {f"metergate/{path.relative_to(ROOT).as_posix()}" for path in files(ROOT / "policies")}
    for adapter in (ROOT / "adapters").glob("metergate_*"):
        wanted |= {path.relative_to(ROOT / "adapters").as_posix() for path in files(adapter)}
    assert {"metergate/policies/starter.yaml", "metergate/ledger/migrations/env.py"} <= wanted
    assert wanted - names(wheel) == set()


def test_the_wheel_built_from_the_sdist_is_the_same(wheel: Path, tmp_path: Path) -> None:
    """Who packages from the sdist gets what we tested."""
    sdist = build(ROOT, "sdist", tmp_path / "sdist")
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "tree", filter="data")
    [tree] = (tmp_path / "tree").iterdir()
    assert names(build(tree, "wheel", tmp_path / "wheel")) == names(wheel)
