"""A process is killed at every point of an upload or a delete of an image: nothing is stuck, nothing is left."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud import image_blobs, image_data, images
from floe.cloud.audit import check_images, check_rows
from floe.cloud.cloud import Cloud, CloudSettings
from floe.conductor.image_sweep import ImageSweep
from floe.core.clock import FixedClock
from floe.core.context import Context
from floe.core.errors import NotFound
from floe.core.ids import random_id
from floe.core.images import ACTIVE, QUEUED, NewImage
from floe.store import audit
from floe.store.engine import Database
from floe.store.schema import create_all

USER = Context(request_id="r", user_id="u", project_id="a" * 32, roles=frozenset({"member", "reader"}))


class Life:
    """Counts what a process does to the world, and ends it at the n-th point: from then on it does nothing."""

    def __init__(self, dies_at: int) -> None:
        self.dies_at, self.points, self.dead = dies_at, 0, asyncio.Event()

    async def point(self) -> None:
        self.points += 1
        if self.points == self.dies_at:
            self.dead.set()
        if self.dead.is_set():
            await asyncio.Event().wait()


class Watched:
    """A database or store of blobs that passes a point before and after each effect."""

    def __init__(self, real: Any, life: Life, *effects: str) -> None:
        self._real, self._life, self._effects = real, life, effects

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._real, name)
        if name not in self._effects:
            return found

        async def effect(*args: Any, **kwargs: Any) -> Any:
            await self._life.point()
            result = await found(*args, **kwargs)
            await self._life.point()
            return result

        return effect


class Clock(FixedClock):
    """A clock whose seconds are moved by hand."""

    seconds = 0.0

    def monotonic(self) -> float:
        return self.seconds


def make_cloud(path: Path) -> Cloud:
    db = Database(path / "floe.db")
    db.open()
    return Cloud(
        db=db,
        bus=LocalBus(),
        blobs=FileBlobs(path / "images"),
        clock=Clock(),
        new_id=random_id,
        settings=CloudSettings(),
        token_keys=list,
    )


async def chunks(life: Life | None = None, *, breaks: bool = False) -> AsyncIterator[bytes]:
    for part in (b"some ", b"bytes"):
        if life is not None:
            await life.point()
        yield part
    if breaks:
        raise ConnectionResetError


async def do(cloud: Cloud, what: str, image_id: str, life: Life) -> None:
    if what == "delete":
        await images.delete(cloud, USER, image_id)
    elif what == "broken upload":
        with pytest.raises(ConnectionResetError):
            await image_data.upload(cloud, USER, image_id, chunks(life, breaks=True))
    else:
        await image_data.upload(cloud, USER, image_id, chunks(life))
        if what == "upload and delete":
            await images.delete(cloud, USER, image_id)


async def life_of(path: Path, dies_at: int, what: str, *, alone: bool) -> bool:
    """Do something by a process that dies at a point, let another find it; return whether it died."""
    first = make_cloud(path)
    await first.db.write(create_all)
    new = NewImage(disk_format="raw", container_format="bare")
    image_id = (await images.create(first, USER, new)).id
    if what == "delete":
        await image_data.upload(first, USER, image_id, chunks())
    life = Life(dies_at)
    doomed = replace(first, db=Watched(first.db, life, "write"), blobs=Watched(first.blobs, life, "write", "delete"))
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
    heir = replace(first, blobs=FileBlobs(path / "left"))
    await find_it(heir, alone=alone)
    await check(heir, image_id, deleted=what.endswith("delete"))
    first.db.close()
    await first.bus.close()
    return life.dead.is_set()


async def find_it(heir: Cloud, *, alone: bool) -> None:
    """Start anew, or be there all the while, and look now and then."""
    await image_blobs.recover(heir, alone=alone)
    sweep = ImageSweep(heir)
    for seconds in (0.0, 31.0, 62.0):
        heir.clock.seconds = seconds  # type: ignore[attr-defined]
        if not alone:
            await sweep.settle()
            await sweep.strays()


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


@pytest.mark.parametrize("alone", [True, False], ids=["at its start", "beside it"])
@pytest.mark.parametrize("what", ["upload", "broken upload", "upload and delete", "delete"])
async def test_another_process_finishes_what_a_dead_one_began(tmp_path: Path, what: str, alone: bool) -> None:
    least = {"upload": 8, "broken upload": 10, "upload and delete": 14, "delete": 6}
    for dies_at in range(1, 40):
        path = tmp_path / str(dies_at)
        path.mkdir()
        if not await life_of(path, dies_at, what, alone=alone):
            assert dies_at > least[what], f"{what} has more points than {dies_at}"
            return
    raise AssertionError("a life without end")
