"""A policy from a file, a dictionary, or as it is."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from metergate.config import build, checks, complaints, packages, yaml_source
from metergate.config.model import PolicyFile
from metergate.config.problems import PolicyError, Problem, Where
from metergate.config.source import DEPTH_MAX, VALUES_MAX, Place, Source
from metergate.config.yaml_nodes import BYTES_MAX
from metergate.core.policy import Policy

PolicySource = str | os.PathLike[str] | Mapping[str, object] | Policy


class Loaded(NamedTuple):
    """A policy, the file it was made from (also its connections: upstream, web3, company), and warnings."""

    policy: Policy
    file: PolicyFile
    warnings: tuple[Problem, ...]


def load(source: PolicySource, environ: Mapping[str, str] | None = None) -> Policy:
    """The policy. Whatever is wrong with it is raised as one PolicyError with a line for each problem."""
    return source if isinstance(source, Policy) else read(source, environ).policy


def read(
    source: str | os.PathLike[str] | Mapping[str, object], environ: Mapping[str, str] | None = None
) -> Loaded:
    """The policy with its file; changes nothing and imports nothing."""
    if isinstance(source, Mapping):
        return _loaded(_of_mapping(source))
    return loads(_bytes_of(source), os.fspath(source), environ)


def loads(data: bytes, name: str, environ: Mapping[str, str] | None = None) -> Loaded:
    """The policy of a file that was read already; `name` begins the lines of its problems."""
    return _loaded(yaml_source.read(data, name, os.environ if environ is None else environ))


def check(
    source: str | os.PathLike[str] | Mapping[str, object], environ: Mapping[str, str] | None = None
) -> list[Problem]:
    """Everything that is wrong, and the warnings; empty when the policy is fine."""
    try:
        return list(read(source, environ).warnings)
    except PolicyError as error:
        return list(error.problems)


def _loaded(source: Source) -> Loaded:
    if not isinstance(source.value, dict):
        source.complain((), "begin the policy with metergate: 1, then its keys")
        raise PolicyError(source.finished())
    file = _checked(source)
    problems = source.finished()
    if file is None or not all(problem.warning for problem in problems):
        raise PolicyError(problems)
    return Loaded(build.policy(file, source), file, tuple(problems))


def _checked(source: Source) -> PolicyFile | None:
    file = None
    try:
        file = PolicyFile.model_validate(source.value)
    except ValidationError as error:
        complaints.complain(source, error)
    checks.check(source)
    packages.check(source)
    return file


def _bytes_of(path: str | os.PathLike[str]) -> bytes:
    name = os.fspath(path)
    try:
        with Path(path).open("rb") as file:
            return file.read(BYTES_MAX + 1)
    except FileNotFoundError:
        message = "there is no such file; `metergate init` writes one to begin with"
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        message = f"the file cannot be read: {reason}"
    raise PolicyError([Problem(name, 0, 0, message)]) from None


def _of_mapping(mapping: Mapping[str, object]) -> Source:
    """A dictionary has no lines; its problems name the way to the value."""
    source = Source("policy")
    source.value = _copied(source, mapping, ())
    return source


def _copied(source: Source, value: object, where: Where) -> object:
    source.places[where] = Place(0, 0)
    if len(source.places) > VALUES_MAX or len(where) > DEPTH_MAX:
        raise PolicyError([Problem(source.name, 0, 0, "the dictionary is too large or nested too deep")])
    if isinstance(value, Mapping):
        if not all(isinstance(key, str) for key in value):
            source.complain(where, "use texts as keys")
        return {
            key: _copied(source, one, (*where, key)) for key, one in value.items() if isinstance(key, str)
        }
    if isinstance(value, list | tuple):
        return [_copied(source, one, (*where, index)) for index, one in enumerate(value)]
    return value
