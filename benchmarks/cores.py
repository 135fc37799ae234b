"""Where processes run: the server alone on one core, everything else on another, where there are two."""

import os

SERVER, CLIENT = 0, 1


def pin(place: int) -> None:
    """Keep this process, and what it starts from now on, on the core of its part."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) > 1:
        os.sched_setaffinity(0, {usable[place]})
