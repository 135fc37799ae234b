"""Settings and policy files: from what people write to the values that the rest of the house works with."""

from metergate.config.loader import Loaded, PolicySource, check, load, loads, read
from metergate.config.plugins import load_adapter
from metergate.config.problems import PolicyError, Problem

__all__ = [
    "Loaded",
    "PolicyError",
    "PolicySource",
    "Problem",
    "check",
    "load",
    "load_adapter",
    "loads",
    "read",
]
