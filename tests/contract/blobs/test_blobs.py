"""What every store of image bytes promises."""

from __future__ import annotations

import asyncio
import hashlib
import os
import resource
import signal
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest

from floe.blobs.files import BLOCK, FileBlobs
from floe.core.errors import Gone, Invalid, NotFound, TooLarge, Unavailable
from floe.disk import DiskRoom

ID = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9"
OTHER = "11111111-2222-4333-8444-555555555555"


@pytest.fixture
def blobs(tmp_path: Path) -> FileBlobs:
    return FileBlobs(tmp_path / "blobs")


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def whole(data: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in data])


async def test_what_was_written_is_read(blobs: FileBlobs) -> None:
    data = os.urandom(3 * BLOCK + 17)
    stored = await blobs.write(ID, chunks(data[:5], b"", data[5 : BLOCK + 9], data[BLOCK + 9 :]), max_bytes=len(data))
    assert stored.size == len(data)
    assert stored.sha512 == hashlib.sha512(data).hexdigest()
    assert stored.md5 == hashlib.md5(data).hexdigest()
    assert await whole(blobs.read(ID)) == data
    assert await whole(blobs.read(ID, BLOCK - 1, BLOCK + 5)) == data[BLOCK - 1 : 2 * BLOCK + 4]
    assert await whole(blobs.read(ID, len(data) - 3)) == data[-3:]
    path = blobs.path(ID)
    assert path is not None
    assert path.read_bytes() == data
    assert path.stat().st_mode & 0o077 == 0


async def test_what_was_deleted_is_gone(blobs: FileBlobs) -> None:
    await blobs.write(ID, chunks(b"x"), max_bytes=1)
    await blobs.delete(ID)
    await blobs.delete(ID)
    assert blobs.path(ID) is None
    with pytest.raises(NotFound):
        blobs.read(ID)


async def test_what_is_deleted_before_its_first_read_is_gone_but_a_read_begun_goes_on(blobs: FileBlobs) -> None:
    data = os.urandom(2 * BLOCK)
    await blobs.write(ID, chunks(data), max_bytes=len(data))
    late, begun = blobs.read(ID), blobs.read(ID)
    first = await anext(begun)
    await blobs.delete(ID)
    assert first + await whole(begun) == data
    with pytest.raises(NotFound):
        await anext(late)


async def test_too_much_leaves_nothing(blobs: FileBlobs) -> None:
    with pytest.raises(TooLarge, match="larger than 10 bytes"):
        await blobs.write(ID, chunks(b"12345678", b"901"), max_bytes=10)
    assert list(blobs.directory.iterdir()) == []


async def test_a_source_that_breaks_leaves_nothing(blobs: FileBlobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(2 * BLOCK)
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await blobs.write(ID, broken(), max_bytes=1 << 30)
    assert list(blobs.directory.iterdir()) == []


async def test_a_cancelled_write_leaves_nothing(blobs: FileBlobs) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield bytes(BLOCK)
            begun.set()

    task = asyncio.create_task(blobs.write(ID, endless(), max_bytes=1 << 40))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert list(blobs.directory.iterdir()) == []


async def test_a_store_that_cannot_grow_says_so_and_keeps_nothing(blobs: FileBlobs) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    kept = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (BLOCK, before[1]))
    try:
        with pytest.raises(Unavailable, match=r"could not write.*Nothing was kept"):
            await blobs.write(ID, chunks(bytes(BLOCK), bytes(BLOCK)), max_bytes=1 << 30)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, kept)
    assert list(blobs.directory.iterdir()) == []


async def test_a_full_disk_is_named(blobs: FileBlobs) -> None:
    async def full() -> AsyncIterator[bytes]:
        yield b"x"
        with Path("/dev/full").open("wb", buffering=0) as device:
            device.write(b"x")

    with pytest.raises(TooLarge, match="store is full"):
        await blobs.write(ID, full(), max_bytes=10)
    assert list(blobs.directory.iterdir()) == []


@pytest.mark.parametrize(
    "ident",
    [
        "../../etc/passwd",
        "",
        ".",
        ID + "/x",
        "x" * 36,
        ID + "\n",
        ID + ".",
        ID + ".0",
        ID + ".x",
        ID + ".1.2",
        ID + ".part",
    ],
)
async def test_an_id_is_a_uuid_and_no_path(blobs: FileBlobs, ident: str) -> None:
    with pytest.raises(Invalid, match="UUID"):
        blobs.path(ident)
    with pytest.raises(Invalid, match="UUID"):
        await blobs.write(ident, chunks(b"x"), max_bytes=1)


async def test_all_blobs_are_found_whole_or_half_written_and_no_more(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path)
    await blobs.write(ID, chunks(b"x"), max_bytes=1)
    (tmp_path / f"{OTHER}.2.part").write_bytes(b"half")
    old = tmp_path / f"{OTHER}.{'0' * 32}.part"
    old.write_bytes(b"half, by an earlier release")
    for foreign in ("notes.txt", f"{ID}.bak", f"{ID}.0.part"):
        (tmp_path / foreign).write_text("an operator's own")
    blobs = FileBlobs(tmp_path)
    assert await blobs.find() == [ID, OTHER, f"{OTHER}.2"]
    for blob_id in (OTHER, f"{OTHER}.2", ID):
        await blobs.delete(blob_id)
    assert await blobs.find() == []
    assert len(list(tmp_path.iterdir())) == 3


async def test_a_blob_deleted_while_it_is_written_is_gone(blobs: FileBlobs) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield bytes(2 * BLOCK)
        await blobs.delete(ID)
        yield b"more"

    with pytest.raises(Gone):
        await blobs.write(ID, slow(), max_bytes=1 << 30)
    assert list(blobs.directory.iterdir()) == []


async def test_what_cannot_be_removed_is_said(blobs: FileBlobs) -> None:
    (blobs.directory / ID).mkdir()
    with pytest.raises(Unavailable, match="could not remove"):
        await blobs.delete(ID)


def disk_of(free: int, *, whole: int = 1 << 40) -> Callable[[Path], os.statvfs_result]:
    """Return a `statvfs` of a disk with so many free bytes, the blocks being of one byte."""
    return lambda _: os.statvfs_result((1, 1, whole, free, free, 0, 0, 0, 0, 255))


async def test_the_reserve_of_the_disk_is_not_touched(tmp_path: Path) -> None:
    room = DiskRoom(tmp_path, 100 * BLOCK, statvfs=disk_of(102 * BLOCK))
    blobs = FileBlobs(tmp_path, room)
    await blobs.write(ID, chunks(bytes(2 * BLOCK)), max_bytes=1 << 40, announced=2 * BLOCK)
    for data, announced in ((bytes(1), 2 * BLOCK + 1), (bytes(2 * BLOCK + 1), 0)):
        with pytest.raises(TooLarge, match="store is full"):
            await blobs.write(OTHER, chunks(data), max_bytes=1 << 40, announced=announced)
    assert room.left() == 2 * BLOCK
    assert await blobs.find() == [ID]


async def test_uploads_at_the_same_time_count_what_the_others_were_promised(tmp_path: Path) -> None:
    blobs = FileBlobs(tmp_path, DiskRoom(tmp_path, 0, statvfs=disk_of(10 * BLOCK)))
    inside: list[BaseException | None] = []

    async def first() -> AsyncIterator[bytes]:
        yield bytes(BLOCK)
        for announced in (3 * BLOCK, 0):
            tried = blobs.write(OTHER, chunks(bytes(3 * BLOCK)), max_bytes=1 << 40, announced=announced)
            inside.extend(await asyncio.gather(tried, return_exceptions=True))
        yield bytes(8 * BLOCK)

    await blobs.write(ID, first(), max_bytes=1 << 40, announced=9 * BLOCK)
    assert [type(error) for error in inside] == [TooLarge, TooLarge]
    await blobs.write(OTHER, chunks(bytes(2 * BLOCK)), max_bytes=1 << 40, announced=2 * BLOCK)


async def test_who_announces_much_and_sends_little_takes_no_room_from_others(tmp_path: Path) -> None:
    room = DiskRoom(tmp_path, 0, statvfs=disk_of(1000 * BLOCK))
    blobs = FileBlobs(tmp_path, room)
    left: list[int] = []

    async def idle() -> AsyncIterator[bytes]:
        for _ in range(3):
            yield bytes(BLOCK)
            left.append(room.left() // BLOCK)
        await blobs.write(OTHER, chunks(bytes(2 * BLOCK)), max_bytes=1 << 40, announced=900 * BLOCK)

    await blobs.write(ID, idle(), max_bytes=1 << 40, announced=1000 * BLOCK)
    assert left == [936] * 3
    assert room.left() == 1000 * BLOCK


def test_the_usual_reserve_is_a_gib_but_a_twentieth_of_a_small_disk(tmp_path: Path) -> None:
    assert DiskRoom(tmp_path, None, statvfs=disk_of(5 << 30)).sizes() == (5 << 30, 1 << 30, 1 << 40)
    assert DiskRoom(tmp_path, None, statvfs=disk_of(5, whole=2000)).sizes() == (5, 100, 2000)
