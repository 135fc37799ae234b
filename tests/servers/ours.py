"""An app under uvicorn with our bounds: python -m tests.servers.ours tests.servers.raw_app:app PORT"""

import sys
from typing import Any, cast

import uvicorn

from metergate.server import bounded


def main(app: str, port: str) -> None:
    uvicorn.run(app, port=int(port), http=cast(Any, bounded()), log_level="warning")


if __name__ == "__main__":
    main(*sys.argv[1:])
