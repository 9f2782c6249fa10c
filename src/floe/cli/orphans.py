"""The orphans of a process with guests: daemons that its children leave behind are reaped the moment they end.

libvirt starts QEMU by forking twice, and dnsmasq goes into the background in the same way: such a process belongs to
whoever takes orphans, and its number is free, which is what libvirt takes for its end, only once that one has asked for
its status. PID 1 need not be quick about that, and in many a container never does it: a guest that died then shows as
ACTIVE, and a delete waits for one that ended long ago.

So `floe up` and `floe agent` take their orphans themselves. The kernel gives them to the main thread. Children that
somebody here waits for are those of other threads: libvirt's and those of `floe.programs`, which are not looked at.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import signal

log = logging.getLogger(__name__)

_SET_CHILD_SUBREAPER = 36  # prctl(2)
_OF_THIS_THREAD = 0x20000000  # __WNOTHREAD of waitid(2), since Linux 4.7
_LOOK_AGAIN_SECONDS = 0.5


class Orphans:
    """Reaps orphans from the event loop of the main thread.

    A child that may be somebody's own is left to him for `patience` seconds.
    """

    def __init__(self, *, patience: float = 10.0) -> None:
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._in_the_way: tuple[int, float] | None = None
        """A child that has ended and is not surely an orphan, and when it was seen first."""
        self._again: asyncio.TimerHandle | None = None

    def adopt(self) -> None:
        """Take all orphans of this process from now on; where the kernel refuses, they are PID 1's as ever."""
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(_SET_CHILD_SUBREAPER, 1, 0, 0, 0) != 0:
            log.warning("this process cannot take its orphans: %s", os.strerror(ctypes.get_errno()))
            return
        # Not by the loop's own means: uvloop keeps this signal to itself, for programs that it is never asked to start.
        signal.signal(signal.SIGCHLD, lambda *_: self._loop.call_soon_threadsafe(self._reap))
        signal.siginterrupt(signal.SIGCHLD, False)
        self._reap()

    def leave(self) -> None:
        """Reap no more; who is left then is PID 1's when this process ends."""
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        if self._again is not None:
            self._again.cancel()

    def _reap(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None
        with contextlib.suppress(ChildProcessError):
            while (pid := _ended()) is not None:
                if not self._may_be_waited_for(pid):
                    os.waitpid(pid, 0)
                    log.debug("reaped process %d", pid)
                    continue
                # Those that ended behind it are not shown before it is gone, and nobody tells when that is.
                self._again = self._loop.call_later(_LOOK_AGAIN_SECONDS, self._reap)
                return
        self._in_the_way = None

    def _may_be_waited_for(self, pid: int) -> bool:
        """Say whether a child is perhaps one that the main thread started; nobody asked in a while for one that is not.

        It would be in our session; daemons are not.
        """
        if os.getsid(pid) != os.getsid(0):
            return False
        now = self._loop.time()
        if self._in_the_way is None or self._in_the_way[0] != pid:
            self._in_the_way = (pid, now)
        return now - self._in_the_way[1] < self._patience


def _ended() -> int | None:
    """Return a child of this thread that has ended, and leave it as it is."""
    found = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT | _OF_THIS_THREAD)
    return None if found is None else found.si_pid
