"""The host's cache of base images: fetched once, checked against their checksum, shared by all guests."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from msgspec import structs

from floe.agent import image_locks, image_proofs
from floe.agent.folders import make_closed, version_of
from floe.agent.image_copy import Copied, ImageCopy, ImageSource, Progress, size_of_half
from floe.agent.image_eviction import ImageEviction
from floe.agent.threads import Offload, in_thread
from floe.core.clock import Clock
from floe.core.errors import FloeError, HostFailure, Invalid, NotFound
from floe.core.guests import GuestImage
from floe.core.image_tickets import ImageTicket
from floe.disk import DiskFull, Promise

log = logging.getLogger(__name__)

_CHECKSUM = re.compile(r"[0-9a-f]{128}")


Tell = Callable[[str], None]
"""Is told in a few words how far a fetch is."""


def _to_nobody(_text: str) -> None:
    """Tell nobody."""


class CachedImage(msgspec.Struct, frozen=True, kw_only=True):
    """A base image on the host. `fetched`: it was not there before."""

    path: Path
    disk_format: str
    fetched: bool


class _Sidecar(msgspec.Struct):
    """What the cached file is; it differs from the image where that was converted."""

    disk_format: str
    size: int
    sha512: str
    digests: dict[str, str] = msgspec.field(default_factory=dict)
    """Of the image, see `image_proofs`."""


@dataclass(slots=True, eq=False)
class _Fetch:
    """A fetch under way of a blob of so many bytes, with those who are told of it and what it failed with."""

    blob: str
    size: int
    told: list[Tell]
    failure: HostFailure | None = None
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    def progress(self, done: int) -> None:
        """Tell how many bytes are there."""
        text = f"{done >> 20} of {self.size >> 20} MiB"
        for tell in self.told:
            tell(text)

    async def wait(self, tell: Tell, blob: str) -> None:
        """Wait for the end. Raises HostFailure with what it failed with, if it was of this blob.

        Two images may have the same bytes: one of them is deleted, or cannot be had, and the other one is there.
        """
        self.told.append(tell)
        try:
            await self.ended.wait()
        finally:
            self.told.remove(tell)
        if (why := self.failure) is not None and self.blob == blob:
            raise HostFailure(why.message, stage=why.stage, detail=why.detail, cause=why.cause) from why


_Stamp = tuple[int, int, int]
"""Inode, size and time of change of a file that was checked: it is checked again when they differ."""


class ImageCache:
    """Base images in a directory that several agents, even of several processes, may share.

    `adopt` is `Hypervisor.adopt_image`; `eviction` makes room, and says whether there is any.
    """

    def __init__(
        self,
        directory: Path,
        source: ImageSource,
        adopt: Callable[[Path, str], Awaitable[str]],
        *,
        clock: Clock,
        eviction: ImageEviction,
        offload: Offload = in_thread,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._directory = directory
        self._clock = clock
        self._eviction = eviction
        self._source: Any = source
        self._copying = ImageCopy(source, offload)
        self._adopt = adopt
        self._offload = offload
        self._sleep = sleep
        self._verified: dict[str, tuple[_Sidecar, _Stamp]] = {}
        self._fetches: dict[str, _Fetch] = {}
        """Those under way in this process, by the names of the files."""
        self._tidied: tuple[int, ...] | None = None
        """The version of the folder in which there was nothing to tidy."""

    def take(self, tickets: Sequence[ImageTicket]) -> None:
        """Hand tickets to a source that wants them."""
        take: Callable[[Sequence[ImageTicket]], None] | None = getattr(self._source, "take", None)
        if take is not None and tickets:
            take(tickets)

    async def get(self, image: GuestImage, *, bootable: bool = True) -> CachedImage:
        """Return what `hold` does, which may be removed at any time then."""
        async with self.hold(image, bootable=bootable) as found:
            return found

    @asynccontextmanager
    async def hold(
        self, image: GuestImage, *, bootable: bool = True, tell: Tell = _to_nobody
    ) -> AsyncIterator[CachedImage]:
        """Give the image on this host, fetching it if need be; not `bootable` for a kernel or ramdisk.

        One fetch serves all who wait for it, and fails for all; `tell` is told how far it is. The image stays until
        the end; then only the disk that was made on it keeps it. Raises HostFailure (stage image). The bytes are
        checked when they are fetched, on first use after each start, and when somebody touched the file; one that is
        wrong is fetched again. A signed image is verified each time.
        """
        image = image_proofs.believed(image)
        if not _CHECKSUM.fullmatch(image.checksum):
            raise _failure(f"Image {image.image_id} has no SHA-512 checksum, so it cannot be trusted.")
        name = image.checksum if bootable else f"{image.checksum}.plain"
        path = self._directory / name
        fetched = False
        if not image_proofs.lacks(image, {}):  # else once there is something to look at
            await self._demand_signed(image, {})
        while True:
            if (under_way := self._fetches.get(name)) is not None:
                await under_way.wait(tell, image.blob)
                continue
            async with self._locked(name, shared=True) as lock:
                known = await self._known(name, path)
                if known is not None and not image_proofs.lacks(image, known.digests):
                    await self._demand_signed(image, known.digests)
                    self._touch(lock)
                    try:
                        yield CachedImage(path=path, disk_format=known.disk_format, fetched=fetched)
                    finally:
                        self._touch(lock)
                    return
            if name not in self._fetches:
                fetched = await self._fetch_for_all(name, image, path, bootable, tell) or fetched

    async def _fetch_for_all(self, name: str, image: GuestImage, path: Path, bootable: bool, tell: Tell) -> bool:
        """Fetch an image unless it is there by now, and have others wait for that; say whether it was fetched."""
        fetch = self._fetches[name] = _Fetch(blob=image.blob, size=image.size, told=[tell])
        try:
            async with self._locked(name):
                known = await self._known(name, path)
                if known is not None and not image_proofs.lacks(image, known.digests):
                    return False
                self._verified.pop(name, None)
                try:
                    if known is not None and known.sha512 == image.checksum:  # it was not converted
                        digests = await image_proofs.read(path, image, known.digests, self._offload)
                        await self._offload(_note, path, structs.replace(known, digests=digests))
                        return False
                    digests = {} if known is None else known.digests
                    await self._fetch(image, path, bootable, fetch.progress, digests)
                except OSError as error:
                    raise os_failure(error, "image") from error
                return True
        except HostFailure as failure:
            fetch.failure = failure
            raise
        finally:
            del self._fetches[name]
            fetch.ended.set()

    async def _known(self, name: str, path: Path) -> _Sidecar | None:
        """Return what the cached file is, None unless it is there and whole."""
        verified, stamp = self._verified.get(name), _stamp(path)
        if verified is not None and stamp == verified[1]:
            return verified[0]
        known = await self._offload(_check, path)
        if known is not None and stamp is not None:
            self._verified[name] = known, stamp
        return known

    def _touch(self, lock: Path) -> None:
        """Note that the image is used."""
        now = self._clock.now().timestamp()
        with contextlib.suppress(FileNotFoundError):
            os.utime(lock, (now, now))

    def tidy(self) -> list[str]:
        """Remove what a fetch that was cut short left behind, unless another process is at it; return the names."""
        version = version_of(self._directory)
        if version is not None and version == self._tidied:
            return []
        self._tidied = version
        removed = []
        make_closed(self._directory)
        for partial in self._directory.glob("*.part*"):
            self._tidied = None
            with image_locks.held(self._directory, partial.name.partition(".part")[0]) as lock:
                if lock is None:
                    continue
                if partial.is_dir():  # what was put apart to be looked at
                    shutil.rmtree(partial)
                else:
                    partial.unlink(missing_ok=True)
                removed.append(partial.name)
        return removed

    async def _demand_signed(self, image: GuestImage, digests: image_proofs.Digests) -> None:
        if image.proof is not None:
            await self._offload(image_proofs.demand_signed, image, digests)

    async def _fetch(
        self, image: GuestImage, path: Path, bootable: bool, progress: Progress, digests: image_proofs.Digests
    ) -> None:
        log.info("fetching image %s (%d bytes)", image.image_id, image.size)
        part = path.with_name(path.name + ".part")
        coming = max(0, image.size - size_of_half(part))
        await self._eviction.make_room(coming)
        try:
            with self._eviction.room.promise(coming) as room:
                size, checksum = await self._copy(image, part, _taken_from(room, image.size - coming, progress))
            if size != image.size or checksum != image.checksum:
                raise _failure(
                    f"The bytes of image {image.image_id} do not match its checksum; upload the image anew.",
                    f"expected {image.size} bytes, SHA-512 {image.checksum}; got {size} bytes, {checksum}",
                )
            digests = await image_proofs.read(part, image, digests, self._offload)
            found = "raw"
            if bootable:
                found = await self._adopt(part, image.disk_format)
                if found != image.disk_format:
                    size, checksum = await self._offload(_digest, part)
            sidecar = _Sidecar(disk_format=found, size=size, sha512=checksum, digests=digests)
            await self._offload(_install, part, path, sidecar)
        finally:
            part.unlink(missing_ok=True)

    async def _copy(self, image: GuestImage, part: Path, progress: Progress) -> Copied:
        """Write the image's bytes to `part`; return their number and SHA-512."""
        gone = f"Image {image.image_id} is no longer there: it was deleted after the server was asked for."
        try:
            return await self._copying.to(image, part, progress)
        except (NotFound, FileNotFoundError) as error:
            raise _failure(gone, str(error), NotFound.kind) from error
        except HostFailure:
            raise
        except FloeError as error:
            text = f"Image {image.image_id} could not be fetched: {error.message}"
            raise _failure(text, error.message, error.kind) from error

    @asynccontextmanager
    async def _locked(self, name: str, *, shared: bool = False) -> AsyncIterator[Path]:
        """Hold the lock of an image against other builds, processes and agents."""
        make_closed(self._directory)
        while True:
            with image_locks.held(self._directory, name, shared=shared) as lock:
                if lock is not None:
                    yield lock
                    return
            await self._sleep(image_locks.WAIT)


def os_failure(error: OSError, stage: str) -> HostFailure:
    """Return the failure for an error of the host's file system."""
    if isinstance(error, DiskFull):
        text = "No space is left on the host's disk above what it keeps in reserve."
        return HostFailure(text, stage=stage, detail=str(error))
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return HostFailure("No space is left on the host's disk.", stage=stage, detail=str(error))
    reason = error.strerror or type(error).__name__
    return HostFailure(f"The host's file system failed: {reason}.", stage=stage, detail=str(error))


def _taken_from(room: Promise, done: int, progress: Progress) -> Progress:
    """Return progress that takes what is written next from the room that it was promised, where `done` bytes are there.

    A fetch may take long: others see the room that there is meanwhile, and what they fill is not written over.
    """

    def take(size: int) -> None:
        nonlocal done
        room.use(max(0, size - done))
        done = size
        progress(size)

    return take


def _failure(message: str, detail: str = "", cause: str = Invalid.kind) -> HostFailure:
    return HostFailure(message, stage="image", detail=detail, cause=cause)


def _stamp(path: Path) -> _Stamp | None:
    """Return which file this is, and when it was changed; None where there is none."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return -1


def _sidecar_of(path: Path) -> Path:
    return path.with_name(path.name + ".json")


def _check(path: Path) -> _Sidecar | None:
    """Return what a cached file is, None unless it is there and whole."""
    try:
        sidecar = msgspec.json.decode(_sidecar_of(path).read_bytes(), type=_Sidecar)
        if _size(path) != sidecar.size or _digest(path) != (sidecar.size, sidecar.sha512):
            log.warning("the cached image %s is damaged and is fetched anew", path.name)
            return None
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, OSError) as error:
        log.warning("the cached image %s cannot be used and is fetched anew: %s", path.name, error)
        return None
    return sidecar


def _digest(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha512")
        return file.tell(), digest.hexdigest()


def _install(part: Path, path: Path, sidecar: _Sidecar) -> None:
    """Give a checked file its name; after a power loss there is the whole image under it or none."""
    part.chmod(0o444)
    with part.open("rb") as file:
        os.fsync(file.fileno())
    _note(path, sidecar)
    part.replace(path)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)


def _note(path: Path, sidecar: _Sidecar) -> None:
    """Note what a file in the cache is; notes that were cut short are none, and it is fetched anew."""
    with _sidecar_of(path).open("wb") as notes:
        notes.write(msgspec.json.encode(sidecar))
        notes.flush()
        os.fsync(notes.fileno())
