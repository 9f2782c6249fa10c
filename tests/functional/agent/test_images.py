"""The cache of base images on a host."""

from __future__ import annotations

import asyncio
import errno
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from floe.agent.image_eviction import ImageEviction, Keeping
from floe.agent.images import ImageCache
from floe.agent.threads import in_place
from floe.blobs.files import FileBlobs
from floe.core.clock import FixedClock
from floe.core.errors import HostFailure, NotFound, Unavailable
from floe.core.guests import GuestImage

DATA = bytes(range(256)) * 20_000


def eviction(folder: Path) -> ImageEviction:
    return ImageEviction(folder / "images", list, FixedClock(), Keeping())


@dataclass
class Source:
    """Images in memory, given in uneven chunks."""

    data: bytes = DATA
    reads: int = 0
    error: Exception | None = None
    gate: asyncio.Event | None = None

    async def read(self, image_id: str) -> AsyncIterator[bytes]:
        self.reads += 1
        for start in range(0, len(self.data), 999_999):
            yield self.data[start : start + 999_999]
            if self.gate is not None:
                await self.gate.wait()
            if self.error is not None:
                raise self.error


@dataclass
class LocalSource(Source):
    """Images that lie in files of this machine."""

    file: Path | None = None

    def path(self, image_id: str) -> Path | None:
        return self.file


@dataclass
class Adopted:
    """What a hypervisor makes of a fetched image; `rewrite` stands for a conversion."""

    rewrite: bytes | None = None
    calls: list[str] = field(default_factory=list)

    async def __call__(self, path: Path, disk_format: str) -> str:
        self.calls.append(disk_format)
        if self.rewrite is not None:
            path.write_bytes(self.rewrite)
            return "qcow2"
        return disk_format


def image(data: bytes = DATA) -> GuestImage:
    return GuestImage(
        image_id="img",
        checksum=hashlib.sha512(data).hexdigest(),
        size=len(data),
        disk_format="raw",
        virtual_size=len(data),
    )


def cache(tmp_path: Path, source: Source, adopted: Adopted | None = None) -> ImageCache:
    return ImageCache(
        tmp_path / "images", source, adopted or Adopted(), clock=FixedClock(), eviction=eviction(tmp_path)
    )


def kept(tmp_path: Path) -> list[str]:
    return sorted(entry.suffix for entry in (tmp_path / "images").iterdir())


async def test_an_image_is_fetched_once_and_then_found(tmp_path: Path) -> None:
    source = Source()
    images = cache(tmp_path, source)
    first = await images.get(image())
    assert first.fetched
    assert first.path.read_bytes() == DATA
    assert not (await images.get(image())).fetched
    assert source.reads == 1


async def test_two_agents_of_one_directory_fetch_it_once(tmp_path: Path) -> None:
    source = Source(gate=asyncio.Event())
    first, second = cache(tmp_path, source), cache(tmp_path, source)
    both = [asyncio.create_task(images.get(image())) for images in (first, second, first)]
    async with asyncio.timeout(20):
        while not source.reads:
            await asyncio.sleep(0.001)
    assert source.gate is not None
    source.gate.set()
    assert [found.fetched for found in await asyncio.gather(*both)].count(True) == 1
    assert source.reads == 1


async def test_a_file_of_this_machine_is_copied_without_the_stream(tmp_path: Path) -> None:
    file = tmp_path / "blob"
    file.write_bytes(DATA)
    source = LocalSource(file=file)
    found = await cache(tmp_path, source).get(image())
    assert found.path.read_bytes() == DATA
    assert source.reads == 0
    assert found.path.stat().st_ino != file.stat().st_ino


async def test_a_file_that_vanished_is_an_image_that_vanished(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="no longer there"):
        await cache(tmp_path, LocalSource(file=tmp_path / "gone")).get(image())


@pytest.mark.parametrize("damage", [b"short", DATA[:-1] + b"!"])
async def test_a_damaged_copy_is_fetched_anew_after_a_restart(tmp_path: Path, damage: bytes) -> None:
    source = Source()
    path = (await cache(tmp_path, source).get(image())).path
    path.chmod(0o644)
    path.write_bytes(damage)
    again = await cache(tmp_path, source).get(image())
    assert again.fetched
    assert again.path.read_bytes() == DATA


async def test_a_copy_of_the_wrong_size_is_noticed_at_once(tmp_path: Path) -> None:
    source = Source()
    images = cache(tmp_path, source)
    path = (await images.get(image())).path
    path.chmod(0o644)
    path.write_bytes(b"cut")
    assert (await images.get(image())).fetched


async def test_a_converted_image_is_kept_converted_and_checked_as_such(tmp_path: Path) -> None:
    source, adopted = Source(), Adopted(rewrite=b"QFI and so on")
    first = await cache(tmp_path, source, adopted).get(image())
    second = await cache(tmp_path, source, adopted).get(image())
    assert (first.disk_format, second.disk_format, second.fetched) == ("qcow2", "qcow2", False)
    assert adopted.calls == ["raw"]


async def test_a_kernel_is_not_taken_for_a_disk(tmp_path: Path) -> None:
    adopted = Adopted()
    found = await cache(tmp_path, Source(), adopted).get(image(), bootable=False)
    assert found.path.read_bytes() == DATA
    assert adopted.calls == []


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "No space is left"),
        (OSError(errno.EIO, "Input/output error"), "Input/output error"),
        (NotFound("image", "img"), "no longer there"),
        (Unavailable("The image surface does not answer."), "could not be fetched: The image surface"),
    ],
)
async def test_a_fetch_that_fails_says_why_and_leaves_nothing(tmp_path: Path, error: Exception, text: str) -> None:
    with pytest.raises(HostFailure, match=text) as caught:
        await cache(tmp_path, Source(error=error)).get(image())
    assert caught.value.stage == "image"
    assert kept(tmp_path) == [".lock"]


@pytest.mark.parametrize("data", [DATA + b"more", DATA[:-1], DATA[:-1] + b"!", b""])
async def test_bytes_that_do_not_match_are_never_used(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(HostFailure, match="do not match its checksum"):
        await cache(tmp_path, Source(data=data)).get(image())
    assert kept(tmp_path) == [".lock"]


async def test_a_cancelled_fetch_leaves_nothing_and_can_be_repeated(tmp_path: Path) -> None:
    source = Source(gate=asyncio.Event())
    images = cache(tmp_path, source)
    fetching = asyncio.create_task(images.get(image()))
    async with asyncio.timeout(20):
        while not source.reads:
            await asyncio.sleep(0.001)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert kept(tmp_path) == [".lock"]
    source.gate = None
    assert (await images.get(image())).fetched


async def test_a_checksum_that_is_none_names_no_file(tmp_path: Path) -> None:
    with pytest.raises(HostFailure, match="no SHA-512"):
        await cache(tmp_path, Source()).get(replace(image(), checksum="../../etc/passwd"))


async def test_what_a_crash_left_of_a_fetch_is_removed_at_start(tmp_path: Path) -> None:
    images = ImageCache(
        tmp_path / "images", Source(), Adopted(), clock=FixedClock(), eviction=eviction(tmp_path), offload=in_place
    )
    await images.get(image())
    (tmp_path / "images" / "abc.part").write_bytes(b"half")
    assert images.tidy() == ["abc.part"]
    assert (await images.get(image())).fetched is False


async def test_a_host_without_an_image_store_and_without_a_place_to_fetch_from_says_so(tmp_path: Path) -> None:
    elsewhere = tmp_path / "state" / "images"
    images = ImageCache(
        tmp_path / "images",
        FileBlobs(elsewhere, make=False),
        Adopted(),
        clock=FixedClock(),
        eviction=eviction(tmp_path),
    )
    wanted = replace(image(), image_id="0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9")
    with pytest.raises(HostFailure, match=r"not on this machine, and images_from does not say where it is") as failed:
        await images.get(wanted)
    assert failed.value.cause == "unavailable"  # of this host's: another one is tried
    assert not elsewhere.exists()
    elsewhere.mkdir(parents=True)
    with pytest.raises(HostFailure, match="no longer there"):
        await images.get(wanted)
