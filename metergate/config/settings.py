"""What the environment sets: METERGATE_* and the few older names that are understood."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from urllib.parse import urlsplit

from metergate.config.plugins import provider_name
from metergate.config.problems import hint
from metergate.core.outgoing import LOOPBACK
from metergate.core.periods import duration_us
from metergate.errors import ConfigurationError

DOCUMENTED: Mapping[str, str] = MappingProxyType(
    {
        "METERGATE_POLICY": "The policy file, where a command or the code names none.",
        "METERGATE_STORE": "The counter store, in place of the policy's `store`.",
        "METERGATE_LEDGER": "The ledger's database, in place of the policy's `ledger`.",
        "METERGATE_DATA": "The folder of the embedded store, SQLite, secrets and sockets; left out: "
        "./metergate-data.",
        "METERGATE_JOURNAL": "The folder of the journals of processes that share a store; `off` keeps none: "
        "what the store loses is then lost; left out: journals in the data folder.",
        "METERGATE_PEPPER": "The secret that stored keys are hashed with, after a rotation several of them "
        "separated by commas, the newest last; left out: made once and kept in the data folder.",
        "METERGATE_ADMIN_TOKEN": "The token of the admin API; left out: made once, kept in the data folder.",
        "METERGATE_ADMIN_HOSTS": "Names, separated by commas, under which probes and metrics of the admin "
        "side may be asked without the token, beside addresses and localhost; `*` for any; left out: none.",
        "METERGATE_AUTHZ_TOKEN": "The token of fronts that ask for decisions at `/authz/v1`; left out: "
        "only the admin's opens them.",
        "METERGATE_PROVIDER": "The payment provider, in place of the policy's; `mock` is the sandbox.",
        "METERGATE_WORKER": "`off` leaves the ledger to other processes, such as `metergate worker`; in an "
        "embedded store usage then waits in the journal; left out: on.",
        "METERGATE_PUSH_WINDOW": "Usage is told to payment providers that count it in totals of this length, "
        "which divides a day; left out: 1h.",
        "METERGATE_PUSH_EVERY": "How often it is looked for windows that are over, at least every 30m: an "
        "hour after a period its invoice is final; left out: 1m.",
        "METERGATE_PUBLIC_URL": "Where customers and payment providers reach the service; https, except on "
        "loopback. Without it providers cannot tell us anything, and are asked instead.",
        "FRONTEND_URL": "Where payers go back to, where a checkout names no address; https, except on "
        "loopback.",
        "PAYMENT_PROVIDER": "Understood where METERGATE_PROVIDER is not given.",
    }
)
"""Every setting, and the sentence that documents it."""

DAY_US = 86_400 * 10**6
HALF_AN_HOUR_US = 1800 * 10**6
_FLAGS = {"on": True, "true": True, "1": True, "off": False, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Settings:
    """The environment, read once. An empty text means that the policy or the data folder decides."""

    policy: str = ""
    store: str = field(default="", repr=False)
    ledger: str = field(default="", repr=False)
    data: Path = Path("metergate-data")
    journal: str = ""
    """A folder, or off; empty is in the data folder."""
    peppers: tuple[str, ...] = field(default=(), repr=False)
    """The oldest first; keys are made with the newest."""
    admin_token: str = field(default="", repr=False)
    admin_hosts: frozenset[str] = frozenset()
    authz_token: str = field(default="", repr=False)
    provider: str = ""
    worker: bool = True
    push_window_us: int = 3600 * 10**6
    push_every_us: int = 60 * 10**6
    public_url: str = ""
    frontend_url: str = ""
    environ: Mapping[str, str] = field(default_factory=dict, repr=False, compare=False)
    """All of it: what the adapters of payment providers read."""


def read(environ: Mapping[str, str]) -> Settings:
    """The settings of an environment, such as `os.environ`."""
    return Settings(
        policy=environ.get("METERGATE_POLICY", ""),
        store=environ.get("METERGATE_STORE", ""),
        ledger=environ.get("METERGATE_LEDGER", ""),
        data=Path(environ.get("METERGATE_DATA") or "metergate-data"),
        journal=environ.get("METERGATE_JOURNAL", ""),
        peppers=_peppers(environ),
        admin_token=_secret(environ, "METERGATE_ADMIN_TOKEN"),
        admin_hosts=_names(environ.get("METERGATE_ADMIN_HOSTS", "")),
        authz_token=_secret(environ, "METERGATE_AUTHZ_TOKEN"),
        provider=provider_name(environ.get("METERGATE_PROVIDER") or environ.get("PAYMENT_PROVIDER", "")),
        worker=_flag(environ, "METERGATE_WORKER"),
        push_window_us=_window(environ, "METERGATE_PUSH_WINDOW", "1h"),
        push_every_us=_every(environ, "METERGATE_PUSH_EVERY", "1m"),
        public_url=_public_url(environ, "METERGATE_PUBLIC_URL"),
        frontend_url=_public_url(environ, "FRONTEND_URL"),
        environ=dict(environ),
    )


def unknown(environ: Mapping[str, str], documented: Mapping[str, str] = DOCUMENTED) -> list[str]:
    """A sentence for every METERGATE_ variable that nothing reads: most likely a typing error."""
    strangers = sorted(name for name in environ if name.startswith("METERGATE_") and name not in documented)
    return [f"Nothing reads {name}{hint(name, documented)}" for name in strangers]


def _secret(environ: Mapping[str, str], name: str) -> str:
    value = environ.get(name)
    if value is not None and not value.strip():
        raise ConfigurationError(f"Give {name} a value, or unset it: a blank secret protects nothing.")
    return (value or "").strip()


def _peppers(environ: Mapping[str, str]) -> tuple[str, ...]:
    listed = _secret(environ, "METERGATE_PEPPER")
    peppers = tuple([pepper.strip() for pepper in listed.split(",")]) if listed else ()
    if not all(peppers):
        raise ConfigurationError(
            "Separate several secrets in METERGATE_PEPPER by one comma, none of them blank."
        )
    return peppers


def _names(listed: str) -> frozenset[str]:
    return frozenset(filter(None, (name.strip().lower() for name in listed.split(","))))


def _flag(environ: Mapping[str, str], name: str) -> bool:
    value = environ.get(name, "").strip().lower() or "on"
    if value not in _FLAGS:
        raise ConfigurationError(f"Set {name} to on or off.")
    return _FLAGS[value]


def _duration(environ: Mapping[str, str], name: str, otherwise: str) -> int:
    try:
        length = duration_us(environ.get(name, "").strip() or otherwise)
    except ValueError:
        length = 0
    if length <= 0:
        raise ConfigurationError(f"Set {name} to a duration such as 30s, 15m or 1h.")
    return length


def _every(environ: Mapping[str, str], name: str, otherwise: str) -> int:
    """What is told later than an hour after a period is on no invoice, or on the next one."""
    length = _duration(environ, name, otherwise)
    if length > HALF_AN_HOUR_US:
        raise ConfigurationError(f"Set {name} to 30m or less: an hour after a period its invoice is final.")
    return length


def _window(environ: Mapping[str, str], name: str, otherwise: str) -> int:
    length = _duration(environ, name, otherwise)
    if DAY_US % length:
        raise ConfigurationError(f"Set {name} to a length that divides a day, such as 15m or 1h.")
    return length


def _public_url(environ: Mapping[str, str], name: str) -> str:
    text = environ.get(name, "")
    if not text:
        return ""
    wrong = ConfigurationError(f"Set {name} to an address such as https://api.example.com.")
    try:
        parts = urlsplit(text)
    except ValueError:
        raise wrong from None
    if not parts.hostname or parts.scheme not in ("http", "https") or parts.query or parts.fragment:
        raise wrong
    if parts.scheme == "http" and parts.hostname not in LOOPBACK:
        raise ConfigurationError(f"Use https in {name}; http is for loopback only.")
    return text.rstrip("/")
