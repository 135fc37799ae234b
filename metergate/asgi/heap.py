"""What the process has loaded before its first call is no garbage.

A full collection looks at every object that SQL, schemas and the framework have loaded, which is dear beside
a call and finds nothing. So these objects are set aside once, when a gate begins to serve; what comes later
is collected as ever. A process whose owner has arranged its collector already is left alone.
"""

import gc


def set_aside() -> None:
    if gc.isenabled() and gc.get_freeze_count() == 0:
        gc.collect()
        gc.freeze()
