"""`metergate serve`: the proxy on one port, the operator's side on another, until the end is asked for.

Where a front of the operator's serves the calls, the first port has the customer's side alone.
"""

import os
import socket
from contextlib import ExitStack
from typing import TYPE_CHECKING

import click

from metergate.cli import frame
from metergate.cli.workers import multiply

if TYPE_CHECKING:
    from metergate.config.settings import Settings


def serve(
    file: str, host: str, port: int, admin_host: str, admin_port: int, workers: int, *, decide_only: bool
) -> None:
    from metergate.cli import serving
    from metergate.config import settings

    policy, given = frame.policy_of(file), settings.read(os.environ)
    if workers > 1:
        _must_share(policy, given)
    # Each worker has an admin side of its own: its counters are its own, too.
    with ExitStack() as taken:
        data = taken.enter_context(serving.bound(host, port))
        admin = [
            taken.enter_context(serving.bound(admin_host, admin_port and admin_port + number, "--admin-port"))
            for number in range(workers)
        ]
        number = multiply(workers) if workers > 1 else 0
        serving.run(_serve(policy, given, data, admin[number], decide_only=decide_only))


def _must_share(policy: str, given: "Settings") -> None:
    from metergate.engine import Engine

    engine = Engine(policy, given)
    engine.loaded()
    if not engine.shares:
        raise click.ClickException(
            "Several workers need a store that they share, such as `store: redis://localhost:6379/0`; the "
            "embedded one serves one process: use --workers 1."
        )


async def _serve(
    policy: str, given: "Settings", data: socket.socket, admin: socket.socket, *, decide_only: bool
) -> None:
    from metergate.bootstrap import CustomerSide, Gateway, admin_app
    from metergate.cli import serving
    from metergate.foundation import folder_of

    app = (CustomerSide if decide_only else Gateway)(policy, settings=given)
    await app.start()
    try:
        customers = serving.server(app, data, app.engine.policy.serve)
        office = serving.server(admin_app(policy, settings=given), admin)
        kept = folder_of(given).path / "admin-token"
        token = "METERGATE_ADMIN_TOKEN" if given.admin_token else f"in {kept}"
        what = "customer's side" if decide_only else "proxy"
        click.echo(
            f"The {what} is at {customers.url}, the admin side at {office.url}; its token is {token}. "
            "Ctrl-C ends them.",
            err=True,
        )
        await serving.serve([customers, office])
    finally:
        await app.stop()


def _port(name: str, default: int, help: str) -> click.Option:
    kind = click.IntRange(0, 65535)
    return click.Option([name], default=default, type=kind, show_default=True, metavar="PORT", help=help)


def _host(name: str, default: str, help: str) -> click.Option:
    return click.Option([name], default=default, show_default=True, metavar="HOST", help=help)


COMMANDS = {
    "serve": click.Command(
        "serve",
        callback=serve,
        help="Serve the policy's upstreams, every call paid for, and the admin side beside them.",
        params=[
            click.Argument(["file"], metavar="[FILE]", default=""),
            _host("--host", "127.0.0.1", "Where customers call; 0.0.0.0 is everywhere."),
            _port("--port", 8080, "The data port; 0 takes a free one."),
            _host("--admin-host", "127.0.0.1", "Where operators call; keep it to yourself."),
            _port("--admin-port", 8081, "The admin port."),
            click.Option(
                ["--decide-only"],
                is_flag=True,
                help="Forward nothing: a front asks the admin port about each call and serves it itself.",
            ),
            click.Option(
                ["--workers"],
                default=1,
                type=click.IntRange(1),
                metavar="N",
                help="Processes, over a store that they share; each has its admin port, one after the other.",
            ),
        ],
    ),
}
