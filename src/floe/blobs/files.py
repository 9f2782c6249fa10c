"""Image bytes as files in one directory: `ID` is whole and durable, `ID.RANDOM.part` is being written."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import re
import threading
import uuid
from collections.abc import AsyncIterator
from pathlib import Path

from floe.blobs.protocol import Stored
from floe.core.errors import Invalid, NotFound, TooLarge, Unavailable
from floe.core.ids import is_uuid

log = logging.getLogger(__name__)

BLOCK = 1 << 20
"""Bytes handed to a thread at a time, for writing as for reading: hashing a block takes far longer than the handing."""

_PART = re.compile(r"(?P<id>[0-9a-f-]{32,36})\.[0-9a-f]{32}\.part", re.IGNORECASE)
_FULL = {errno.ENOSPC, errno.EDQUOT}


class FileBlobs:
    """Blobs in a directory of this machine, readable by their owner only. Its files' names are the ids: UUIDs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._writing: set[str] = set()
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)

    async def write(self, blob_id: str, chunks: AsyncIterator[bytes], *, max_bytes: int) -> Stored:
        """Keep what `chunks` gives, whole or not at all.

        Raises TooLarge past `max_bytes`, Unavailable when the disk is full, and what `chunks` raises.
        """
        part = _Part(self._file(blob_id), uuid.uuid4().hex)
        self._writing.add(part.temporary.name)
        try:
            await asyncio.to_thread(part.open)
            await _pump(part, chunks, max_bytes)
            return await asyncio.to_thread(part.commit)
        except BaseException as error:
            await asyncio.shield(asyncio.to_thread(part.discard))
            if isinstance(error, OSError) and not isinstance(error, ConnectionError | TimeoutError):
                raise _refusal(error, part) from error
            raise
        finally:
            self._writing.discard(part.temporary.name)

    def read(self, blob_id: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
        """Give the bytes, in order. Raises NotFound at once, not at the first chunk."""
        path = self._file(blob_id)
        if not path.is_file():
            raise NotFound("image data", blob_id)
        return _blocks(path, start, length)

    def path(self, blob_id: str) -> Path | None:
        """Return the file that holds the bytes, or None if there are none."""
        path = self._file(blob_id)
        return path if path.is_file() else None

    async def delete(self, blob_id: str) -> None:
        """Forget the bytes; readers that have begun go on to the end."""
        await asyncio.to_thread(_remove, self._file(blob_id))

    async def sweep(self, wanted: set[str]) -> list[str]:
        """Delete half-written and unwanted files; what this process is writing and foreign names stay."""
        return await asyncio.to_thread(self._sweep, frozenset(wanted), frozenset(self._writing))

    def _sweep(self, wanted: frozenset[str], writing: frozenset[str]) -> list[str]:
        removed = []
        for path in sorted(self.directory.iterdir()):
            half = _PART.fullmatch(path.name)
            if half and path.name not in writing:
                removed.append(half["id"])
            elif is_uuid(path.name) and path.name not in wanted:
                removed.append(path.name)
            else:
                continue
            log.info("removing %s, which an earlier process left", path)
            path.unlink(missing_ok=True)
        return removed

    def _file(self, blob_id: str) -> Path:
        if not is_uuid(blob_id):
            raise Invalid(f"A blob's id is a UUID (it is {blob_id[:80]!r}).")
        return self.directory / blob_id.lower()


class _Part:
    """A file on its way to be a blob. Its methods block; `discard` waits for one that is under way."""

    def __init__(self, target: Path, mark: str) -> None:
        self.target = target
        self.temporary = target.with_name(f"{target.name}.{mark}.part")
        self.size = 0
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
                self.temporary.replace(self.target)
                self._moved = True
                _sync_directory(self.target.parent)
            return Stored(size=self.size, sha512=self._sha512.hexdigest(), md5=self._md5.hexdigest())

    def discard(self) -> None:
        with self._lock:
            self._ended = True
            self._close()
            self.temporary.unlink(missing_ok=True)
            if self._moved:
                _remove(self.target)

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)


async def _pump(part: _Part, chunks: AsyncIterator[bytes], max_bytes: int) -> None:
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
            await asyncio.to_thread(part.add, waiting)
            waiting, held = [], 0
    if waiting:
        await asyncio.to_thread(part.add, waiting)


async def _blocks(path: Path, start: int, length: int | None) -> AsyncIterator[bytes]:
    """Read a file in blocks; the first read opens it."""
    try:
        file = await asyncio.to_thread(path.open, "rb", buffering=0)
    except FileNotFoundError as error:
        raise NotFound("image data", path.name) from error
    try:
        if start:
            file.seek(start)
        left = length
        while left is None or left > 0:
            block = await asyncio.to_thread(file.read, BLOCK if left is None else min(BLOCK, left))
            if not block:
                return
            if left is not None:
                left -= len(block)
            yield block
    finally:
        file.close()


def _refusal(error: OSError, part: _Part) -> Unavailable:
    if error.errno in _FULL:
        return Unavailable(
            f"The image store is full: no room after {part.size} bytes. Nothing was kept; delete images that are "
            "no longer needed, or ask the operator for space, and upload again."
        )
    log.error("writing %s: %s", part.temporary, error)
    return Unavailable(f"The image store could not write: {error.strerror or error}. Nothing was kept.")


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)
    _sync_directory(path.parent)


def _sync_directory(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
