"""Both ends of a command: its libraries load without a search for garbage, and when all is said and closed it ends at once. Never touches
what happens in between."""

from __future__ import annotations

import atexit
import gc
import logging
import os
import sys
import threading
from contextlib import suppress

LIBRARIES = 3.0  # seconds that those of a stage take to load
_code: int | None = None


def begin() -> None:
    """Do not look for garbage in the next seconds: of all that is loaded nothing is, and looking takes a fifth of the time. Processes that
    are forked meanwhile look at once. To be called before anything registers what it does at the end."""
    gc.disable()
    os.register_at_fork(after_in_child=gc.enable)
    timer = threading.Timer(LIBRARIES, gc.enable)
    timer.daemon = True
    timer.start()
    atexit.register(_leave)


def end(code: int) -> None:
    """When the threads have ended, and everybody has done what is registered for the end, the process ends with `code` and is not taken
    apart before: that would take 0.4 to 2.5 seconds of a stage's."""
    global _code
    _code = code


def _leave() -> None:
    if _code is None:  # not ended in the usual way
        return
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    os._exit(_code)
