"""The command line: what operators type. Its modules are light; what a command needs is loaded when it runs."""

from metergate.cli.root import main

__all__ = ["main"]
