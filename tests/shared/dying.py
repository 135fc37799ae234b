"""The app of the stories in a process that kills itself at a chosen step of its next metered call.

`/public/die?at=before-4` says where: before or after the journal gets a record of that kind, or `at=told`
when the store has answered the end of a call.
"""

import asyncio
import os
import signal
from collections.abc import Sequence

from metergate.asgi.types import Receive, Scope, Send
from metergate.gate.endings import Endings
from metergate.ports import Settle
from metergate.store.journal import Journal
from tests.shared import app as stories

chosen = ""


def die(at: str) -> None:
    if at == chosen:
        os.kill(os.getpid(), signal.SIGKILL)


_append, _delivered = Journal.append, Endings._delivered


def append(self: Journal, kind: int, payload: bytes) -> int:
    die(f"before-{kind}")
    position = _append(self, kind, payload)
    die(f"after-{kind}")
    return position


def delivered(self: Endings, batch: Sequence[Settle], answered: asyncio.Future[Sequence[str]]) -> None:
    _delivered(self, batch, answered)
    die("told")


setattr(Journal, "append", append)  # noqa: B010  # mypy would refuse an assignment
setattr(Endings, "_delivered", delivered)  # noqa: B010


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    global chosen  # noqa: PLW0603  # a process dies once
    if scope["type"] == "http" and scope["path"] == "/public/die":
        chosen = scope["query_string"].decode().removeprefix("at=")
    await stories.app(scope, receive, send)
