"""Effects of uploads and deletes beside the database: begun in it, and finished by whoever finds them unfinished."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest

from floe.blobs.files import FileBlobs
from floe.cloud import image_blobs, image_data, images
from floe.cloud.cloud import Cloud
from floe.cloud.image_data import _begin
from floe.conductor.image_sweep import ImageSweep
from floe.core.context import Context
from floe.core.errors import Conflict, Gone, Unavailable
from floe.core.images import NewImage
from floe.store import audit, image_usage, quotas
from floe.store import image_blobs as blob_rows

As = Callable[[str], httpx.AsyncClient]
ANN = Context(request_id="r", user_id="ann", project_id="a" * 32, roles=frozenset({"member", "reader"}))


async def queued(cloud: Cloud) -> str:
    return (await images.create(cloud, ANN, NewImage(disk_format="raw", container_format="bare"))).id


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def begin(cloud: Cloud, image_id: str) -> str:
    """Begin an upload as a process does that is killed then; return its blob."""
    blob_id = (await cloud.db.write(lambda conn: _begin(conn, ANN, image_id, 100, cloud.clock.now()))).blob.id
    (folder(cloud) / f"{blob_id}.part").write_bytes(b"half")
    return blob_id


def folder(cloud: Cloud) -> Path:
    assert isinstance(cloud.blobs, FileBlobs)
    return cloud.blobs.directory


async def status(cloud: Cloud, image_id: str) -> str:
    return (await images.show(cloud, ANN, image_id)).status


async def check(cloud: Cloud) -> None:
    """Check that nothing is left over, in rows, counters and files."""
    rows = await cloud.db.read(audit.rows)
    assert (rows.broken, rows.stuck_images, rows.image_blobs) == ([], [], set())
    assert sorted(rows.image_data.values()) == await cloud.blobs.find()


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self, cloud: Cloud) -> None:
        self.now, self.seconds = cloud.clock.now, 0.0

    def monotonic(self) -> float:
        return self.seconds


async def test_an_upload_that_shows_no_life_is_ended_by_whoever_sees_it(image_cloud: Cloud) -> None:
    clock = HandClock(image_cloud)
    cloud = replace(image_cloud, clock=clock)
    image_id = await queued(cloud)
    blob_id = await begin(cloud, image_id)
    sweep = ImageSweep(cloud)
    await sweep.settle()
    clock.seconds = 29
    await sweep.settle()
    assert await status(cloud, image_id) == "saving"
    await cloud.db.write(lambda conn: blob_rows.beat(conn, blob_id))
    clock.seconds = 58
    await sweep.settle()
    clock.seconds = 87
    await sweep.settle()
    assert await status(cloud, image_id) == "saving"
    clock.seconds = 89
    await sweep.settle()
    assert await status(cloud, image_id) == "queued"
    await check(cloud)
    await image_data.upload(cloud, ANN, image_id, pieces(b"again"))
    assert (await images.show(cloud, ANN, image_id)).blob == f"{image_id}.2"
    await check(cloud)


async def test_a_late_write_of_a_given_up_upload_cannot_touch_the_next(image_cloud: Cloud) -> None:
    image_id = await queued(image_cloud)

    async def slow() -> AsyncIterator[bytes]:
        yield b"late"
        await image_blobs.end(image_cloud, image_id)
        await image_data.upload(image_cloud, ANN, image_id, pieces(b"next"))
        yield b" bytes"

    with pytest.raises(Gone):
        await image_data.upload(image_cloud, ANN, image_id, slow())
    image = await images.show(image_cloud, ANN, image_id)
    assert (image.status, image.size) == ("active", 4)
    assert [chunk async for chunk in image_data.content(image_cloud, image)] == [b"next"]
    await check(image_cloud)


async def test_two_uploads_of_one_image_at_the_same_time_are_told_apart(image_cloud: Cloud) -> None:
    image_id = await queued(image_cloud)
    answers = await asyncio.gather(
        *(image_data.upload(image_cloud, ANN, image_id, pieces(b"x" * number)) for number in range(1, 6)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers if answer is not None] == [Conflict] * 4
    await check(image_cloud)


async def test_an_upload_that_lives_is_not_ended_however_slow_its_client(image_cloud: Cloud) -> None:
    cloud = replace(image_cloud, settings=replace(image_cloud.settings, upload_lease=0.04))
    image_id = await queued(cloud)
    sweep, beats = ImageSweep(cloud), set()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        while len(beats) < 4:
            await sweep.settle()
            found = await cloud.db.read(blob_rows.find)
            beats.update(blob.beat for blob in found)
            await asyncio.sleep(0)

    await image_data.upload(cloud, ANN, image_id, slow())
    assert await status(cloud, image_id) == "active"


async def test_an_upload_that_was_ended_stops_though_its_client_says_nothing(image_cloud: Cloud) -> None:
    cloud = replace(image_cloud, settings=replace(image_cloud.settings, upload_lease=0.02))
    image_id = await queued(cloud)

    async def silent() -> AsyncIterator[bytes]:
        yield b"x"
        await image_blobs.end(cloud, image_id)
        await asyncio.Event().wait()

    with pytest.raises(Gone):
        await image_data.upload(cloud, ANN, image_id, silent())
    assert await status(cloud, image_id) == "queued"
    await check(cloud)


class Broken:
    """A store of blobs that fails to remove, `times` times."""

    def __init__(self, cloud: Cloud, times: int) -> None:
        self._blobs, self.times, self.tried = cloud.blobs, times, 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._blobs, name)

    async def delete(self, blob_id: str) -> None:
        self.tried += 1
        if self.times:
            self.times -= 1
            raise Unavailable("The image store could not remove it: Input/output error.")
        await self._blobs.delete(blob_id)


async def test_bytes_of_a_deleted_image_are_removed_until_that_succeeds_ever_more_seldom(image_cloud: Cloud) -> None:
    blobs, clock = Broken(image_cloud, 9), HandClock(image_cloud)
    cloud = replace(image_cloud, blobs=blobs, clock=clock)
    image_id = await queued(cloud)
    await image_data.upload(cloud, ANN, image_id, pieces(b"bytes"))
    await images.delete(cloud, ANN, image_id)
    assert await cloud.blobs.find() == [image_id]
    assert await cloud.db.read(lambda conn: image_usage.get(conn, "a" * 32)) == image_usage.ImageUsage()
    sweep = ImageSweep(cloud)
    tries = []
    while await cloud.blobs.find():
        before = blobs.tried
        await sweep.settle()
        tries += [clock.seconds] * (blobs.tried - before)
        clock.seconds += 1
    waits = [int(after - before) for before, after in pairwise(tries)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128]
    await check(cloud)


async def test_one_blob_that_cannot_be_removed_keeps_no_other_one(image_cloud: Cloud) -> None:
    limits = {"image_count_total": -1, "image_count_uploading": -1}
    await image_cloud.db.write(lambda conn: quotas.put(conn, "a" * 32, limits))
    made = [await queued(image_cloud) for _ in range(300)]
    for image_id in made:
        await begin(image_cloud, image_id)
    stuck = folder(image_cloud) / f"{min(made)}.part"
    stuck.unlink()
    (stuck / "x").mkdir(parents=True)
    clock = HandClock(image_cloud)
    sweep = ImageSweep(replace(image_cloud, clock=clock))
    for clock.seconds in (0, 0, 31, 31, 31):
        await sweep.settle()
    assert await image_cloud.db.read(lambda conn: [blob.id for blob in blob_rows.find(conn)]) == [min(made)]


async def test_a_start_beside_other_processes_ends_nobodys_upload(image_cloud: Cloud) -> None:
    image_id = await queued(image_cloud)
    await begin(image_cloud, image_id)
    await image_cloud.blobs.write("11111111-2222-4333-8444-555555555555", pieces(b"nobody's"), max_bytes=100)
    assert await image_blobs.recover(image_cloud, alone=False) == []
    assert await status(image_cloud, image_id) == "saving"
    assert await image_cloud.blobs.find() == [image_id]
    assert await image_blobs.recover(image_cloud, alone=True) == [image_id]
    await check(image_cloud)


async def test_what_a_release_without_rows_left_is_mended_and_its_data_kept(image_cloud: Cloud) -> None:
    kept, cut = await queued(image_cloud), await queued(image_cloud)
    await image_data.upload(image_cloud, ANN, kept, pieces(b"data"))

    def as_before(conn: Any) -> None:
        conn.exec_driver_sql(f"UPDATE images SET blob_id = NULL, uploads = 0 WHERE id = '{kept}'")
        conn.exec_driver_sql(f"UPDATE images SET status = 'saving' WHERE id = '{cut}'")
        conn.exec_driver_sql("DELETE FROM image_usage")

    await image_cloud.db.write(as_before)
    (folder(image_cloud) / f"{cut}.{'0' * 32}.part").write_bytes(b"half")
    restarted = replace(image_cloud, blobs=type(image_cloud.blobs)(folder(image_cloud)))  # type: ignore[call-arg]
    assert await image_blobs.recover(restarted, alone=True) == [cut]
    assert [path.name for path in folder(image_cloud).iterdir()] == [kept]
    await check(image_cloud)
    await images.delete(image_cloud, ANN, kept)
    await check(image_cloud)
