"""Image bytes as files in one directory: `ID` is whole and durable, `ID.part` is being written."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import io
import logging
import os
import re
import threading
from collections.abc import AsyncIterator
from pathlib import Path

from floe.blobs.protocol import Stored
from floe.core.errors import Gone, Invalid, NotFound, TooLarge, Unavailable
from floe.disk import DiskFull, DiskRoom, Promise
from floe.pools import Pool

log = logging.getLogger(__name__)

BLOCK = 1 << 20
"""Bytes handed to a thread at a time, for writing as for reading: hashing a block takes far longer than the handing."""

_AHEAD = 64 * BLOCK
"""Bytes that room is kept for at a time, of those that an upload says are to come."""

_ID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}(?:\.[1-9][0-9]{0,8})?", re.IGNORECASE)
_PART = re.compile(rf"(?P<id>{_ID.pattern})(?P<mark>\.[0-9a-f]{{32}})?\.part", re.IGNORECASE)
"""Parts with a mark are those of earlier releases."""
_FULL = {errno.ENOSPC, errno.EDQUOT}


class FileBlobs:
    """Blobs in a directory of this machine, readable by their owner only. Its files' names are the blobs' ids.

    `room` is what there is on its file system; a writer may ask for it in any thread. Who only reads does not `make`
    the directory: it is another process's, or on another machine.
    """

    def __init__(
        self, directory: Path, room: DiskRoom | None = None, pool: Pool | None = None, *, make: bool = True
    ) -> None:
        self.directory = directory
        self.room = room or DiskRoom(directory)
        self._pool = pool or Pool("blobs", 4)
        if make:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._old_parts: dict[str, list[Path]] = {}
        """What uploads of an earlier release left half-written, by blob."""
        for path in directory.glob("*.part"):
            part = _PART.fullmatch(path.name)
            if part is not None and part["mark"]:
                self._old_parts.setdefault(part["id"].lower(), []).append(path)

    async def write(
        self, blob_id: str, chunks: AsyncIterator[bytes], *, max_bytes: int, announced: int = 0, caller: str = ""
    ) -> Stored:
        """Keep what `chunks` gives, whole or not at all.

        Raises TooLarge past `max_bytes` and when the disk has no room above its reserve, Busy when too many are at it,
        Gone when the blob was deleted meanwhile, and what `chunks` raises.
        """
        target, part = self._file(blob_id), None
        try:
            with self.room.promise(announced, ahead=_AHEAD) as promise:
                part = _Part(target, promise)
                await self._pool.run(part.open, caller=(caller,))
                await self._pump(part, chunks, max_bytes, caller)
                return await self._pool.run(part.commit, caller=(caller,), let_in=True)
        except BaseException as error:
            if part is not None:
                await asyncio.shield(self._pool.run(part.discard, caller=(caller,), let_in=True))
            if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                raise _refusal(error, target, part.size if part else 0) from error
            raise

    def read(
        self, blob_id: str, start: int = 0, length: int | None = None, *, caller: str = ""
    ) -> AsyncIterator[bytes]:
        """Give the bytes, in order. Raises NotFound at once, not at the first chunk; Unavailable without a store."""
        path = self._file(blob_id)
        if not path.is_file():
            if not self.directory.is_dir():
                raise Unavailable("The image store is not on this machine, and images_from does not say where it is.")
            raise NotFound("image data", blob_id)
        return self._blocks(path, start, length, caller)

    def path(self, blob_id: str) -> Path | None:
        """Return the file that holds the bytes, or None if there are none."""
        path = self._file(blob_id)
        return path if path.is_file() else None

    async def delete(self, blob_id: str) -> None:
        """Forget the bytes, whole or half-written; readers that have begun go on to the end. Raises Unavailable."""
        try:
            await self._pool.run(self._delete, self._file(blob_id), let_in=True)
        except OSError as error:
            raise Unavailable(f"The image store could not remove {blob_id}: {error.strerror or error}.") from error

    async def find(self) -> list[str]:
        """Return the ids of all blobs that there are bytes of, whole or half-written; foreign names are left out."""
        return await self._pool.run(self._find, let_in=True)

    async def _pump(self, part: _Part, chunks: AsyncIterator[bytes], max_bytes: int, caller: str) -> None:
        waiting: list[bytes] = []
        held = total = 0
        async for chunk in chunks:
            total += len(chunk)
            if total > max_bytes:
                raise TooLarge(f"The data is larger than {max_bytes} bytes, which is what this cloud takes at most.")
            if chunk:
                waiting.append(chunk)
                held += len(chunk)
            if held >= BLOCK:
                await self._pool.run(part.add, waiting, caller=(caller,), let_in=True)
                waiting, held = [], 0
        if waiting:
            await self._pool.run(part.add, waiting, caller=(caller,), let_in=True)

    async def _blocks(self, path: Path, start: int, length: int | None, caller: str) -> AsyncIterator[bytes]:
        """Read a file in blocks; the first read opens it."""
        try:
            file = await self._pool.run(io.FileIO, path, caller=(caller,), let_in=True)
        except FileNotFoundError as error:
            raise NotFound("image data", path.name) from error
        try:
            if start:
                file.seek(start)
            left = length
            while left is None or left > 0:
                size = BLOCK if left is None else min(BLOCK, left)
                block = await self._pool.run(file.read, size, caller=(caller,), let_in=True)
                if not block:
                    return
                if left is not None:
                    left -= len(block)
                yield block
        finally:
            file.close()

    def _find(self) -> list[str]:
        names = sorted(path.name for path in self.directory.iterdir())
        return list(dict.fromkeys(found for name in names if (found := _blob_of(name)) is not None))

    def _delete(self, target: Path) -> None:
        """Remove the part first: a writer that is still at it cannot give it its name any more."""
        for path in (_part_of(target), target, *self._old_parts.pop(target.name, ())):
            path.unlink(missing_ok=True)
        _sync_directory(self.directory)

    def _file(self, blob_id: str) -> Path:
        if not _ID.fullmatch(blob_id):
            raise Invalid(f"A blob's id is a UUID, or one with a number after a dot (it is {blob_id[:80]!r}).")
        return self.directory / blob_id.lower()


class _Part:
    """A file on its way to be a blob. Its methods block; `discard` waits for one that is under way."""

    def __init__(self, target: Path, promise: Promise) -> None:
        self.target = target
        self.temporary = _part_of(target)
        self.size = 0
        self._promise = promise
        self._sha512 = hashlib.sha512()
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._fd = -1
        self._lock = threading.Lock()
        self._ended = False
        self._moved = False

    def open(self) -> None:
        with self._lock:
            if not self._ended:
                self._fd = os.open(self.temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)

    def add(self, chunks: list[bytes]) -> None:
        with self._lock:
            if self._ended:
                return
            block = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self._promise.use(len(block))
            self._sha512.update(block)
            self._md5.update(block)
            view = memoryview(block)
            while view:
                view = view[os.write(self._fd, view) :]
            self.size += len(block)

    def commit(self) -> Stored:
        with self._lock:
            if not self._ended:
                os.fsync(self._fd)
                self._close()
                try:
                    self.temporary.replace(self.target)
                except FileNotFoundError as error:
                    raise Gone("The data was deleted while it was being written.") from error
                self._moved = True
                _sync_directory(self.target.parent)
            return Stored(size=self.size, sha512=self._sha512.hexdigest(), md5=self._md5.hexdigest())

    def discard(self) -> None:
        with self._lock:
            self._ended = True
            self._close()
            self.temporary.unlink(missing_ok=True)
            if self._moved:
                self.target.unlink(missing_ok=True)
                _sync_directory(self.target.parent)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


def _refusal(error: OSError, target: Path, size: int) -> TooLarge | Unavailable:
    if error.errno in _FULL or isinstance(error, DiskFull):
        log.warning("an upload of image data was refused for want of room: %s", error)
        return TooLarge(
            f"The image store is full: no room after {size} bytes. Nothing was kept; delete images that are "
            "no longer needed, or ask the operator for space, and upload again.",
            reason="store_full",
        )
    log.error("writing %s: %s", target, error)
    return Unavailable(f"The image store could not write: {error.strerror or error}. Nothing was kept.")


def _part_of(target: Path) -> Path:
    return target.with_name(f"{target.name}.part")


def _blob_of(name: str) -> str | None:
    """Return the blob that a file belongs to."""
    part = _PART.fullmatch(name)
    if part is not None:
        return part["id"].lower()
    return name if _ID.fullmatch(name) else None


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
