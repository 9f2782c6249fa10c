"""Base images leave a host's cache when no guest has used them for a while, and at once when its disk gets full.

Who uses a base has a link to it among its own files; a disk of an earlier release names the file in the cache that it
stands on. A build that has no files yet holds the lock of its base (`image_locks`), and none is removed without that.
"""

from __future__ import annotations

import contextlib
import logging
import math
import struct
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import msgspec

from floe.agent.folders import Versions, version_of
from floe.agent.image_copy import HALF
from floe.agent.image_locks import held
from floe.agent.threads import Offload, in_thread
from floe.core.clock import Clock
from floe.core.counters import Count, Counters
from floe.disk import DiskRoom

log = logging.getLogger(__name__)

EVICTED = Count("floe_images_evicted", "Base images removed from the caches of hosts", ("why",))
EVICTED_BYTES = Count("floe_images_evicted_bytes", "Bytes of base images removed from the caches of hosts", ("why",))
AGE, ROOM = "age", "room"

_SUFFIXES = ("", HALF, ".json", ".lock")
"""Of the files that an image has in the cache, in the order in which they are removed."""
_LARGE = frozenset({"", HALF})
_HEAD = struct.Struct(">4sIQI")
_MAX_NAME = 1023
"""Of a backing file, by qcow2's own specification."""


class Keeping(msgspec.Struct, frozen=True, kw_only=True):
    """How long base images are kept that no guest uses: for `seconds`, while there is `room` on the disk.

    `users` gives the folders of all guests of all hosts that share a cache; None where no other host does.
    """

    seconds: float = 86400.0
    room: DiskRoom | None = None
    users: Callable[[], Iterable[Path]] | None = None


class ImageEviction:
    """Removes base images from a cache that the guests in the folders that `users` gives do not use."""

    def __init__(
        self,
        directory: Path,
        users: Callable[[], Iterable[Path]],
        clock: Clock,
        keeping: Keeping,
        *,
        counters: Counters | None = None,
        offload: Offload = in_thread,
        version: Versions = version_of,
    ) -> None:
        self._directory, self._users, self._clock, self._keep = directory, users, clock, keeping.seconds
        self.room = keeping.room or DiskRoom(directory)
        self._counters, self._offload, self._version = counters or Counters(), offload, version
        self._looked: tuple[int, ...] | None = None
        """The version of the folder in which no image is old before `_due`."""
        self._due = math.inf

    async def round(self) -> list[str]:
        """Remove what was not used for long, then what is needed to have room; return the images' names."""
        version = self._version(self._directory)
        if version is None or version != self._looked:
            self._looked, self._due = version, await self._offload(self._first_due)
        if self._due == math.inf:
            return []  # most hosts of a large cloud, most of the time: no thread needs to look
        gone, now = [], self._clock.now().timestamp()
        if now >= self._due:
            before = now - self._keep
            gone = await self._evict(AGE, lambda last: last <= before)
        return gone + await self.make_room(0)

    async def make_room(self, size: int) -> list[str]:
        """Remove images that nobody uses, those first that were not used for longest, until `size` bytes fit."""
        room = self.room
        if not self._directory.exists() or room.left() >= size:
            return []
        return await self._evict(ROOM, lambda _: room.left() < size)

    async def _evict(self, why: str, wanted: Callable[[float], bool]) -> list[str]:
        gone = await self._offload(self._remove_unused, wanted)
        for name, size in gone.items():
            log.info("base image %s is removed, which no guest uses: %d bytes (%s)", name, size, why)
            self._counters.add(EVICTED, why)
            self._counters.add(EVICTED_BYTES, why, amount=size)
        return list(gone)

    def _remove_unused(self, wanted: Callable[[float], bool]) -> dict[str, int]:
        """Remove, the oldest first, the images that nobody uses, as long as they are wanted gone."""
        found = sorted(self._images())
        if not any(wanted(last) for last, _ in found):
            return {}
        used = self._used()
        gone: dict[str, int] = {}
        for last, name in found:
            if name not in used and not self._linked(name) and wanted(last):
                with held(self._directory, name) as lock:
                    # Once more, now that no build can begin: one may have come and gone since.
                    if lock is not None and not self._linked(name) and name not in self._used():
                        gone[name] = self._remove(name)
        return gone

    def _remove(self, name: str) -> int:
        size = 0
        for suffix in _SUFFIXES:
            path = self._directory / f"{name}{suffix}"
            if path.exists():
                size += path.stat().st_blocks * 512 if suffix in _LARGE else 0
                path.unlink()
        return size

    def _first_due(self) -> float:
        """Return from when on some image may be old: its uses make that later, another one shows in the folder."""
        return min((last for last, _ in self._images()), default=math.inf) + self._keep

    def _images(self) -> Iterator[tuple[float, str]]:
        """Give when each image was last used, and its name; each has a lock, which is touched at each use."""
        if self._directory.exists():
            for lock in self._directory.glob("*.lock"):
                with contextlib.suppress(FileNotFoundError):  # another host was quicker
                    yield lock.stat().st_mtime, lock.name.removesuffix(".lock")

    def _linked(self, name: str) -> bool:
        """Say whether some guest has the image among its own files: to remove it here would free nothing."""
        try:
            return (self._directory / name).stat().st_nlink > 1
        except FileNotFoundError:
            return False

    def _used(self) -> set[str]:
        """Return the names of the images that disks of an earlier release stand on."""
        here, used = self._directory.resolve(), set()
        for folder in self._users():
            # A guest may be removed meanwhile; and what its disk says of itself was written by it.
            with contextlib.suppress(OSError, ValueError):
                for disk in folder.glob("*.qcow2"):
                    backing = backing_file(disk)
                    if backing is not None and backing.parent.resolve() == here:
                        used.add(backing.name)
        return used


def backing_file(disk: Path) -> Path | None:
    """Return the file that a qcow2 file stands on, None if on none."""
    try:
        with disk.open("rb") as file:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return None
            magic, _, offset, size = _HEAD.unpack(head)
            if magic != b"QFI\xfb" or not offset or not 0 < size <= _MAX_NAME:
                return None
            file.seek(offset)
            name = file.read(size)
            return disk.parent / name.decode(errors="surrogateescape") if len(name) == size else None
    except FileNotFoundError:
        return None
