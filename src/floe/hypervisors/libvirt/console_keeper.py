"""A process of its own that takes what guests write to their consoles, and keeps the end of it within a bound.

    python -I -S console_keeper.py DIRECTORY

It reads each pipe DIRECTORY/*/console.pipe and appends to console.log beside it; one that is full becomes
console.log.0. It outlives whoever started it, as guests do. While nobody reads a pipe, QEMU passes over what it cannot
write: a guest is neither held up nor able to fill the disk, and whoever opens the pipe next reads on.

It puts itself in the background once it reads all pipes there are, and looks for new ones when told by SIGHUP. Once in
a minute it sees whether any are left, and ends if not. A lock on DIRECTORY/../console-keeper says that it is there: a
second one ends at once. This file imports nothing but the standard library, so that the process is small.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import resource
import selectors
import signal
import socket
import stat
import sys
import time
from pathlib import Path

LOCK, PIPE, LOG = "console-keeper", "console.pipe", "console.log"
LIMIT = 1024 * 1024
"""Bytes of a log; of each guest there are at most two logs."""

_AT_ONCE = 64 * 1024
_LOOK_SECONDS = 60.0


class Console:
    """A pipe and the log that it goes to."""

    def __init__(self, pipe: Path) -> None:
        # Opened for writing as well it never ends, whatever becomes of the guest.
        self.pipe = os.open(pipe, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self._log = pipe.with_name(LOG)
        self._file = -1
        self._size = 0

    def take(self) -> None:
        """Move what is in the pipe, or much of it, to the log; what the disk does not take is lost."""
        try:
            data = os.read(self.pipe, _AT_ONCE)
        except BlockingIOError:
            return
        try:
            self._keep(data)
        except OSError:
            self._close_log()  # the disk is full, or the log was removed: the next bytes begin with what is there then

    def is_at(self, pipe: Path) -> bool:
        """Say whether this is what is at that path now."""
        try:
            there, here = pipe.stat(), os.fstat(self.pipe)
        except OSError:
            return False
        return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)

    def close(self) -> None:
        """Let go of both."""
        os.close(self.pipe)
        self._close_log()

    def _keep(self, data: bytes) -> None:
        if self._file < 0:
            self._open_log()
        if self._size + len(data) > LIMIT:
            self._close_log()
            self._log.replace(self._log.with_name(f"{LOG}.0"))
            self._open_log()
        self._size += os.write(self._file, data)

    def _open_log(self) -> None:
        self._file = os.open(self._log, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._size = os.fstat(self._file).st_size

    def _close_log(self) -> None:
        if self._file >= 0:
            os.close(self._file)
        self._file = -1


class Keeper:
    """All consoles of a directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._consoles: dict[Path, Console] = {}
        self._selector = selectors.DefaultSelector()
        self._woken, waker = socket.socketpair()
        self._woken.setblocking(False)
        waker.setblocking(False)
        self._waker = waker
        signal.signal(signal.SIGHUP, lambda _number, _frame: None)
        signal.set_wakeup_fd(waker.fileno(), warn_on_full_buffer=False)
        self._selector.register(self._woken, selectors.EVENT_READ)

    def look(self) -> None:
        """Begin to read pipes that came, and let go of those that went."""
        for path, console in list(self._consoles.items()):
            if not console.is_at(path):
                self._selector.unregister(console.pipe)
                console.close()
                del self._consoles[path]
        for path in self._directory.glob(f"*/{PIPE}"):
            with contextlib.suppress(OSError):
                if path not in self._consoles and stat.S_ISFIFO(path.lstat().st_mode):
                    console = self._consoles[path] = Console(path)
                    self._selector.register(console.pipe, selectors.EVENT_READ, console)

    def serve(self) -> None:
        """Read, until there is nothing to read from any more."""
        due = time.monotonic() + _LOOK_SECONDS
        while True:
            for key, _ in self._selector.select(max(0.0, due - time.monotonic())):
                if isinstance(key.data, Console):
                    key.data.take()
                else:
                    self._woken.recv(_AT_ONCE)
                    self.look()
            if time.monotonic() >= due:
                self.look()
                if not self._consoles:
                    return
                due = time.monotonic() + _LOOK_SECONDS


def main(directory: Path) -> int:
    """Serve the directory in the background; return once that is so, 0 also where another does already."""
    ready, tell = os.pipe()
    if os.fork():
        os.close(tell)
        return 0 if os.read(ready, 1) else 1
    os.close(ready)
    os.setsid()
    os.chdir("/")
    lock = os.open(directory.with_name(LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.lockf(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        os.write(tell, b".")
        return 0
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    keeper = Keeper(directory)
    keeper.look()
    null = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(null, number)
    os.write(tell, b".")
    os.close(tell)
    keeper.serve()
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
