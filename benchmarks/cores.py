"""Where processes run: the server alone on one core, everything else on another, where there are two."""

import os

SERVER, CLIENT = 0, 1


USABLE = sorted(os.sched_getaffinity(0))


def pin(place: int, pid: int = 0) -> None:
    """Keep a process (0 is this one), and what it starts from now on, on the core of its part."""
    if len(USABLE) > 1:
        os.sched_setaffinity(pid, {USABLE[place]})
