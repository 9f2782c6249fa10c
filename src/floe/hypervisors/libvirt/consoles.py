"""The pipes that guests' consoles go through, and the process that reads them: see `console_keeper`."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import fcntl
import logging
import os
import signal
import struct
import sys
from pathlib import Path

from floe import programs
from floe.core.errors import HostFailure
from floe.hypervisors.libvirt import console_keeper

log = logging.getLogger(__name__)

_START_SECONDS = 30.0
_READ_SECONDS = 10.0
_PAUSE = 0.01
_FLOCK = struct.Struct("hhqqi4x")
"""`struct flock`: kind, whence, start, length, process."""


class Consoles:
    """Those of the guests whose folders are in `directory`."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._starting = asyncio.Lock()
        self._watched: tuple[int, int] | None = None
        """The process whose end is heard of, and its pidfd."""
        self._again: asyncio.Task[None] | None = None

    async def look_after(self) -> None:
        """Have all pipes that there are read; without any, nothing runs."""
        try:
            await self._serve()
        except HostFailure as failure:
            log.error("what guests write to their consoles is lost for now: %s", failure.detail)

    async def pipe(self, folder: Path) -> Path:
        """Return the pipe for the console of the guest with this folder: there, and read. Raises HostFailure."""
        path = folder / console_keeper.PIPE
        with contextlib.suppress(FileExistsError):
            os.mkfifo(path, 0o600)
        try:
            async with asyncio.timeout(_READ_SECONDS + _START_SECONDS):
                await self._serve()
                self._tell()
                while not _is_read(path):
                    await asyncio.sleep(_PAUSE)
                    if self.keeper() is None:  # it ended just now, as it had nothing to read
                        await self._serve()
        except TimeoutError:
            raise _failure(f"nobody reads {path}") from None
        return path

    def keeper(self) -> int | None:
        """Return the process that reads, None if there is none: who holds the lock."""
        try:
            file = os.open(self._directory.with_name(console_keeper.LOCK), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        try:
            asked = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            kind, _, _, _, process = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_GETLK, asked))
        finally:
            os.close(file)
        return None if kind == fcntl.F_UNLCK else int(process)

    def close(self) -> None:
        """Hear no more of it; it goes on reading."""
        if self._again is not None:
            self._again.cancel()
        self._unwatch()

    async def _serve(self) -> None:
        async with self._starting:
            if self.keeper() is None and any(self._directory.glob(f"*/{console_keeper.PIPE}")):
                await self._start()
            self._watch()

    async def _start(self) -> None:
        # Of the Python that runs this, without its packages; and not under this directory, which may go.
        command = (sys.executable, "-I", "-S", "-B", console_keeper.__file__, str(self._directory.absolute()))
        try:
            # It outlives this process, and so would what there is in its environment.
            ended = await programs.run(command, seconds=_START_SECONDS, env={})
        except (OSError, TimeoutError) as error:
            raise _failure(repr(error)) from error
        if ended.code:
            raise _failure(ended.err.decode(errors="replace"))

    def _tell(self) -> None:
        """Have it look for new pipes."""
        keeper = self.keeper()
        if keeper is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(keeper, signal.SIGHUP)

    def _watch(self) -> None:
        keeper = self.keeper()
        if keeper is None or (self._watched is not None and self._watched[0] == keeper):
            return
        self._unwatch()
        with contextlib.suppress(ProcessLookupError):
            handle = os.pidfd_open(keeper)
            self._watched = (keeper, handle)
            asyncio.get_running_loop().add_reader(handle, self._ended)

    def _unwatch(self) -> None:
        if self._watched is not None:
            handle = self._watched[1]
            self._watched = None
            asyncio.get_running_loop().remove_reader(handle)
            os.close(handle)

    def _ended(self) -> None:
        self._unwatch()
        log.warning("the process that reads the consoles of guests has ended")
        self._again = asyncio.get_running_loop().create_task(self.look_after(), name="consoles")


def _is_read(pipe: Path) -> bool:
    """Say whether somebody reads a pipe: else whoever opens it to write would wait."""
    try:
        os.close(os.open(pipe, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC))
    except OSError as error:
        if error.errno == errno.ENXIO:
            return False
        raise
    return True


def _failure(detail: str) -> HostFailure:
    return HostFailure("The guest's console cannot be kept.", stage="guest", detail=detail)
