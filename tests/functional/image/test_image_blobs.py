"""Effects of uploads and deletes beside the database: begun in it, and finished by whoever finds them unfinished."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from floe.blobs.files import FileBlobs
from floe.cloud import image_blobs, image_data, images
from floe.cloud.audit import check_images, check_rows
from floe.cloud.cloud import Cloud
from floe.conductor.image_actions import ImageActions
from floe.core.context import Context
from floe.core.errors import Conflict, Gone, Unavailable
from floe.core.images import NewImage
from floe.store import actions, audit, image_usage, quotas
from floe.store import image_blobs as blob_rows

As = Callable[[str], httpx.AsyncClient]
ANN = Context(request_id="r", user_id="ann", project_id="a" * 32, roles=frozenset({"member", "reader"}))


def with_actions(cloud: Cloud, place: str | None = None) -> tuple[Cloud, ImageActions]:
    """Return a process that has the bytes of images: its cloud, and what does actions of images there."""
    made = ImageActions(cloud, place=place)
    return replace(cloud, image_actions=made.own), made


async def queued(cloud: Cloud) -> str:
    return (await images.create(cloud, ANN, NewImage(disk_format="raw", container_format="bare"))).id


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


async def begin(cloud: Cloud, image_id: str) -> None:
    """Begin an upload as a process does that is killed then."""
    own = cloud.image_actions
    assert own is not None
    cut = replace(own, perform=_nothing)
    await image_data.upload(replace(cloud, image_actions=cut), ANN, image_id, pieces(), announced=100)
    (folder(cloud) / f"{image_id}.part").write_bytes(b"half")


async def _nothing(_begun: Any) -> None:
    """Die before anything is done."""


def folder(cloud: Cloud) -> Path:
    assert isinstance(cloud.blobs, FileBlobs)
    return cloud.blobs.directory


async def status(cloud: Cloud, image_id: str) -> str:
    return (await images.show(cloud, ANN, image_id)).status


async def check(cloud: Cloud) -> None:
    """Check that nothing is left over, in rows, counters, actions and files."""
    rows = await cloud.db.read(audit.rows)
    assert check_rows(rows, quiet=True) + check_images(rows, await cloud.blobs.find(), quiet=True) == []


async def renewed(cloud: Cloud, image_id: str) -> None:
    """Write of an upload what a process writes that is at it."""

    def write(conn: Any) -> bool:
        (action,) = [each for each in actions.of_subject(conn, image_id, "image") if each.finished_at is None]
        assert action.lease_owner is not None
        now = cloud.clock.now()
        return actions.hold(conn, action.id, action.lease_owner, action.attempts, action.state, now, now)

    assert await cloud.db.write(write)


class HandClock:
    """A clock that stands still until it is moved."""

    def __init__(self, cloud: Cloud) -> None:
        self.now, self.seconds = cloud.clock.now, 0.0

    def monotonic(self) -> float:
        return self.seconds


async def settled(made: ImageActions) -> None:
    """Look once, and do all that is due."""
    await made.settle()
    await made.idle()


async def test_an_upload_that_shows_no_life_is_ended_by_whoever_sees_it(image_cloud: Cloud) -> None:
    clock = HandClock(image_cloud)
    cloud = replace(image_cloud, clock=clock)
    image_id = await queued(cloud)
    await begin(cloud, image_id)
    _, other = with_actions(cloud)
    await settled(other)
    clock.seconds = 29
    await settled(other)
    assert await status(cloud, image_id) == "saving"
    await renewed(cloud, image_id)
    for clock.seconds in (58, 87):
        await settled(other)
    assert await status(cloud, image_id) == "saving"
    clock.seconds = 89
    await settled(other)
    assert await status(cloud, image_id) == "queued"
    (action,) = await cloud.db.read(lambda conn: actions.of_subject(conn, image_id, "image"))
    assert action.message == "The process that took the data stopped, and the upload with it; upload it again."
    await check(cloud)
    await image_data.upload(cloud, ANN, image_id, pieces(b"again"))
    assert (await images.show(cloud, ANN, image_id)).blob == f"{image_id}.2"
    await check(cloud)


async def test_a_start_ends_the_uploads_of_its_own_place_and_nobody_elses(image_cloud: Cloud) -> None:
    here, _ = with_actions(image_cloud, "here")
    there, _ = with_actions(image_cloud, "there")
    dead, alive = await queued(here), await queued(there)
    await begin(here, dead)
    await begin(there, alive)
    _, again = with_actions(image_cloud, "here")
    await again.start()
    await again.idle()
    assert [await status(image_cloud, ident) for ident in (dead, alive)] == ["queued", "saving"]
    assert (folder(image_cloud) / f"{alive}.part").exists()
    await again.stop()
    _, of_none = with_actions(image_cloud)
    await of_none.start()
    await of_none.idle()
    assert await status(image_cloud, alive) == "saving"
    await of_none.stop()
    _, heir = with_actions(image_cloud, "there")
    await heir.start()
    await heir.idle()
    await heir.stop()
    assert await status(image_cloud, alive) == "queued"
    await check(image_cloud)


async def test_a_late_write_of_a_given_up_upload_cannot_touch_the_next(image_cloud: Cloud) -> None:
    image_id = await queued(image_cloud)
    _, other = with_actions(image_cloud)

    async def slow() -> AsyncIterator[bytes]:
        yield b"late"
        await end(image_cloud, image_id, other)
        await image_data.upload(image_cloud, ANN, image_id, pieces(b"next"))
        yield b" bytes"

    with pytest.raises(Gone):
        await image_data.upload(image_cloud, ANN, image_id, slow())
    image = await images.show(image_cloud, ANN, image_id)
    assert (image.status, image.size) == ("active", 4)
    assert [chunk async for chunk in image_data.content(image_cloud, image)] == [b"next"]
    await check(image_cloud)


async def end(cloud: Cloud, image_id: str, other: ImageActions) -> None:
    """Have another process take an upload for dead."""
    (action,) = await cloud.db.read(lambda conn: actions.of_subject(conn, image_id, "image"))
    while await status(cloud, image_id) != "queued":  # it may write just before it is overtaken
        other.runner.overtake(action.id)
        await other.idle()


async def test_two_uploads_of_one_image_at_the_same_time_are_told_apart(image_cloud: Cloud) -> None:
    image_id = await queued(image_cloud)
    answers = await asyncio.gather(
        *(image_data.upload(image_cloud, ANN, image_id, pieces(b"x" * number)) for number in range(1, 6)),
        return_exceptions=True,
    )
    assert [type(answer) for answer in answers if answer is not None] == [Conflict] * 4
    await check(image_cloud)


async def test_an_upload_that_lives_is_not_ended_however_slow_its_client(image_cloud: Cloud) -> None:
    settings = replace(image_cloud.settings, upload_lease=0.04)
    cloud, _ = with_actions(replace(image_cloud, settings=settings))
    image_id = await queued(cloud)
    _, other = with_actions(replace(image_cloud, settings=settings))
    writes = set()

    async def slow() -> AsyncIterator[bytes]:
        yield b"x"
        while len(writes) < 4:
            await settled(other)
            found = await cloud.db.read(lambda conn: actions.of_subject(conn, image_id, "image"))
            writes.update(action.writes for action in found)
            await asyncio.sleep(0)

    await image_data.upload(cloud, ANN, image_id, slow())
    assert await status(cloud, image_id) == "active"


async def test_an_upload_that_was_ended_stops_though_its_client_says_nothing(image_cloud: Cloud) -> None:
    cloud, _ = with_actions(replace(image_cloud, settings=replace(image_cloud.settings, upload_lease=0.02)))
    image_id = await queued(cloud)
    _, other = with_actions(image_cloud)

    async def silent() -> AsyncIterator[bytes]:
        yield b"x"
        await end(cloud, image_id, other)
        await asyncio.Event().wait()

    with pytest.raises(Gone):
        await image_data.upload(cloud, ANN, image_id, silent())
    await other.idle()
    assert await status(cloud, image_id) == "queued"
    await check(cloud)


async def test_a_delete_wins_over_an_upload_and_gives_back_what_that_took(image_cloud: Cloud) -> None:
    image_id = await queued(image_cloud)

    async def meanwhile() -> AsyncIterator[bytes]:
        yield b"x"
        await images.delete(image_cloud, ANN, image_id)
        assert await image_cloud.db.read(lambda conn: image_usage.get(conn, "a" * 32)) == image_usage.ImageUsage()
        yield b"y"

    with pytest.raises(Gone):
        await image_data.upload(image_cloud, ANN, image_id, meanwhile(), announced=2)
    kinds = [
        (action.kind, action.state)
        for action in await image_cloud.db.read(lambda conn: actions.of_subject(conn, image_id, "image"))
    ]
    assert sorted(kinds) == [("delete-image", "succeeded"), ("upload-image", "cancelled")]
    await image_blobs.remove_strays(image_cloud)  # it may have written on for a moment
    await check(image_cloud)


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
    cloud, made = with_actions(replace(image_cloud, blobs=blobs, clock=clock))
    image_id = await queued(cloud)
    await image_data.upload(cloud, ANN, image_id, pieces(b"bytes"))
    await images.delete(cloud, ANN, image_id)
    assert await cloud.blobs.find() == [image_id]
    assert await cloud.db.read(lambda conn: image_usage.get(conn, "a" * 32)) == image_usage.ImageUsage()
    tries = []
    while await cloud.blobs.find():
        before = blobs.tried
        await settled(made)
        tries += [clock.seconds] * (blobs.tried - before)
        clock.seconds += 1
    waits = [int(after - before) for before, after in pairwise(tries)]
    assert waits == [1, 2, 4, 8, 16, 32, 64, 128]
    await check(cloud)
    both = await cloud.db.read(lambda conn: actions.of_subject(conn, image_id, "image"))  # begun in the same second
    (deleted,) = (each for each in both if "delete" in each.kind)
    steps = await cloud.db.read(lambda conn: actions.journal(conn, deleted.id))
    assert [step.name for step in steps] == ["bytes", "gone"]  # however often it was tried


async def test_an_upload_whose_bytes_cannot_be_removed_is_taken_back_later(image_cloud: Cloud) -> None:
    cloud, made = with_actions(replace(image_cloud, blobs=Broken(image_cloud, 1), clock=HandClock(image_cloud)))
    image_id = await queued(cloud)

    async def breaks() -> AsyncIterator[bytes]:
        yield b"x"
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        await image_data.upload(cloud, ANN, image_id, breaks(), announced=3)
    assert await status(cloud, image_id) == "saving"
    await settled(made)
    assert await status(cloud, image_id) == "queued"
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
    _, other = with_actions(replace(image_cloud, clock=clock))
    for clock.seconds in (0, 0, 31, 31, 31):
        await settled(other)
    assert await image_cloud.db.read(lambda conn: [blob.id for blob in blob_rows.find(conn)]) == [min(made)]


async def test_an_image_with_the_id_of_a_server_touches_none_of_its_actions(image_cloud: Cloud) -> None:
    ident = image_cloud.new_id()

    def add(conn: Any) -> None:
        given = {"id": "1", "kind": "create", "subject_id": ident, "project_id": "b", "user_id": "b"}
        actions.add(conn, actions.Action(**given, request_id="r", created_at=image_cloud.clock.now()))

    await image_cloud.db.write(add)
    await images.create(image_cloud, ANN, NewImage(id=ident, disk_format="raw", container_format="bare"))
    await image_data.upload(image_cloud, ANN, ident, pieces(b"x"))
    await images.delete(image_cloud, ANN, ident)
    (server_action,) = await image_cloud.db.read(lambda conn: actions.of_server(conn, ident))
    assert (server_action.kind, server_action.state) == ("create", "pending")
    assert await image_cloud.db.write(
        lambda conn: actions.cancel_open(conn, ident, image_cloud.clock.now(), but="create", subject="server")
    )


async def test_a_process_that_keeps_no_bytes_of_images_says_so(image_cloud: Cloud) -> None:
    image_id = await queued(image_cloud)
    with pytest.raises(Unavailable, match="ask one of the role api"):
        await image_data.upload(replace(image_cloud, image_actions=None), ANN, image_id, pieces(b"x"))
    assert await status(image_cloud, image_id) == "queued"


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
    assert await image_blobs.recover(restarted) == [cut]
    await image_blobs.remove_strays(restarted)
    assert [path.name for path in folder(image_cloud).iterdir()] == [kept]
    await check(image_cloud)
    await images.delete(image_cloud, ANN, kept)
    await check(image_cloud)


async def test_what_a_release_with_rows_and_no_actions_left_is_ended_at_the_next_start(image_cloud: Cloud) -> None:
    cut, deleted = await queued(image_cloud), await queued(image_cloud)
    await image_data.upload(image_cloud, ANN, deleted, pieces(b"data"))
    await begin(image_cloud, cut)
    broken, _ = with_actions(replace(image_cloud, blobs=Broken(image_cloud, 1)))
    await images.delete(broken, ANN, deleted)

    def as_before(conn: Any) -> None:
        conn.exec_driver_sql("DELETE FROM action_steps")
        conn.exec_driver_sql("DELETE FROM actions")

    await image_cloud.db.write(as_before)
    rows = await image_cloud.db.read(audit.rows)
    told = [found.subject for found in check_images(rows, [deleted], quiet=False)]
    assert told == sorted([cut, deleted])
    _, made = with_actions(image_cloud, "here")
    await made.start()
    await made.idle()
    await made.stop()
    assert await status(image_cloud, cut) == "queued"
    assert await image_cloud.blobs.find() == []
    await check(image_cloud)


async def test_what_the_release_before_ended_of_ours_is_ended_here_too(image_cloud: Cloud) -> None:
    """It knows the rows of blobs alone, and leaves actions of images open: the next upload is not touched by them."""
    image_id = await queued(image_cloud)
    await begin(image_cloud, image_id)

    def as_it_does(conn: Any) -> None:
        conn.exec_driver_sql("DELETE FROM image_blobs")
        conn.exec_driver_sql("DELETE FROM image_usage")
        conn.exec_driver_sql("UPDATE images SET status = 'queued'")

    await image_cloud.db.write(as_it_does)
    await image_blobs.recover(image_cloud)
    await image_data.upload(image_cloud, ANN, image_id, pieces(b"next"))
    _, made = with_actions(image_cloud, "here")
    dead = [each.id for each in await image_cloud.db.read(lambda conn: actions.of_subject(conn, image_id, "image"))]
    for ident in dead:
        made.runner.overtake(ident)
    await made.idle()
    assert await status(image_cloud, image_id) == "active"
    await image_blobs.remove_strays(image_cloud)
    await check(image_cloud)
