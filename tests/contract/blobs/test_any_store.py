"""What every store of image bytes promises, be it files or a bucket of a real S3 server."""

from __future__ import annotations

import asyncio
import hashlib
import os
from collections.abc import AsyncIterator

import pytest

from floe.blobs.files import BLOCK
from floe.blobs.protocol import Blobs
from floe.core.errors import Gone, Invalid, NotFound, TooLarge

ID = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9"
OTHER = "11111111-2222-4333-8444-555555555555"


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def whole(data: AsyncIterator[bytes]) -> bytes:
    return b"".join([chunk async for chunk in data])


@pytest.mark.parametrize("size", [0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17])
async def test_what_was_written_is_read(store: Blobs, size: int) -> None:
    data = os.urandom(size)
    parts = chunks(data[:5], b"", data[5 : BLOCK + 9], data[BLOCK + 9 :])
    stored = await store.write(ID, parts, max_bytes=size, announced=size)
    assert stored.size == size
    assert stored.sha512 == hashlib.sha512(data).hexdigest()
    assert stored.md5 == hashlib.md5(data).hexdigest()
    assert await whole(store.read(ID)) == data
    for start, length in [(0, 1), (1, None), (BLOCK - 1, 2), (BLOCK, BLOCK), (size - 3, None), (size, 5), (2, 1 << 40)]:
        if 0 <= start <= size:
            until = size if length is None else start + length
            assert await whole(store.read(ID, start, length)) == data[start:until], (start, length)
    assert await store.find() == [ID]


async def test_what_was_deleted_is_gone(store: Blobs) -> None:
    for blob in (ID, f"{ID}.2", OTHER):
        await store.write(blob, chunks(blob.encode()), max_bytes=100)
    await store.delete(ID)
    await store.delete(ID)
    assert store.path(ID) is None
    with pytest.raises(NotFound):
        await whole(store.read(ID))
    assert await whole(store.read(f"{ID}.2")) == f"{ID}.2".encode()
    assert await store.find() == [f"{ID}.2", OTHER]


async def test_too_much_leaves_nothing(store: Blobs) -> None:
    with pytest.raises(TooLarge, match="larger than 10 bytes"):
        await store.write(ID, chunks(b"12345678", b"901"), max_bytes=10)
    assert await store.find() == []


async def test_a_source_that_breaks_leaves_nothing(store: Blobs) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield bytes(2 * BLOCK)
        raise ConnectionResetError("gone")

    with pytest.raises(ConnectionResetError):
        await store.write(ID, broken(), max_bytes=1 << 30)
    assert await store.find() == []


async def test_a_cancelled_write_leaves_nothing(store: Blobs) -> None:
    begun = asyncio.Event()

    async def endless() -> AsyncIterator[bytes]:
        yield bytes(2 * BLOCK)
        begun.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(store.write(ID, endless(), max_bytes=1 << 40))
    await begun.wait()
    assert await store.find() == [ID]
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert await store.find() == []


async def test_a_blob_deleted_while_it_is_written_is_gone(store: Blobs) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield bytes(2 * BLOCK)
        await store.delete(ID)
        yield b"more"

    with pytest.raises(Gone):
        await store.write(ID, slow(), max_bytes=1 << 30)
    assert await store.find() == []
    with pytest.raises(NotFound):
        await whole(store.read(ID))


async def test_who_stops_reading_is_no_harm(store: Blobs) -> None:
    data = os.urandom(3 * BLOCK)
    await store.write(ID, chunks(data), max_bytes=len(data))
    for _ in range(5):
        reading = store.read(ID)
        assert await anext(reading)
        await reading.aclose()  # type: ignore[attr-defined]
    assert await whole(store.read(ID)) == data


async def test_many_at_a_time_do_not_mix(store: Blobs) -> None:
    blobs = {f"0f1e2d3c-4b5a-4978-8695-{number:012x}": os.urandom(BLOCK + number) for number in range(12)}
    await asyncio.gather(*(store.write(blob, chunks(data), max_bytes=1 << 30) for blob, data in blobs.items()))
    assert await store.find() == sorted(blobs)
    read = await asyncio.gather(*(whole(store.read(blob)) for blob in blobs))
    assert read == list(blobs.values())


@pytest.mark.parametrize(
    "ident", ["../../etc/passwd", "", ".", ID + "/x", "x" * 36, ID + "\n", ID + ".0", ID + ".part"]
)
async def test_an_id_is_a_uuid_and_no_path(store: Blobs, ident: str) -> None:
    with pytest.raises(Invalid, match="UUID"):
        store.path(ident)
    with pytest.raises(Invalid, match="UUID"):
        await whole(store.read(ident))
    with pytest.raises(Invalid, match="UUID"):
        await store.write(ident, chunks(b"x"), max_bytes=1)
