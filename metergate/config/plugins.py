"""Adapters by name: `provider: foo`, `store: foo://…` and `count: foo` mean the package `metergate_foo`.

There is no registry. A package of ours and one of a third party are found in the same way.
"""

import importlib
import re
from collections.abc import Callable, Collection
from importlib.metadata import PackageNotFoundError, metadata
from importlib.util import find_spec
from types import ModuleType
from typing import Any

from metergate.errors import ConfigurationError

EMBEDDED = ("", "memory")
"""What `store` says when no package is needed."""

PREFIX = "metergate_"
_registered: dict[str, Callable[[Any], object]] = {}
_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
_SCHEMES = {"rediss": "redis", "valkey": "redis", "valkeys": "redis"}
_ALIASES = {"mock": "sandbox"}


def adapter_of_store(store: str) -> str:
    """The name of the adapter for a `store:` text; empty for the embedded one."""
    if store in EMBEDDED:
        return ""
    scheme, separator, _ = store.partition("://")
    scheme = scheme.partition("+")[0]  # as in redis+cluster://
    name = _SCHEMES.get(scheme, scheme)
    if not separator or not _NAME.fullmatch(name):
        raise ConfigurationError(
            "Write the store as an address such as redis://localhost:6379/0, or leave it out to embed it."
        )
    return name


def provider_name(name: str) -> str:
    """The provider that a name means; `mock` is what older systems call the sandbox."""
    return _ALIASES.get(name, name)


def installed(name: str) -> bool:
    """Whether the adapter could be imported; imports nothing."""
    return name in _registered or (bool(_NAME.fullmatch(name)) and find_spec(f"{PREFIX}{name}") is not None)


def register(name: str, open_provider: Callable[[Any], object]) -> None:
    """Let `provider: name` mean this, in place of a package."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError("Name an adapter with small letters, digits and _, such as stripe.")
    _registered[name] = open_provider


def registered() -> tuple[str, ...]:
    return tuple(_registered)


def load_adapter(name: str, enabled: Collection[str] | None = None) -> ModuleType:
    """The package of an adapter; `enabled` restricts which may be imported at all."""
    if not _NAME.fullmatch(name):
        raise ConfigurationError("Name an adapter with small letters, digits and _, such as stripe.")
    if enabled is not None and name not in enabled:
        raise ConfigurationError(
            f"Add {name} to `enabled:` in the policy; it lists which packages may be imported."
        )
    if name in _registered:
        adapter: Any = ModuleType(f"{PREFIX}{name}")
        adapter.open_provider = _registered[name]
        return adapter  # type: ignore[no-any-return]
    package = f"{PREFIX}{name}"
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        if error.name == package:
            raise ConfigurationError(
                f"Install the package that provides {package}, which does not come with this version of "
                f"metergate, or leave {name} out."
            ) from None
        raise ConfigurationError(f"{_remedy(name, error.name or '')}, which {package} needs.") from error


def _remedy(name: str, missing: str) -> str:
    """An SDK is seldom called in code what it is called in the index; ours come with an extra."""
    try:
        extras = metadata("metergate").get_all("Provides-Extra") or ()
    except PackageNotFoundError:  # a checkout that nobody has installed
        extras = ()
    return f"Run pip install 'metergate[{name}]' for {missing}" if name in extras else f"Install {missing}"
