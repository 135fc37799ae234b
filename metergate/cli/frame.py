"""What all commands share: their options, their exit codes, and errors of one sentence.

Exit codes: 0 it was done, 1 no, 2 the command was not understood.
"""

import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import click
from click.exceptions import NoArgsIsHelpError

from metergate.errors import MetergateError


class Root(click.Group):
    """The command `metergate`. Whatever goes wrong below it ends as one sentence and an exit code."""

    def main(self, *args: Any, **more: Any) -> Any:
        try:
            code = super().main(*args, **{**more, "standalone_mode": False})
        except NoArgsIsHelpError as error:
            error.show()
            sys.exit(2)
        except click.UsageError as error:
            where = error.ctx.command_path if error.ctx else "metergate"
            fail(f"{error.format_message()} See {where} --help.", 2)
        except click.ClickException as error:
            fail(error.format_message(), error.exit_code)
        except MetergateError as error:
            fail(str(error))
        except BrokenPipeError:
            # Who reads has seen enough; what Python would still flush has nowhere to go.
            sys.stdout = sys.stderr
            sys.exit(1)
        except OSError as error:
            fail(f"{error.filename or 'The system'}: {error.strerror or error}.")
        except (click.Abort, KeyboardInterrupt):
            sys.exit(130)
        sys.exit(code if isinstance(code, int) else 0)


class Listing(click.Group):
    """A group whose bare name lists: `metergate accounts` is `metergate accounts list`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if "--help" not in args and (not args or args[0].startswith("-")):
            args = ["list", *args]
        return super().parse_args(ctx, args)


def fail(sentence: str, code: int = 1) -> NoReturn:
    click.echo(f"metergate: {sentence}", err=True)
    sys.exit(code)


def policy_option() -> click.Option:
    return click.Option(["--policy"], metavar="FILE", default="", help="The policy; else METERGATE_POLICY.")


def json_option() -> click.Option:
    return click.Option(["--json", "as_json"], is_flag=True, help="Answer in JSON.")


def policy_of(given: str) -> str:
    """The policy that a command works with: the one it names, or METERGATE_POLICY."""
    import os

    chosen = given or os.environ.get("METERGATE_POLICY", "")
    if not chosen:
        raise click.UsageError("Name a policy with --policy FILE or METERGATE_POLICY.")
    return chosen


def command(
    name: str, callback: Callable[..., object], help: str, params: Sequence[click.Parameter] = ()
) -> click.Command:
    return click.Command(name, callback=callback, help=help, params=[*params, json_option()])
