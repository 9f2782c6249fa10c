"""The interpreter of a process that serves many at once: no thread, and no clean-up, may hold it for long."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_SECONDS = 0.001
"""After which a thread that computes gives way to the event loop's; Python's own is 5 ms, which a request with a dozen
statements would wait through a dozen times."""
_THRESHOLDS = (2000, 20, 50)
"""New objects between two looks at the youngest, and how many of those make one at the older ones, and at all.

By Python's own (700, 10, 10) a read of some thousand rows starts a look at everything again and again.
"""


@contextmanager
def starting() -> Iterator[None]:
    """Start the process within: what is there afterwards stays, and no collection looks through it any more.

    A look at all objects holds every thread. With 10,000 servers it took 230 ms of CPU; with what was there at the
    start left out, 20 to 30 after the longest reads.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)
        gc.enable()
        sys.setswitchinterval(SWITCH_SECONDS)
