"""What the process has loaded before its first call is no garbage, nor are calls that wait together.

A full collection looks at every object that SQL, schemas and the framework have loaded, which is dear beside
a call and finds nothing. So these objects are set aside once, when a gate begins to serve; what comes later
is collected as ever, but not for a turn of calls that wait together: they are free when they end. A process
whose owner has arranged its collector already is left alone.
"""

import gc

GARBAGE_AFTER = 10_000
"""So many more objects than were freed make the collector look: more than a turn of calls in a framework."""


def set_aside() -> None:
    if gc.isenabled() and gc.get_freeze_count() == 0:
        gc.collect()
        gc.freeze()
        often, *rarely = gc.get_threshold()
        if 0 < often < GARBAGE_AFTER:
            gc.set_threshold(GARBAGE_AFTER, *rarely)
