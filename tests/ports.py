"""Ports for the servers of stories."""

import random
import socket

OF_SERVERS = range(12_000, 32_000)
"""None that the system hands out to clients: one of those could take the port before its server is up."""
_DICE = random.SystemRandom()  # two processes of a test run must not find the same ones


def free_port() -> int:
    while True:
        port = _DICE.choice(OF_SERVERS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
