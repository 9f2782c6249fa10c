"""A process is killed at every point of an upload or a delete of an image: nothing is stuck, nothing is left."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from databases import LentDatabases, NewDatabase
from image_clouds import USER, make_cloud
from lifelines import Lifeline, Watched
from msgspec.structs import replace

from floe.blobs.files import FileBlobs
from floe.cloud import image_data, images
from floe.cloud.audit import check_images, check_rows
from floe.cloud.cloud import Cloud
from floe.conductor.image_actions import ImageActions
from floe.core.errors import NotFound
from floe.core.images import ACTIVE, QUEUED, NewImage
from floe.store import audit
from floe.store.schema import create_all


async def chunks(life: Lifeline | None = None, *, breaks: bool = False) -> AsyncIterator[bytes]:
    for part in (b"some ", b"bytes"):
        if life is not None:
            await life.point()
        yield part
    if breaks:
        raise ConnectionResetError


async def do(cloud: Cloud, what: str, image_id: str, life: Lifeline) -> None:
    if what == "delete":
        await images.delete(cloud, USER, image_id)
    elif what == "broken upload":
        with pytest.raises(ConnectionResetError):
            await image_data.upload(cloud, USER, image_id, chunks(life, breaks=True))
    else:
        await image_data.upload(cloud, USER, image_id, chunks(life))
        if what == "upload and delete":
            await images.delete(cloud, USER, image_id)


def taking(cloud: Cloud, place: str = "here") -> tuple[Cloud, ImageActions]:
    """Return a process that has the bytes of images."""
    made = ImageActions(cloud, place=place)
    return replace(cloud, image_actions=made.own), made


async def life_of(path: Path, new_database: NewDatabase, dies_at: int, what: str, *, again: bool) -> bool:
    """Do something by a process that dies at a point, let another find it; return whether it died."""
    ground = make_cloud(path, new_database)
    first, _ = taking(ground)
    await first.db.write(create_all)
    new = NewImage(disk_format="raw", container_format="bare")
    image_id = (await images.create(first, USER, new)).id
    if what == "delete":
        await image_data.upload(first, USER, image_id, chunks())
    life = Lifeline(dies_at)
    db, blobs = Watched(first.db, life.point, "write"), Watched(first.blobs, life.point, "write", "delete")
    doomed, _ = taking(replace(ground, db=db, blobs=blobs))
    task = asyncio.ensure_future(do(doomed, what, image_id, life))
    death = asyncio.ensure_future(life.dead.wait())
    await asyncio.wait({task, death}, return_when=asyncio.FIRST_COMPLETED)
    shutil.copytree(path / "images", path / "left")  # before its handlers see the cancellation, as no dead process's do
    death.cancel()
    while not task.done():
        task.cancel()
        await asyncio.sleep(0)
    if not life.dead.is_set():
        task.result()
    heir, acting = taking(replace(ground, blobs=FileBlobs(path / "left")), "here" if again else "there")
    await find_it(heir, acting, beside=not again)
    await check(heir, image_id, deleted=what.endswith("delete"))
    await acting.stop()
    first.db.close()
    await first.bus.close()
    return life.dead.is_set()


async def find_it(heir: Cloud, acting: ImageActions, *, beside: bool) -> None:
    """Start where it ran, or be elsewhere all the while, and look now and then."""
    await acting.start()
    await acting.idle()
    for seconds in (0.0, 31.0, 62.0) if beside else ():
        heir.clock.seconds = seconds  # type: ignore[attr-defined]
        await acting.settle()
        await acting.idle()
        await acting.slow()


async def check(heir: Cloud, image_id: str, *, deleted: bool) -> None:
    rows, there = await heir.db.read(audit.rows), await heir.blobs.find()
    assert check_rows(rows, quiet=True) + check_images(rows, there, quiet=True) == []
    assert len([*heir.blobs.directory.iterdir()]) == len(there)  # type: ignore[attr-defined]
    try:
        image = await images.show(heir, USER, image_id)
    except NotFound:
        assert deleted
        return
    assert image.status in {QUEUED, ACTIVE}
    if image.status == QUEUED:
        await image_data.upload(heir, USER, image_id, chunks())
        image = await images.show(heir, USER, image_id)
    assert b"".join([part async for part in image_data.content(heir, image)]) == b"some bytes"
    await images.delete(heir, USER, image_id)
    rows = await heir.db.read(audit.rows)
    assert check_rows(rows, quiet=True) + check_images(rows, await heir.blobs.find(), quiet=True) == []


@pytest.mark.parametrize("again", [True, False], ids=["at its start", "beside it"])
@pytest.mark.parametrize("what", ["upload", "broken upload", "upload and delete", "delete"])
async def test_another_process_finishes_what_a_dead_one_began(
    tmp_path: Path, lent_databases: LentDatabases, what: str, again: bool
) -> None:
    least = {"upload": 8, "broken upload": 10, "upload and delete": 14, "delete": 6}
    for dies_at in range(1, 40):
        path = tmp_path / str(dies_at)
        path.mkdir()
        with lent_databases() as new_database:
            died = await life_of(path, new_database, dies_at, what, again=again)
        if not died:
            assert dies_at > least[what], f"{what} has more points than {dies_at}"
            return
    raise AssertionError("a life without end")
