"""What a serving process does with the interpreter; in a process of its own, since it is for good."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import gc, sys
from floe.cli import interpreter

with interpreter.starting():
    assert not gc.isenabled()
    kept = [[] for _ in range(50_000)]
assert gc.isenabled()
assert gc.get_freeze_count() > 50_000
assert len(gc.get_objects()) < 1_000, len(gc.get_objects())
assert sys.getswitchinterval() <= interpreter.SWITCH_SECONDS
ring = []
ring.append(ring)
del ring
assert gc.collect() > 0
"""


def test_what_is_there_after_the_start_is_looked_through_no_more_and_what_comes_later_is() -> None:
    subprocess.run([sys.executable, "-c", _PROGRAM], check=True)
