"""Every step of every workflow of images fails, runs twice, and is killed before, in and after; every undo fails, too.

The steps are read from the sagas. Each case asserts that it struck there, and that nothing is left over afterwards:
neither rows nor bytes, nor anything counted. A step that is added comes in here by itself.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from databases import NewDatabase
from image_clouds import USER, Clock, make_cloud
from msgspec.structs import replace
from strikes import FAILS, KILLED, TWICE, UNDO_FAILS, Killed, Strike, StruckDatabase, cases, writes

from floe.cloud import image_data, images
from floe.cloud.audit import check_images, check_rows
from floe.cloud.cloud import Cloud
from floe.conductor.image_actions import ImageActions
from floe.conductor.registry import image_sagas
from floe.core.errors import FloeError, Unavailable
from floe.core.images import ACTIVE, DELETED, QUEUED, NewImage
from floe.store import actions, audit
from floe.store import images as image_rows
from floe.store.schema import create_all

BYTES = b"some bytes"


@dataclass
class Mortal:
    """A database that takes nothing from a process that is dead, whatever its handlers do."""

    db: Any
    strike: Strike

    def __getattr__(self, name: str) -> Any:
        return getattr(self.db, name)

    async def write(self, fn: Any, *isolation: Any) -> Any:
        if self.strike.dead:
            self.strike.die()
        return await self.db.write(fn, *isolation)


@dataclass
class StruckBlobs:
    """A store of bytes that fails, or is told twice, where it is to."""

    blobs: Any
    strike: Strike

    def __getattr__(self, name: str) -> Any:
        return getattr(self.blobs, name)

    async def write(self, blob_id: str, chunks: AsyncIterator[bytes], **how: Any) -> Any:
        if not self.strike.in_database and self.strike.here(FAILS):
            raise Unavailable("The image store could not take it: Input/output error.")
        stored = await self.blobs.write(blob_id, chunks, **how)
        if not self.strike.in_database and self.strike.here(TWICE):
            return await self.blobs.write(blob_id, pieces(), **how)
        return stored

    async def delete(self, blob_id: str) -> None:
        if self.strike.dead:
            self.strike.die()
        if not self.strike.in_database:
            if self.strike.here(FAILS) or any(self.strike.here(what) for what in UNDO_FAILS):
                raise Unavailable("The image store could not remove it: Input/output error.")
            if self.strike.here(TWICE):
                await self.blobs.delete(blob_id)
        await self.blobs.delete(blob_id)


NOTHING: Any = None
PLANS = image_sagas(NOTHING)


async def pieces(*, breaks: bool = False) -> AsyncIterator[bytes]:
    yield BYTES[:5]
    if breaks:
        raise ConnectionResetError
    yield BYTES[5:]


def at(cloud: Cloud, place: str, strike: Strike | None = None) -> tuple[Cloud, ImageActions]:
    """Return a process that has the bytes of images, and something may happen to."""
    if strike is None:
        made = ImageActions(cloud, place=place)
    else:
        db: Any = Mortal(StruckDatabase(cloud.db, strike), strike)
        blobs: Any = StruckBlobs(cloud.blobs, strike)
        cloud = replace(cloud, db=db, blobs=blobs)
        made = ImageActions(cloud, place=place, observer=strike.observe)
    return replace(cloud, image_actions=made.own), made


async def do(cloud: Cloud, kind: str, image_id: str, *, breaks: bool) -> BaseException | None:
    """Do what a user asks for; return what he is told."""
    try:
        if kind == "delete-image":
            await images.delete(cloud, USER, image_id)
        else:
            await image_data.upload(cloud, USER, image_id, pieces(breaks=breaks), announced=len(BYTES))
    except (FloeError, ConnectionResetError, Killed) as error:
        return error
    return None


async def patiently(acting: ImageActions, clock: Clock) -> None:
    """Look now and then, for so long that all waits are over."""
    for _ in range(40):
        await acting.settle()
        await acting.idle()
        clock.seconds += 150


@pytest.mark.parametrize("heir", ["here", "there"])
@pytest.mark.parametrize(("kind", "step", "what"), [case for saga in PLANS.values() for case in cases(saga)])
async def test_whatever_strikes_a_step_nothing_is_left_over(
    tmp_path: Path, new_database: NewDatabase, kind: str, step: str, what: str, heir: str
) -> None:
    strike = Strike(step, what, writes(PLANS[kind], step), UNDO_FAILS.get(what, 1))
    ground = make_cloud(tmp_path, new_database)
    await ground.db.write(create_all)
    cloud, acting = at(ground, "here", strike)
    new = NewImage(disk_format="raw", container_format="bare")
    image_id = (await images.create(cloud, USER, new)).id
    if kind == "delete-image":
        await image_data.upload(cloud, USER, image_id, pieces())
    strike.armed = True
    told = await do(cloud, kind, image_id, breaks=step.startswith("undo "))
    if what in KILLED:
        assert strike.dead
        cloud, acting = at(ground, heir)  # where it ran, or beside it
        await acting.start()
    await patiently(acting, ground.clock)  # type: ignore[arg-type]
    assert set(strike.struck) == {step}, f"{what} did not strike {step}"
    assert strike.times == 0, f"{what} struck less often than it should"
    await check(ground, image_id, wanted(kind, step, what))
    assert (told is None) == ((kind == "delete-image" or what == TWICE) and what not in KILLED and "undo" not in step)
    await acting.stop()
    await ground.bus.close()
    ground.db.close()


def wanted(kind: str, step: str, what: str) -> str:
    """Return what becomes of the image: an upload succeeds that nothing struck before its last step was done."""
    if kind == "delete-image":
        return DELETED
    return (
        ACTIVE
        if (what == TWICE and not step.startswith("undo ")) or (step, what) == ("active", "killed after")
        else QUEUED
    )


async def check(cloud: Cloud, image_id: str, status: str) -> None:
    """See that the image is as promised, and everything else in order."""
    image = await cloud.db.read(lambda conn: image_rows.get(conn, image_id))
    assert (image.status if image is not None else DELETED) == status
    rows, there = await cloud.db.read(audit.rows), await cloud.blobs.find()
    assert check_rows(rows, quiet=True) + check_images(rows, there, quiet=True) == []
    assert there == ([image_id] if status == ACTIVE else [])
    found = await cloud.db.read(lambda conn: actions.of_subject(conn, image_id, "image"))
    assert all(action.finished_at is not None for action in found)
    for action in found:
        journal = await cloud.db.read(lambda conn, ident=action.id: actions.journal(conn, ident))
        assert len(journal) <= 3  # however often something was tried
