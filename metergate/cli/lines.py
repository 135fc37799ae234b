"""A command as a line of a table: what is typed, the verb, how its answer is shown."""

import json
from typing import Any, NamedTuple

import click

from metergate.cli import show
from metergate.cli.show import Show


class JsonObject(click.ParamType[Any]):
    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        try:
            return json.loads(value)
        except ValueError:
            self.fail(f"{value!r} is no JSON.", param, ctx)


class Line(NamedTuple):
    verb: str
    help: str
    params: tuple[click.Parameter, ...] = ()
    show: Show = show.facts
    no: str = ""
    """The member of the answer that is false when the answer is no."""
    signed: bool = False
    """Whether an argument may begin with a minus."""


def arg(name: str, field: str = "", *, required: bool = True) -> click.Argument:
    return click.Argument([field or name], metavar=name.upper(), required=required)


def opt(name: str, help: str, field: str = "", metavar: str = "TEXT", **more: Any) -> click.Option:
    field = field or name.replace("-", "_")
    return click.Option([f"--{name}", field], help=help, metavar=metavar, **more)


def switch(name: str, help: str) -> click.Option:
    return click.Option([f"--{name}", name], help=help, flag_value=True, default=None, type=click.BOOL)


ACCOUNT = opt("account", "Only of this account.", metavar="A")
PAGE = (
    opt("limit", "How many at most; 100 unless told.", metavar="N"),
    opt("after", "Where the page before ended.", metavar="PLACE"),
)
