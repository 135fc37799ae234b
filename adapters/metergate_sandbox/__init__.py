"""A payment provider for demos and tests: stateful, over real HTTP, with a page to pay on and signed news.

With `SANDBOX_API_BASE` it is a server that runs elsewhere (`python -m metergate_sandbox`); without, one in
this process, which forgets everything when it ends.
"""

import secrets

from metergate.provider_port import Context
from metergate_sandbox.client import SandboxProvider
from metergate_sandbox.server import Server

__all__ = ["SandboxProvider", "Server", "open_provider"]

KEY, HOOK, BASE = "SANDBOX_SECRET_KEY", "SANDBOX_WEBHOOK_SECRET", "SANDBOX_API_BASE"


def open_provider(context: Context) -> SandboxProvider:
    base = context.setting(BASE)
    # A secret that nobody has set is made here for a sandbox of our own; one that is blank is refused.
    key = context.secret(KEY) if base or KEY in context.settings else f"sk_test_{secrets.token_hex(16)}"
    hooks = context.secrets(HOOK) if base or HOOK in context.settings else (secrets.token_hex(32),)
    own = None if base else Server(key, hooks[-1], context.clock, context.http)
    return SandboxProvider(context, base.rstrip("/"), key, hooks, own)
