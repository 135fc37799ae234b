"""uvicorn as commands use it: on sockets of ours, ended by Ctrl-C or SIGTERM, silent while all is well."""

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import click

from metergate.core.policy import Serve

if TYPE_CHECKING:
    import uvicorn

    from metergate.asgi.types import ASGIApp


def bound(host: str, port: int, option: str = "--port") -> socket.socket:
    """A socket that waits for callers; port 0 takes a free one. `option` is how users choose another."""
    try:
        return socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise click.ClickException(
            f"{host}:{port} cannot be used: {why}; choose another port with {option}."
        ) from error


class Server:
    """An app on a socket."""

    def __init__(self, inner: "uvicorn.Server", taken: socket.socket, up: asyncio.Event) -> None:
        self.inner = inner
        self.up = up
        self._socket = taken
        host, port = taken.getsockname()[:2]
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"

    async def run(self) -> None:
        try:
            with contextlib.suppress(SystemExit):  # uvicorn's, of a lifespan that failed and has said why
                await self.inner.serve([self._socket])
        finally:
            self.up.set()  # a server that ended before it was up is not waited for


GARBAGE_AFTER = 50_000
"""So many more objects than were freed make the collector look. Calls leave it next to nothing to find."""
QUICK = Serve(grace_us=5_000_000)
"""For servers that nobody waits long for."""


def server(app: "ASGIApp", taken: socket.socket, serve: Serve = QUICK) -> Server:
    """An app to be served within the bounds that a policy sets for clients."""
    try:
        import uvicorn

        from metergate.server.door import Door
        from metergate.server.protocol import Protocol
    except ModuleNotFoundError:
        raise click.ClickException("Serving needs uvicorn: pip install 'metergate[server]'") from None

    up = asyncio.Event()

    class Quiet(uvicorn.Server):
        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            up.set()

        @contextlib.contextmanager
        def capture_signals(self) -> Iterator[None]:
            """Several servers share one loop, so the loop hears the signals, and not each of them."""
            yield

    config = uvicorn.Config(
        app,
        http=cast(Any, partial(Protocol, door=Door(serve))),
        ws="websockets-sansio",
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,  # uvicorn would believe whoever calls from loopback
        timeout_graceful_shutdown=serve.grace_us // 10**6,
    )
    return Server(Quiet(config), taken, up)


def run(main: Coroutine[None, None, None]) -> None:
    """Run it in the fastest event loop that there is, in a process that is all ours."""
    gc.set_threshold(GARBAGE_AFTER)
    factory: Callable[[], asyncio.AbstractEventLoop] = asyncio.new_event_loop
    with contextlib.suppress(ModuleNotFoundError):
        from uvloop import new_event_loop as factory
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main)


async def serve(servers: Sequence[Server]) -> None:
    """Serve until a signal comes."""
    async with running(servers) as ended:
        await ended.wait()


@contextlib.asynccontextmanager
async def running(servers: Sequence[Server]) -> AsyncIterator[asyncio.Event]:
    """The servers, up; the event is set when a signal asks for the end."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for name in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(name, ended.set)
    tasks = [asyncio.create_task(each.run()) for each in servers]
    for task in tasks:
        task.add_done_callback(lambda _: ended.set())
    try:
        for each in servers:
            await each.up.wait()
        if not all(each.inner.started for each in servers):
            raise click.ClickException("The server did not start; its message stands above.")
        yield ended
    finally:
        for each in servers:
            each.inner.should_exit = True
        await asyncio.gather(*tasks, return_exceptions=True)
