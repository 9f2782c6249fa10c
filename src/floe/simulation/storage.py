"""Files in a simulation: what was synced outlives a power loss, of the rest something, or nothing, is left."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any, TypeVar, cast

from floe.blobs.files import FileBlobs
from floe.blobs.protocol import Stored
from floe.core.errors import NotFound, Unavailable
from floe.hypervisors.protocol import IMAGES

T = TypeVar("T")


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


REMOVED_FOR_CERTAIN = 30.0
"""Seconds after which what was removed stays so: by then a kernel has written to the disk that it is gone."""


class Removals:
    """What was removed from a host of late: nobody syncs that, so that a loss of power may bring it back.

    `folders` is where the folders are that go, `aside` where they are put instead, `cache` has the images that they
    share; `whole` says whether all that is in a file is on the disk for certain.
    """

    def __init__(
        self, folders: Path, aside: Path, cache: Path, now: Callable[[], float], whole: Callable[[Path], bool]
    ) -> None:
        self._folders, self._aside, self._cache, self._now, self._whole = folders, aside, cache, now, whole
        self._guests: list[tuple[float, str]] = []
        self._gone: list[tuple[float, Path, dict[str, int]]] = []
        """When each folder went, where it is now, and its images by name: which inode each was."""

    def guest(self, server_id: str) -> None:
        """A guest was removed from the hypervisor."""
        self._guests.append((self._now(), server_id))

    def instead(self, _remove: Callable[..., T]) -> Callable[..., T]:
        """Return what is called in place of the function that removes a folder."""
        return cast("Callable[..., T]", self._put_aside)

    def _put_aside(self, folder: Path) -> None:
        """Remove a folder. The images that it shares with others are gone at once: who counts their names sees it."""
        self._forget()
        if any(path.is_file() and self._whole(path) for path in folder.iterdir()):  # so what was in its place is gone
            self._gone = [item for item in self._gone if item[1].name != folder.name]
        kept = self._aside / f"{self._now():.6f}" / folder.name
        kept.parent.mkdir(parents=True, exist_ok=True)
        folder.rename(kept)
        images = {path.name: path.stat().st_ino for path in sorted((kept / IMAGES).glob("*"))}
        shutil.rmtree(kept / IMAGES, ignore_errors=True)
        self._gone.append((self._now(), kept, images))

    def power_loss(self, dice: Random) -> tuple[list[str], list[str]]:
        """Return which guests, and which folders, are there again; the others are gone for certain.

        A folder's files go one by one, so that a part of them may be back: then its images are gone.
        """
        self._forget()
        guests = [server_id for _, server_id in self._guests if dice.random() < 0.5]
        folders = []
        for _, kept, images in self._gone:
            if dice.random() < 0.5 and not (self._folders / kept.name).exists():
                if dice.random() < 0.5:
                    self._share(images, kept / IMAGES)
                kept.rename(self._folders / kept.name)
                folders.append(kept.name)
        self._guests.clear()
        self._gone.clear()
        shutil.rmtree(self._aside, ignore_errors=True)
        return guests, folders

    def _share(self, images: dict[str, int], folder: Path) -> None:
        """Have images in a folder again, of those that are still in the cache."""
        cached = {path.stat().st_ino: path for path in self._cache.glob("*")}
        folder.mkdir(exist_ok=True)
        for name, inode in images.items():
            if inode in cached:
                (folder / name).hardlink_to(cached[inode])

    def _forget(self) -> None:
        since = self._now() - REMOVED_FOR_CERTAIN
        self._guests = [item for item in self._guests if item[0] > since]
        for when, kept, _ in self._gone:
            if when <= since:
                shutil.rmtree(kept.parent, ignore_errors=True)
        self._gone = [item for item in self._gone if item[0] > since]


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
