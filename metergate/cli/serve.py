"""`metergate serve`: the proxy on one port, the operator's side on another, until the end is asked for."""

import os
from typing import TYPE_CHECKING, NamedTuple

import click

from metergate.cli import frame

if TYPE_CHECKING:
    from metergate.config.settings import Settings


class Ports(NamedTuple):
    host: str
    port: int
    admin_host: str
    admin_port: int


def serve(file: str, host: str, port: int, admin_host: str, admin_port: int, workers: int) -> None:
    from metergate.cli import serving
    from metergate.config import settings

    if workers > 1:
        raise click.ClickException(
            "Several workers need a store that they share, and the embedded one serves one process: "
            "use --workers 1."
        )
    policy = frame.policy_of(file)
    serving.run(_serve(policy, settings.read(os.environ), Ports(host, port, admin_host, admin_port)))


async def _serve(policy: str, given: "Settings", ports: Ports) -> None:
    from metergate.bootstrap import Gateway, admin_app
    from metergate.cli import serving
    from metergate.foundation import folder_of

    app = Gateway(policy, settings=given)
    await app.start()
    try:
        bounds = app.engine.policy.serve
        proxy = serving.server(app, serving.bound(ports.host, ports.port), bounds)
        office = admin_app(policy, settings=given)
        admin = serving.server(office, serving.bound(ports.admin_host, ports.admin_port))
        kept = folder_of(given).path / "admin-token"
        token = "METERGATE_ADMIN_TOKEN" if given.admin_token else f"in {kept}"
        click.echo(
            f"The proxy is at {proxy.url}, the admin side at {admin.url}; its token is {token}. "
            "Ctrl-C ends them.",
            err=True,
        )
        await serving.serve([proxy, admin])
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
            click.Option(["--workers"], default=1, type=click.IntRange(1), metavar="N", help="Processes."),
        ],
    ),
}
