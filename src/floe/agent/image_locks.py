"""Locks on the base images of a host: shared while a guest is built from one, exclusive to fetch or remove it.

The kernel takes a dead process's locks away, so that nothing has to be found out about who held one.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

WAIT = 0.1
"""Seconds between two attempts to take a lock that another one holds."""


@contextmanager
def held(folder: Path, name: str, *, shared: bool = False) -> Iterator[Path | None]:
    """Hold the lock of an image at once, or give None where another one holds it."""
    path = folder / f"{name}.lock"
    while True:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            try:
                fcntl.flock(fd, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
                return
            if _is(fd, path):
                yield path
                return
        finally:
            os.close(fd)


def _is(fd: int, path: Path) -> bool:
    """Say whether this is still the file under the path: whoever removes an image removes its lock file too."""
    try:
        return os.path.samestat(os.fstat(fd), path.stat())
    except FileNotFoundError:
        return False
