"""Where the shipped policies are: in the installed package, or beside it in a checkout."""

from pathlib import Path

from metergate.errors import ConfigurationError

_PACKAGE = Path(__file__).parents[1]


def folder() -> Path:
    """The folder of the shipped policies and their schema."""
    for found in (_PACKAGE / "policies", _PACKAGE.parent / "policies"):
        if found.is_dir():
            return found
    raise ConfigurationError("The shipped policies are missing; install metergate again.")


def templates() -> tuple[str, ...]:
    """What `metergate init --template` can start from."""
    return tuple(sorted(path.stem for path in folder().glob("*.yaml")))


def template(name: str) -> Path:
    """The shipped policy of that name."""
    if name not in templates():
        raise ConfigurationError(f"Use one of the templates {', '.join(templates())}.")
    return folder() / f"{name}.yaml"
