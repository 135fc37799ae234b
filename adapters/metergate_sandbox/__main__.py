"""`python -m metergate_sandbox`: the sandbox by itself, for several processes that share it."""

import argparse
import asyncio
import os
import time

from metergate.provider_port.http import ask
from metergate_sandbox.server import Server


async def serve(port: int, url: str) -> None:
    key, hook = (
        os.environ.get(name, "").strip() for name in ("SANDBOX_SECRET_KEY", "SANDBOX_WEBHOOK_SECRET")
    )
    if not key or not hook:
        raise SystemExit("Set SANDBOX_SECRET_KEY and SANDBOX_WEBHOOK_SECRET, here and where metergate runs.")
    server = Server(key, hook.rpartition(",")[2].strip(), lambda: time.time_ns() // 1000, ask)
    await server.start(port, url=url)
    print(f"The sandbox answers at {server.url}", flush=True)  # noqa: T201 - who starts it wants to know
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m metergate_sandbox")
    parser.add_argument("--port", type=int, default=8082)
    parser.add_argument("--url", default="", help="how payers reach it, where that is elsewhere")
    options = parser.parse_args()
    asyncio.run(serve(options.port, options.url))
