"""metergate stands in front of an HTTP or AI API and makes every call paid for."""

from typing import TYPE_CHECKING, Any

from metergate.core.policy import Policy
from metergate.core.verdict import Verdict
from metergate.errors import (
    ConfigurationError,
    FeatureNotAvailable,
    InvalidInput,
    MetergateError,
    PaymentFailed,
    PaymentRequired,
    ProviderError,
    StoreUnavailable,
    UsageLimitExceeded,
)

if TYPE_CHECKING:
    from metergate.asgi.current import current
    from metergate.bootstrap import Gate, MeterGate, admin_app

__version__ = "0.1.0"

__all__ = [
    "ConfigurationError",
    "FeatureNotAvailable",
    "Gate",
    "InvalidInput",
    "MeterGate",
    "MetergateError",
    "PaymentFailed",
    "PaymentRequired",
    "Policy",
    "ProviderError",
    "StoreUnavailable",
    "UsageLimitExceeded",
    "Verdict",
    "admin_app",
    "current",
]

_LATER = {
    "Gate": "metergate.bootstrap",
    "MeterGate": "metergate.bootstrap",
    "admin_app": "metergate.bootstrap",
    "current": "metergate.asgi.current",
}


def __getattr__(name: str) -> Any:
    """The doors that need SQL and schemas are opened when somebody goes through them."""
    if name not in _LATER:
        raise AttributeError(f"module 'metergate' has no attribute {name!r}")
    import importlib

    return getattr(importlib.import_module(_LATER[name]), name)
