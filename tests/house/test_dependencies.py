"""What comes from others: bounds that leave out what is known to be bad, also in what is installed here."""

import importlib.machinery
import importlib.util
import json
import re
import tomllib
from collections.abc import Callable, Iterable, Mapping
from importlib.metadata import distributions

import pytest
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from tests.house.rules import ROOT

BAD: Mapping[str, tuple[str, str]] = {
    "aiohttp": ("<3.12.14", "CVE-2025-53643: requests smuggled in trailers"),
    "h11": ("<0.16.0", "CVE-2025-43859: chunks read in two ways"),
    "h2": ("<4.3.0", "CVE-2025-57804: requests split by header values"),
    "jinja2": ("<3.1.6", "CVE-2025-27516: a way out of the sandbox"),
    "mako": ("<1.2.2", "CVE-2022-40023: templates that take for ever"),
    "pydantic": ("<2.4.0", "CVE-2024-3772: addresses that take for ever"),
    "python-multipart": ("<0.0.18", "CVE-2024-53981: bodies that take for ever"),
    "pyyaml": ("<5.4", "CVE-2020-14343: code out of a document"),
    "redis": ("<4.5.5", "CVE-2023-28859: one caller's reply given to another"),
    "requests": ("<2.32.4", "CVE-2024-47081: credentials sent elsewhere"),
    "starlette": ("<1.0.1", "CVE-2026-48710: a path out of the Host header"),
    "urllib3": ("<2.5.0", "CVE-2025-50181: redirects followed against the setting"),
    "websockets": ("<9.1", "CVE-2021-33880: passwords compared byte by byte"),
    "werkzeug": ("<3.0.6", "CVE-2024-49767: forms without a bound"),
}
"""Versions that nobody should have. `make audit` asks a service for more; its findings come to stand here."""

FOR_OURSELVES = frozenset({"demo", "dev"})


def ours() -> list[Requirement]:
    """What users of metergate get."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras: Mapping[str, list[str]] = project["optional-dependencies"]
    offered = [each for name in sorted(extras.keys() - FOR_OURSELVES) for each in extras[name]]
    found = map(Requirement, [*project["dependencies"], *offered])
    return [each for each in found if each.name != "metergate"]


def unbounded(requirements: Iterable[Requirement]) -> list[str]:
    """Each has a lowest version, of an index and not of an address; nobody's other packages are held back."""
    return [
        f"{each}: give it a lowest version with >=, and neither an address nor a fixed version."
        for each in requirements
        if each.url or sorted({spec.operator for spec in each.specifier} - {"<"}) != [">="]
    ]


def lets_in(requirements: Iterable[Requirement]) -> list[str]:
    """The lowest version is none that is known to be bad."""
    return [
        f"{each} lets in {BAD[name][1]}: raise it above {BAD[name][0]}."
        for each in requirements
        if (name := canonical(each.name)) in BAD
        if any(spec.version in SpecifierSet(BAD[name][0]) for spec in each.specifier if spec.operator == ">=")
    ]


def installed_bad(versions: Iterable[tuple[str, str]]) -> list[str]:
    return [
        f"{name} {version} is installed: {BAD[name][1]}."
        for name, version in versions
        if name in BAD and Version(version) in SpecifierSet(BAD[name][0], prereleases=True)
    ]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_what_users_get_has_a_lowest_version_that_is_not_known_to_be_bad() -> None:
    """A fresh install and an old one are both safe."""
    assert [*unbounded(ours()), *lets_in(ours())] == []


def test_nothing_that_is_known_to_be_bad_is_installed_here() -> None:
    """What the tests run with is what users get."""
    here = [(canonical(each.metadata["Name"]), each.version) for each in distributions()]
    assert installed_bad(here) == []


def test_a_bad_sample_is_named() -> None:
    """These rules can fail, too."""
    assert (
        len(unbounded(map(Requirement, ("x", "x==1", "x~=1.0", "x @ https://a.example/x.whl", "x<2")))) == 5
    )
    assert unbounded(map(Requirement, ("x>=1", "x>=1,<2", "x[y]>=1"))) == []
    assert lets_in([Requirement("Starlette>=1.0,<2")]) == [
        "Starlette<2,>=1.0 lets in CVE-2026-48710: a path out of the Host header: raise it above <1.0.1."
    ]
    assert len(installed_bad([("pyyaml", "5.3.1"), ("pyyaml", "6.0"), ("nobody", "1")])) == 1


# -- what the service said ---------------------------------------------------------------------------------


def package(name: str, *bad: str) -> dict[str, object]:
    return {"name": name, "version": "1", "vulns": [{"id": each, "fix_versions": ["2"]} for each in bad]}


SKIPPED = {"name": "z", "skip_reason": "Dependency not found on PyPI and could not be audited: z (1)"}


@pytest.mark.parametrize(
    ("told", "code", "word"),
    [
        ({"dependencies": [package("x", "CVE-1"), package("y")]}, 1, "x 1: CVE-1, fixed in 2"),
        (
            {"dependencies": [package("x"), SKIPPED]},
            0,
            "1 of 2 packages are known to the service; 0 problems.",
        ),
        ({"dependencies": [SKIPPED]}, 0, "nothing is known"),
        ({}, 0, "nothing is known"),
        ("", 0, "nothing is known"),
    ],
)
def test_a_service_that_cannot_be_asked_is_no_all_clear(told: object, code: int, word: str) -> None:
    """And no failure either: it says nothing about a change of ours."""
    loader = importlib.machinery.SourceFileLoader("audit", str(ROOT / ".ci" / "audit"))
    spec = importlib.util.spec_from_loader("audit", loader)
    assert spec is not None
    audit = importlib.util.module_from_spec(spec)
    loader.exec_module(audit)
    verdict: Callable[[str], tuple[int, list[str]]] = audit.verdict
    found, said = verdict(json.dumps(told) if told else "")
    assert found == code
    assert word in "\n".join(said)
