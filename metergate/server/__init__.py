"""uvicorn as metergate serves it: with bounds on everything that a client can send, or fail to send.

An ASGI app does not see slow heads, oversized headers, framing, or clients that never read. This does. It
needs the extra `server`.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

from metergate.core.policy import Serve
from metergate.server.door import Door
from metergate.server.protocol import Protocol


def bounded(**bounds: Any) -> Callable[..., Protocol]:
    """What uvicorn takes as its `http`: `uvicorn.run(app, http=bounded(body_silence_us=5_000_000))`.

    The bounds are those of `Serve`; a connection counts with all others that this one call serves.
    """
    return partial(Protocol, door=Door(Serve(**bounds)))
