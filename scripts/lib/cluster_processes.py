"""The processes of a cluster, found by the mark that each was started with: whoever started it may be dead.

No file says which they are, since it would be wrong after a crash, and pids are given again.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

_MARK = "CLUSTER_PROCESS"
_PROC = Path("/proc")
_KERNELS = 0x00200000
"""Of the flags in /proc/PID/stat: a thread of the kernel's."""
_LOOKS = 1000
"""How often, a millisecond apart, a process is looked at that becomes another program."""


def marked(folder: Path, name: str) -> dict[str, str]:
    """Return what a process of a cluster has in its environment."""
    return {_MARK: f"{folder}:{name}"}


def running(folder: Path) -> dict[str, int]:
    """Return the processes that were started, by their names; neither what they started nor what is dead."""
    return {name: pid for pid, name in _marked(folder) if _leads(pid)}


def everything(folder: Path) -> set[int]:
    """Return every process, with what they started: also guests, who are told nothing of the mark."""
    marked = {pid for pid, _ in _marked(folder)}
    apart = {_host_names(pid) for pid in marked} - {_host_names(os.getpid()), None}
    guests = {pid for pid in _pids() if _host_names(pid) in apart} if apart else set[int]()
    return marked | guests | set(_of_postgres(folder / "postgres" / "data"))


def of_name(folder: Path, name: str) -> set[int]:
    """Return a process and what it started; not what has left its session, as whatever is with guests does."""
    leader = running(folder).get(name)
    found = {pid for pid, each in _marked(folder) if each == name and _session(pid) == leader}
    return found | set(_of_postgres(folder / "postgres" / "data")) if name == "postgres" else found


class Known:
    """Processes that were found, held so that none of them can become another one meanwhile. Close it."""

    def __init__(self, look: Callable[[], set[int]]) -> None:
        self._handles: dict[int, int] = {}
        for pid in look():
            with contextlib.suppress(ProcessLookupError):
                self._handles[pid] = os.pidfd_open(pid)
        # Each handle is of the process that the pid had when it was opened: was that still the one that was meant?
        for pid in self._handles.keys() - look():
            os.close(self._handles.pop(pid))

    def __enter__(self) -> Known:
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self._handles.values():
            os.close(handle)

    @property
    def pids(self) -> set[int]:
        """Their pids."""
        return set(self._handles)

    def tell(self, number: signal.Signals) -> None:
        """Send them a signal."""
        for handle in self._handles.values():
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, number)

    def ended(self, seconds: float) -> bool:
        """Wait until all have ended: with what they listened at and held locked given back."""
        end = time.monotonic() + seconds
        waiting = select.poll()
        left = set(self._handles.values())
        for handle in left:
            waiting.register(handle, select.POLLIN)
        while left:
            if not (found := waiting.poll(max(end - time.monotonic(), 0) * 1000)):
                return False
            for handle, _ in found:
                waiting.unregister(handle)
                left.remove(handle)
        return True


def _marked(folder: Path) -> Iterator[tuple[int, str]]:
    prefix = os.fsencode(f"{_MARK}={folder}:")
    for pid in _pids():
        with contextlib.suppress(OSError):
            for variable in _environment(pid).split(b"\0"):
                if variable.startswith(prefix):
                    yield pid, os.fsdecode(variable.removeprefix(prefix))


def _environment(pid: int) -> bytes:
    """Return what a process has in its environment; while it becomes another program it has none for a moment."""
    here = _PROC / str(pid)
    for _ in range(_LOOKS):
        before = _program(here)
        if (found := (here / "environ").read_bytes()) or before is None:
            return found
        if before[0] and before == _program(here):
            return found  # It was one program throughout, and has none.
        time.sleep(0.001)
    return b""


def _program(here: Path) -> list[int] | None:
    """Return where a process has its code, stack and words: a code at 0 is not loaded yet, and none can be it no more.

    Raises:
        OSError: There is none of it.
    """
    fields = (here / "stat").read_text().rpartition(")")[2].split()
    state, flags = fields[0], int(fields[6])
    if state in "ZX" or flags & _KERNELS:
        return None
    # Counted as in proc(5) less the three before: startcode, endcode, startstack; arg_start to env_end.
    return [int(each) for each in (*fields[23:26], *fields[45:49])]


def _leads(pid: int) -> bool:
    return _session(pid) == pid


def _session(pid: int) -> int:
    with contextlib.suppress(OSError):
        return os.getsid(pid)
    return -1


def _host_names(pid: int) -> Path | None:
    """Return the UTS namespace of a process, of which each sandbox has its own."""
    with contextlib.suppress(OSError):
        return (_PROC / str(pid) / "ns" / "uts").readlink()
    return None


def _of_postgres(data: Path) -> Iterator[int]:
    """Find the processes of connections, which write their titles over their environment."""
    for pid in _pids():
        with contextlib.suppress(OSError):
            here = _PROC / str(pid)
            if (here / "comm").read_text().strip() == "postgres" and (here / "cwd").readlink() == data:
                yield pid


def _pids() -> Sequence[int]:
    return [int(entry.name) for entry in _PROC.iterdir() if entry.name.isdigit()]
