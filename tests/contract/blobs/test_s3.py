"""A bucket of a real S3 server: what a death leaves, what the store refuses, and how much memory a writer has."""

from __future__ import annotations

import asyncio
import os
import tracemalloc
from collections.abc import AsyncIterator
from typing import Any

import obstore
import pytest
from msgspec.structs import replace
from s3_server import KEYS, S3Server

from floe.blobs.s3 import S3Blobs
from floe.core.errors import Busy, Invalid, NotFound, TooLarge, Unavailable
from floe.core.object_stores import S3Address, s3_address
from floe.settings import Settings

ID = "0f1e2d3c-4b5a-4978-8695-a4b3c2d1e0f9"
MIB = 1 << 20


async def chunks(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def keys(s3: S3Blobs) -> list[str]:
    found: list[Any] = obstore.list(s3._store).collect()
    return sorted(each["path"] for each in found)


async def test_a_blob_is_pieces_and_what_says_how_many_bytes_they_hold(s3: S3Blobs) -> None:
    await s3.write(ID, chunks(bytes(2 * MIB + 1)), max_bytes=1 << 30)
    assert keys(s3) == [*(f"pieces/{ID}.{number:05}" for number in range(3)), f"whole/{ID}"]
    await s3.delete(ID)
    assert keys(s3) == []


@pytest.mark.parametrize("point", ["begun", "piece 0", "piece 1", "whole", "unmarked"])
async def test_what_a_death_in_the_middle_of_a_write_leaves_is_found_and_removed(
    s3: S3Blobs, address: S3Address, point: str
) -> None:
    class Killed(BaseException):
        pass

    plain_put, plain_remove = s3._put, s3._remove

    async def put(key: str, data: bytes) -> None:
        await plain_put(key, data)
        if point in (key.partition("/")[0], f"piece {int(key[-1])}" if key.startswith("pieces") else ""):
            raise Killed

    async def remove(of: list[str]) -> None:
        if point == "unmarked" and of[0].startswith("begun"):
            raise Killed
        await plain_remove(of)

    async def dead(_blob: str) -> None:
        """Do nothing, as who is dead does."""

    s3._put, s3._remove, s3._undo = put, remove, dead  # type: ignore[method-assign]
    with pytest.raises(Killed):
        await s3.write(ID, chunks(bytes(2 * MIB)), max_bytes=1 << 30)
    after = S3Blobs(address)
    assert await after.find() == [ID]
    await after.delete(ID)
    assert keys(after) == []
    assert await after.find() == []


@pytest.mark.parametrize("point", range(4))
async def test_a_delete_that_a_death_cut_short_is_found_and_gone_on_with(
    s3: S3Blobs, address: S3Address, point: int
) -> None:
    class Killed(BaseException):
        pass

    await s3.write(ID, chunks(bytes(2 * MIB)), max_bytes=1 << 30)
    plain, done = s3._do, 0

    async def do(deed: str, call: Any) -> Any:
        nonlocal done
        if deed in {"write", "remove"}:
            if done == point:
                call.close() if hasattr(call, "close") else call.cancel()
                raise Killed
            done += 1
        return await plain(deed, call)

    s3._do = do  # type: ignore[method-assign]
    with pytest.raises(Killed):
        await s3.delete(ID)
    after = S3Blobs(address)
    assert await after.find() == [ID]
    await after.delete(ID)
    assert keys(after) == []


async def test_a_piece_that_is_missing_is_no_shorter_image(s3: S3Blobs) -> None:
    await s3.write(ID, chunks(bytes(2 * MIB)), max_bytes=1 << 30)
    await s3._remove([f"pieces/{ID}.00001"])
    got = 0
    with pytest.raises(NotFound):
        async for chunk in s3.read(ID):
            got += len(chunk)
    assert got == MIB


async def test_a_writer_has_a_piece_in_memory_and_no_more(s3: S3Blobs) -> None:
    block = os.urandom(MIB // 2)

    async def large() -> AsyncIterator[bytes]:
        for _ in range(64):
            yield block

    tracemalloc.start()
    try:
        await s3.write(ID, large(), max_bytes=1 << 30)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 6 * MIB


async def test_so_many_write_and_wait_and_the_next_is_refused(s3: S3Blobs) -> None:
    gate = asyncio.Event()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        await gate.wait()

    ids = [f"0f1e2d3c-4b5a-4978-8695-{number:012x}" for number in range(72)]
    writing = [asyncio.create_task(s3.write(blob, slow(), max_bytes=10)) for blob in ids]
    await asyncio.sleep(0)
    with pytest.raises(Busy, match="Too many uploads wait"):
        await s3.write(ID, chunks(b"x"), max_bytes=10)
    gate.set()
    await asyncio.gather(*writing)


async def test_too_large_a_blob_is_refused_before_its_first_byte(s3: S3Blobs) -> None:
    with pytest.raises(TooLarge):
        await s3.write(ID, chunks(b"x"), max_bytes=10, announced=11)
    assert keys(s3) == []


async def test_foreign_objects_are_left_alone(s3: S3Blobs) -> None:
    for key in (f"whole/{ID}.bak", "notes.txt", "begun/x", f"pieces/{ID}.00000.bak"):
        await s3._put(key, b"an operator's own")
    assert await s3.find() == []
    await s3.write(ID, chunks(b"x"), max_bytes=10)
    await s3.delete(ID)
    assert len(keys(s3)) == 4


async def test_a_store_that_refuses_or_is_away_is_said_without_its_secrets(
    address: S3Address, server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-wrong-secret")
    with pytest.raises(Unavailable, match=r"image store could not write: PermissionDenied") as refused:
        await S3Blobs(address).write(ID, chunks(b"x"), max_bytes=10)
    assert "secret" not in refused.value.message
    assert "floe" not in refused.value.message.replace("floe-cloud", "")
    away = S3Blobs(replace(address, endpoint="http://127.0.0.1:1"))
    with pytest.raises(Unavailable, match="image store could not list"):
        await away.find()
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in repr(away)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("/var/images", "must be like s3://"),
        ("http://bucket/x", "must be like s3://"),
        ("s3://", "is no bucket"),
        ("s3://Bucket", "is no bucket"),
        ("s3://key:secret@bucket/x", "must hold no keys"),
        ("s3://bucket/a/../b", "is no prefix"),
        ("s3://bucket/a b", "is no prefix"),
        ("s3://bucket/a#b", "must be like s3://"),
        ("s3://bucket?endpoint=ftp://x", "is no endpoint"),
        ("s3://bucket?endpoint=http://a&endpoint=http://b", "each once"),
        ("s3://bucket?secret=x", "may say endpoint, region and style"),
        ("s3://bucket?style=odd", "is no style"),
        ("s3://bucket?endpoint", "no URL"),
    ],
)
def test_a_setting_that_names_no_store_is_refused_with_what_would_be_right(text: str, why: str) -> None:
    with pytest.raises(Invalid, match=why) as refused:
        Settings(blobs=text)
    assert refused.value.message.startswith("blobs")


def test_a_setting_says_where_the_store_is() -> None:
    assert s3_address("blobs", "s3://floe-images/a/b/?endpoint=https://s3.example:9000/&region=eu-1") == S3Address(
        bucket="floe-images",
        prefix="a/b",
        endpoint="https://s3.example:9000",
        region="eu-1",
        path_style=True,
    )
    assert not s3_address("blobs", "s3://floe-images").path_style
