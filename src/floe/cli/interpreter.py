"""The interpreter of a process that serves many at once: no thread, and no clean-up, may hold it for long."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager

SWITCH_SECONDS = 0.001
"""After which a thread that computes gives way to the event loop's; Python's own is 5 ms, which a request with a dozen
statements would wait through a dozen times. What a burst of creates costs is the same by both, as measured."""
_THRESHOLDS = (2000, 20, 50)
"""New objects between two looks at the youngest, and how many of those make one at the older ones, and at all.

Measured over 400 creates and deletes in bursts of 200 and 40 lists of 200 servers, 7 s of CPU: by Python's own
(700, 10, 10) all looks took 270 ms and four of them were at everything; by these 170 ms, one at everything, and no look
at the youngest more than 5 ms; by (10000, 20, 50) 140 ms, but up to 9 at the youngest; by (50000, 20, 50) 160 ms, and
one of 59.
"""


@contextmanager
def starting() -> Iterator[None]:
    """Start the process within: what is there afterwards stays, and no collection looks through it any more.

    A look at all objects holds every thread. With 10,000 servers it took 230 ms of CPU; with what was there at the
    start left out, 20 to 30 after the longest reads.
    """
    gc.disable()
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # numpy's algebra is not used here; its threads would be made
    try:
        yield
    finally:
        gc.freeze()
        gc.set_threshold(*_THRESHOLDS)
        gc.enable()
        sys.setswitchinterval(SWITCH_SECONDS)
