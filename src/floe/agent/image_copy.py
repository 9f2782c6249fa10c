"""Bringing the bytes of an image into a file of this host, from wherever they are."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from floe.agent.threads import Offload
from floe.core.errors import Conflict
from floe.core.guests import GuestImage

log = logging.getLogger(__name__)

CHUNK = 1024 * 1024
HALF = ".half"
"""Of the name of a file that a fetch was broken off in, which is gone on with."""

Copied = tuple[int, str]
"""How many bytes a copy has, and their SHA-512."""
Progress = Callable[[int], None]
"""Is told how many bytes there are with those that are written next; raises DiskFull where they have no room."""


class ImageSource(Protocol):
    """Where a host gets the bytes of images from. Raises NotFound for an image that is no more.

    A source on the same machine may also have `path(blob_id) -> Path | None`: the file itself, which is then copied by
    the kernel. One that is `resumable` gives bytes from any position on, `read(blob_id, start)`, and what is broken off
    is kept and gone on with. One that wants tickets is given those of each command: `take(tickets)`.
    """

    def read(self, blob_id: str) -> AsyncIterator[bytes]:
        """Return the image's bytes, in order, in chunks of any size."""
        ...


class ImageCopy:
    """Copies images from a source."""

    def __init__(self, source: ImageSource, offload: Offload) -> None:
        self._source: Any = source
        self._offload = offload
        self.resumable = bool(getattr(source, "resumable", False))

    async def to(self, image: GuestImage, part: Path, progress: Progress) -> Copied:
        """Write an image's bytes to `part`, and say what they are; that they are right is for the caller to see."""
        locate: Callable[[str], Path | None] | None = getattr(self._source, "path", None)
        local = locate(image.blob) if locate is not None else None
        if local is not None:
            return await self._copy_file(local, part)
        if not self.resumable:
            return await self._stream(image, part, 0, progress)
        half = part.with_suffix(HALF)
        copied = await self._gone_on_with(image, half, progress)
        half.replace(part)
        return copied

    async def _gone_on_with(self, image: GuestImage, half: Path, progress: Progress) -> Copied:
        """Add to a half file what it lacks; one that turns out to be wrong is made anew, once."""
        start = _size(half)
        if start:
            log.info("fetching image %s goes on at byte %d of %d", image.image_id, start, image.size)
            try:
                copied = await self._stream(image, half, start, progress)
            except Conflict as error:
                log.warning("what was there of image %s is fetched anew: %s", image.image_id, error.message)
            else:
                if copied == (image.size, image.checksum):
                    return copied
                log.warning("what was there of image %s was damaged and is fetched anew", image.image_id)
            await self._offload(half.unlink, missing_ok=True)
        return await self._stream(image, half, 0, progress)

    async def _copy_file(self, source: Path, part: Path) -> Copied:
        stop = threading.Event()
        work = asyncio.ensure_future(self._offload(_copy_in_kernel, source, part, stop))
        try:
            return await asyncio.shield(work)
        except asyncio.CancelledError:
            stop.set()
            await asyncio.wait({work})
            raise

    async def _stream(self, image: GuestImage, part: Path, start: int, progress: Progress) -> Copied:
        digest = hashlib.sha512()
        size = start
        if start:
            await self._offload(_take_in, part, digest.update)
        if start and start >= image.size:
            return size, digest.hexdigest()
        waiting: list[bytes] = []
        held = 0
        chunks = self._source.read(image.blob, start) if start else self._source.read(image.blob)
        with part.open("ab" if start else "wb") as file:
            async with _Ended(chunks):
                async for chunk in chunks:
                    size += len(chunk)
                    waiting.append(chunk)
                    held += len(chunk)
                    if size > image.size:
                        break  # it cannot match any more; the caller says so
                    if held >= CHUNK:
                        progress(size)
                        await self._offload(_write, file, digest.update, waiting)
                        waiting, held = [], 0
            progress(size)
            await self._offload(_write, file, digest.update, waiting)
        return size, digest.hexdigest()


class _Ended:
    """Ends a reading with a block, however that ends; where a whole process is no more, nobody can wait for that."""

    def __init__(self, chunks: Any) -> None:
        self._chunks = chunks

    async def __aenter__(self) -> None:
        return None

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not GeneratorExit:
            await self._chunks.aclose()


def size_of_half(part: Path) -> int:
    """Return how many bytes are there of a fetch that was broken off."""
    return max(0, _size(part.with_suffix(HALF)))


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _take_in(path: Path, update: Callable[[bytes], None]) -> None:
    with path.open("rb") as file:
        for chunk in chunks_of(file):
            update(chunk)


def _write(file: BinaryIO, update: Callable[[bytes], None], chunks: list[bytes]) -> None:
    for chunk in chunks:
        update(chunk)
        file.write(chunk)
    file.flush()


def _copy_in_kernel(source: Path, part: Path, stop: threading.Event) -> Copied:
    """Copy within the kernel (a reflink where the file system can), then read back what was written."""
    with source.open("rb") as reader, part.open("w+b") as writer:
        while not stop.is_set():
            try:
                copied = os.copy_file_range(reader.fileno(), writer.fileno(), 16 * CHUNK)
            except OSError as error:
                if error.errno not in (errno.EXDEV, errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS):
                    raise
                data = reader.read(CHUNK)
                writer.write(data)
                copied = len(data)
            if not copied:
                break
        writer.flush()
        writer.seek(0)
        digest = hashlib.sha512()
        size = 0
        for chunk in chunks_of(writer):
            if stop.is_set():
                break
            size += len(chunk)
            digest.update(chunk)
        return size, digest.hexdigest()


def chunks_of(file: BinaryIO) -> Iterator[bytes]:
    """Give what is left of a file."""
    while chunk := file.read(CHUNK):
        yield chunk
