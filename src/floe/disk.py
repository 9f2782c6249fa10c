"""Room on a file system, above a reserve that what tenants send cannot touch: the database lies on the same disk."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

GIB = 2**30


class DiskFull(OSError):
    """There is no room above the reserve."""


class DiskRoom:
    """What may still be written to the file system of a folder. `reserve` is in bytes, None for the usual one.

    For all threads of a process, which promise each other room; what others write is seen as it is written.
    """

    def __init__(
        self, folder: Path, reserve: int | None = 0, *, statvfs: Callable[[Path], os.statvfs_result] = os.statvfs
    ) -> None:
        self._folder, self._reserve, self._statvfs = folder, reserve, statvfs
        self._lock = threading.Lock()
        self._promised = 0

    def sizes(self) -> tuple[int, int, int]:
        """Return the bytes that are free, those of them that are kept in reserve, and those of the whole."""
        found = self._statvfs(self._folder)
        whole = found.f_blocks * found.f_frsize
        reserve = usual_reserve(whole) if self._reserve is None else self._reserve
        return found.f_bavail * found.f_frsize, reserve, whole

    def left(self) -> int:
        """Return how many bytes may be written that nobody was promised; below 0, how many are missing."""
        free, reserve, _ = self.sizes()
        return free - reserve - self._promised

    def demand(self, size: int) -> None:
        """Raise DiskFull unless `size` bytes may be written now."""
        with self._lock:
            self._demand(size)

    @contextmanager
    def promise(self, size: int, *, ahead: int | None = None) -> Iterator[Promise]:
        """Keep room for `size` bytes that are to come, 0 when that is not known. Raises DiskFull.

        With `ahead`, no more than so many are kept at a time: who only says that much will come takes it from nobody.
        """
        promise = Promise(self, size, size if ahead is None else ahead)
        with self._lock:
            self._demand(size)
            promise.top_up()
        try:
            yield promise
        finally:
            promise.end()

    def _demand(self, size: int) -> None:
        left = self.left()
        if left < size:
            free, reserve, _ = self.sizes()
            raise DiskFull(f"{free} bytes are free, of which {reserve} are kept in reserve; {size} more were to come")


class Promise:
    """Room that is kept for one writer: at most `ahead` bytes of the `size` that are to come."""

    def __init__(self, room: DiskRoom, size: int, ahead: int) -> None:
        self._room, self._coming, self._ahead, self._kept = room, size, ahead, 0

    def use(self, size: int) -> None:
        """Tell of bytes that are written next, first from what was kept. Raises DiskFull."""
        with self._room._lock:
            self._keep(self._kept - min(size, self._kept))
            self._room._demand(size)
            self._coming = max(0, self._coming - size)
            self.top_up()

    def top_up(self) -> None:
        """Keep room again for what comes next; the room's lock is held."""
        self._keep(min(self._coming, self._ahead))

    def end(self) -> None:
        """Give back what was not used; nothing to do the second time."""
        with self._room._lock:
            self._keep(0)

    def _keep(self, size: int) -> None:
        self._room._promised += size - self._kept
        self._kept = size


def usual_reserve(whole: int) -> int:
    """Return the reserve of a file system of so many bytes where none was set: 1 GiB, at most a twentieth."""
    return min(GIB, whole // 20)
