"""The command line: what operators type. What a command needs is loaded when it runs."""

from metergate.cli.root import main

__all__ = ["main"]
