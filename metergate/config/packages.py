"""Which packages a policy needs, and what is said of those that are not there."""

from collections.abc import Iterator, Mapping

from metergate.config import plugins
from metergate.config.problems import Where, hint
from metergate.config.source import Source
from metergate.errors import ConfigurationError
from metergate.meters import COUNTS


def check(source: Source) -> None:
    """A counter that nobody has is an error; a missing store or provider is one only when the gate starts."""
    value = source.value if isinstance(source.value, dict) else {}
    for where, name in _counters(value):
        _check_counter(source, where, name)
    for where, name in (*_providers(value), *_store(source, value)):
        if where not in source.complained and not plugins.installed(name):
            text = f"the package metergate_{name} is not installed; the gate will not start without it"
            text = text if where not in source.holes else "{} names a package that is not installed"
            source.complain(where, text, warning=True)
    enabled = value.get("enabled")
    if isinstance(enabled, list):
        for where, name in (*_counters(value), *_providers(value), *_store(source, value)):
            if name not in (*enabled, *COUNTS):
                source.complain(where, "add {} to enabled: only what it lists may be imported", name=name)


def _counters(value: Mapping[str, object]) -> Iterator[tuple[Where, str]]:
    meters = value.get("meters")
    for name, meter in meters.items() if isinstance(meters, dict) else ():
        count = meter.get("count") if isinstance(meter, dict) else None
        if isinstance(count, str):
            yield ("meters", name, "count"), count


def _providers(value: Mapping[str, object]) -> Iterator[tuple[Where, str]]:
    provider, several = value.get("provider"), value.get("providers")
    if isinstance(provider, str):
        yield ("provider",), plugins.provider_name(provider)
    for key, one in several.items() if isinstance(several, dict) else ():
        use = one.get("use") if isinstance(one, dict) else one
        if isinstance(use, str):
            yield ("providers", key, "use") if isinstance(one, dict) else ("providers", key), use


def _store(source: Source, value: Mapping[str, object]) -> Iterator[tuple[Where, str]]:
    store = value.get("store")
    if not isinstance(store, str):
        return
    try:
        name = plugins.adapter_of_store(store)
    except ConfigurationError as error:
        if ("store",) not in source.complained:
            source.complain(("store",), str(error))
        return
    if name:
        yield ("store",), name


def _check_counter(source: Source, where: Where, name: str) -> None:
    if name not in COUNTS and not plugins.installed(name):
        close = hint(name, sorted(COUNTS))
        text = f"no counter is called {{}}, and no installed package brings it{close}"
        source.complain(where, text, name=name)
