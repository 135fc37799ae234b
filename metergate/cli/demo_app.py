"""What the demo sells: an AI API that is a fake, behind the proxy."""

from pathlib import Path

from metergate.asgi.types import ASGIApp
from metergate.bootstrap import Gateway

POLICY = Path(__file__).with_name("demo.yaml")
NOWHERE = "http://127.0.0.1:9"
"""Where the policy forwards to until it is known where the fake is."""


def policy(upstream: str, folder: Path) -> Path:
    """The demo's policy, in front of that upstream."""
    path = folder / "policy.yaml"
    path.write_text(POLICY.read_text(encoding="utf-8").replace(NOWHERE, upstream), encoding="utf-8")
    return path


def gateway() -> ASGIApp:
    """The proxy, as the environment sets it."""
    return Gateway()
