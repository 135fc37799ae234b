"""Commands that stay: the admin side, and the decisions of a running service as they are made."""

import asyncio
import json
from pathlib import Path
from typing import Any

import click

from metergate.cli import asking, frame, show


def admin(file: str, host: str, port: int) -> None:
    import os

    from metergate import config
    from metergate.bootstrap import admin_app
    from metergate.cli import serving
    from metergate.config import settings
    from metergate.foundation import folder_of

    given = settings.read(os.environ)
    policy = frame.policy_of(file)
    config.load(policy)  # whatever is wrong with it is said before anybody calls
    server = serving.server(admin_app(policy, settings=given), serving.bound(host, port))
    kept = folder_of(given).path / "admin-token"
    token = "METERGATE_ADMIN_TOKEN" if given.admin_token else f"in {kept}"
    click.echo(f"The admin side is at {server.url}; its token is {token}. Ctrl-C ends it.", err=True)
    serving.run(serving.serve([server]))


def worker(file: str) -> None:
    asyncio.run(_work(frame.policy_of(file)))


async def _work(policy: str) -> None:
    import os
    import signal
    from dataclasses import replace

    from metergate.config import settings
    from metergate.engine import Engine

    engine = Engine(policy, replace(settings.read(os.environ), worker=True))
    engine.loaded()  # whatever is wrong with it is said before anything else
    if not engine.shares:
        raise click.ClickException(
            "The embedded store has its worker in the process that serves; a worker of its own needs a store "
            "that processes share, such as `store: redis://localhost:6379/0`."
        )
    ended = asyncio.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(name, ended.set)
    await engine.start()
    try:
        click.echo(
            f"The worker moves usage into {engine.foundation.ledger.ledger.name}. Ctrl-C ends it.", err=True
        )
        await ended.wait()
    finally:
        await engine.stop()


def tail(count: int | None, as_json: bool) -> None:
    asyncio.run(_tail(count, as_json))


async def _tail(count: int | None, as_json: bool) -> None:
    from contextlib import aclosing

    from metergate.admin import tail

    async with aclosing(tail(asking.folder())) as decisions:
        left = count
        async for told in decisions:
            if as_json:
                click.echo(json.dumps(told))
            else:
                show.decision(told)
            left = None if left is None else left - 1
            if left == 0:
                return


def export(
    policy: str,
    account: str | None,
    since: str | None,
    until: str | None,
    format: str,
    output: str,
    as_json: bool,
) -> None:
    from metergate.cli.export import export as write

    asked: dict[str, Any] = {"account": account, "since": since, "until": until}
    params = {name: value for name, value in asked.items() if value is not None}
    target = None if output == "-" else Path(output)
    asyncio.run(write(policy, params, "jsonl" if as_json else format, target))


def demo(script: bool, redis: bool, port: int, admin_port: int) -> None:
    from metergate.cli.demo import play

    if not asyncio.run(play(script=script, redis=redis, port=port, admin_port=admin_port)):
        click.get_current_context().exit(1)


def _port(name: str, default: int) -> click.Option:
    return click.Option(
        [name], default=default, type=click.IntRange(0, 65535), show_default=True, metavar="PORT"
    )


def _option(name: str, help: str, metavar: str = "TIME") -> click.Option:
    return click.Option([name], help=help, metavar=metavar)


COMMANDS = {
    "admin": click.Command(
        "admin",
        callback=admin,
        help="Serve the admin API alone, for apps that embed the middleware.",
        params=[
            click.Argument(["file"], metavar="[FILE]", default=""),
            click.Option(["--host"], default="127.0.0.1", show_default=True, metavar="HOST"),
            _port("--port", 8081),
        ],
    ),
    "worker": click.Command(
        "worker",
        callback=worker,
        help="Move usage into the ledger for processes that share a store; any number may run.",
        params=[click.Argument(["file"], metavar="[FILE]", default="")],
    ),
    "tail": frame.command(
        "tail",
        tail,
        "Show the decisions of the running service as they are made.",
        [
            click.Option(["--count"], type=click.IntRange(1), metavar="N", help="End after so many."),
        ],
    ),
    "usage export": frame.command(
        "export",
        export,
        "Write every usage row as CSV or as JSON lines.",
        [
            _option("--account", "Only of this account.", "A"),
            _option("--since", "From this time on."),
            _option("--until", "Before this time."),
            click.Option(["--format"], type=click.Choice(["csv", "jsonl"]), default="csv", show_default=True),
            click.Option(["--output"], default="-", metavar="FILE", help="Where to; else standard output."),
            frame.policy_option(),
        ],
    ),
    "demo": click.Command(
        "demo",
        callback=demo,
        help="Play a paid API from the first call to 402, a top-up and the ledger; then stay up.",
        params=[
            click.Option(["--script"], is_flag=True, help="Check itself on free ports, and end with 0 or 1."),
            click.Option(["--redis"], is_flag=True, help="Several processes over a Valkey and a PostgreSQL."),
            _port("--port", 8080),
            _port("--admin-port", 8081),
        ],
    ),
}
