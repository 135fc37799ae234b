"""Payment providers by name, for code that wants one of its own: made, registered, listed."""

import os
import pkgutil
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from metergate.config import plugins
from metergate.foundation import now_us
from metergate.ports import Clock
from metergate.provider_port import Context, Notes, Provider
from metergate.provider_port.http import ask
from metergate.testing.notes import NotesInMemory

__all__ = ["available", "create", "register"]


def create(
    name: str,
    *,
    clock: Clock = now_us,
    notes: Notes | None = None,
    webhook_url: str = "",
    options: dict[str, Any] | None = None,
    **settings: str,
) -> Provider:
    """A provider by itself; what is not given as a setting comes from the environment."""
    name = plugins.provider_name(name)
    adapter = plugins.load_adapter(name)
    context = Context(
        name=name,
        clock=clock,
        http=ask,
        notes=notes or NotesInMemory(),
        settings={**os.environ, **settings},
        options=options or {},
        webhook_url=webhook_url,
    )
    made: Provider = adapter.open_provider(context)
    return made


def register(name: str, provider: Callable[[Context], Provider]) -> None:
    """Make `provider: name` mean this class or function, without a package of that name."""
    plugins.register(name, provider)


def available() -> list[str]:
    """The names that `provider:` understands here. Nothing is imported."""
    found = [each.name for each in pkgutil.iter_modules() if each.name.startswith(plugins.PREFIX)]
    packages = [name.removeprefix(plugins.PREFIX) for name in found if _opens_a_provider(name)]
    return sorted({*packages, *plugins.registered()})


def _opens_a_provider(package: str) -> bool:
    spec = find_spec(package)
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return False
    return "def open_provider(" in Path(spec.origin).read_text(encoding="utf-8")
