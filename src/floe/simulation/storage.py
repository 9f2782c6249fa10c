"""Files in a simulation: what was synced outlives a power loss, of the rest something, or nothing, is left."""

from __future__ import annotations

import contextlib
import os
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

from floe.blobs.files import FileBlobs
from floe.blobs.protocol import Stored
from floe.core.errors import NotFound, Unavailable


class Synced:
    """How much of each file, by inode, is on the disk for certain: as much as there was at its last fsync."""

    def __init__(self) -> None:
        self._bytes: dict[int, int] = {}

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Take note of each fsync that is asked for inside, and save the time it takes."""
        real = os.fsync, os.fdatasync
        os.fsync = os.fdatasync = self._sync
        try:
            yield
        finally:
            os.fsync, os.fdatasync = real

    def whole(self, path: Path) -> bool:
        """Say whether all that is in a file is on the disk for certain."""
        found = path.stat()
        return self._bytes.get(found.st_ino) == found.st_size

    def power_loss(self, folder: Path, dice: Random) -> None:
        """Cut the files of a folder short, as a disk may have them after the power went; some are gone."""
        for path in sorted(folder.rglob("*")):
            if path.is_dir() or path.suffix == ".part":  # nobody ever reads a part again
                continue
            found = path.stat()
            kept = self._bytes.get(found.st_ino)
            if kept is None and dice.random() < 0.4:
                path.unlink()
            else:
                os.truncate(path, dice.randint(min(kept or 0, found.st_size), found.st_size))

    def _sync(self, fd: Any) -> None:
        found = os.fstat(fd)
        self._bytes[found.st_ino] = found.st_size


class SimulatedBlobs:
    """See `Blobs`: real files, with time to die in around each use of them. It belongs to one life of a process.

    While `broken` says so, nothing can be written or removed.
    """

    def __init__(
        self, pause: Callable[[str], Awaitable[None]], folder: Path, broken: Callable[[], bool] = lambda: False
    ) -> None:
        self._pause, self._files, self._broken = pause, FileBlobs(folder), broken

    async def write(
        self, blob_id: str, chunks: AsyncIterator[bytes], *, max_bytes: int, announced: int = 0, caller: str = ""
    ) -> Stored:
        """See `Blobs.write`."""
        await self._pause("blob.before")
        self._demand_working()
        stored = await self._files.write(
            blob_id, self._slowly(chunks), max_bytes=max_bytes, announced=announced, caller=caller
        )
        await self._pause("blob.after")
        return stored

    async def read(
        self, blob_id: str, start: int = 0, length: int | None = None, *, caller: str = ""
    ) -> AsyncIterator[bytes]:
        """See `Blobs.read`; images here are small."""
        await self._pause("image")
        path = self._files.path(blob_id)
        if path is None:
            raise NotFound("image data", blob_id)
        yield path.read_bytes()

    def path(self, blob_id: str) -> Path | None:
        """Hosts are other machines."""
        return None

    async def delete(self, blob_id: str) -> None:
        """See `Blobs.delete`."""
        await self._pause("blob.before")
        self._demand_working()
        await self._files.delete(blob_id)
        await self._pause("blob.after")

    async def find(self) -> list[str]:
        """See `Blobs.find`."""
        await self._pause("blob.find")
        return await self._files.find()

    def _demand_working(self) -> None:
        if self._broken():
            raise Unavailable("The image store failed: Input/output error.")

    async def _slowly(self, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
        async for chunk in chunks:
            await self._pause("upload")
            yield chunk


def close_parts(folder: Path) -> None:
    """Close the half-written files of a process that died, as the kernel does."""
    mark = f"{folder}/"
    for fd in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(OSError):
            target = str(fd.readlink()).removesuffix(" (deleted)")
            if target.startswith(mark) and target.endswith(".part"):
                os.close(int(fd.name))
