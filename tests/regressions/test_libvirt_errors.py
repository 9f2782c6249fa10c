"""A process that libvirt forked, and that failed before it became QEMU, waited for ever for the interpreter's lock.

When `floe up` was killed just then, that process kept its locks and its port, and no other `floe up` could start.
"""

from __future__ import annotations

import subprocess
import sys

# A thread that is not Python's stands for the forked process: nobody will ever give it the interpreter's lock, which
# the main thread holds on to while it waits (PyDLL, unlike CDLL, does not let go of it).
PROGRAM = """
import ctypes
from floe.hypervisors.libvirt.connection import bindings

bindings()
fails = ctypes.cast(ctypes.CDLL("libvirt.so.0").virConnectClose, ctypes.c_void_p)  # of no connection: an error
c, thread = ctypes.PyDLL(None), ctypes.c_ulong()
assert c.pthread_create(ctypes.byref(thread), None, fails, None) == 0
deadline = (ctypes.c_long * 2)(2**31, 0)
c.alarm(20)
assert c.pthread_timedjoin_np(thread, None, ctypes.byref(deadline)) == 0
print("ended")
"""


def test_an_error_ofbindings_needs_no_lock_of_the_interpreter():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "ended\n", "")
