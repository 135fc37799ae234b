"""Webhooks out: what is told to others leaves from here, signed, until somebody has it."""

from metergate.notices.courier import Courier

__all__ = ["Courier"]
