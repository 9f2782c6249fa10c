"""Bytes that are no image's data, and how they go: uploads that failed or died, data of deleted images.

Each upload has a blob of its own, so that one that was given up long ago cannot touch the bytes of the next.
"""

from __future__ import annotations

import logging
from datetime import datetime

from floe.cloud.cloud import Cloud
from floe.core.errors import Unavailable
from floe.core.image_quotas import ImageUsage
from floe.core.images import QUEUED, REMOVING, SAVING, Image, ImageBlob
from floe.store import image_blobs as blobs
from floe.store import image_usage, images
from floe.store.engine import Connection

log = logging.getLogger(__name__)

_AT_START = 1024
"""Blobs that a start removes; the sweep sees to more."""


async def end(cloud: Cloud, blob_id: str) -> None:
    """End an upload that failed, or that nobody is at, and remove its bytes; what became an image's data stays.

    Raises Unavailable, and then it can be repeated.
    """
    now = cloud.clock.now()
    if await cloud.db.write(lambda conn: _end(conn, blob_id, now)):
        await remove(cloud, blob_id)


def _end(conn: Connection, blob_id: str, now: datetime) -> bool:
    """Queue the image again and give back what was taken; return whether there are bytes to be removed."""
    blob = blobs.get(conn, blob_id)
    if blob is None:
        return bool(blobs.nobodys(conn, [blob_id]))
    if blobs.to_remove(conn, blob_id, now):
        image_usage.add(conn, blob.project_id, ImageUsage(uploads=-1, staged=-blob.reserved))
        images.change(conn, blob.image_id, {"status": QUEUED, "updated_at": now}, only_in=[SAVING])
    return True


def let_go(conn: Connection, image: Image, now: datetime) -> str | None:
    """Say that the bytes of an image that is deleted in this transaction are to be removed; return their blob."""
    if image.status == QUEUED:
        return None
    blob = blobs.written_for(conn, image.id) if image.status == SAVING else None
    if blob is not None:
        _end(conn, blob.id, now)
        return blob.id
    blobs.insert(conn, ImageBlob(id=image.blob, image_id=image.id, project_id=None, state=REMOVING, since=now))
    return image.blob


async def remove(cloud: Cloud, blob_id: str) -> None:
    """Remove bytes that are nobody's, and forget that. Raises Unavailable, and then it can be repeated."""
    await cloud.blobs.delete(blob_id)
    await cloud.db.write(lambda conn: blobs.delete(conn, blob_id))


async def remove_or_later(cloud: Cloud, blob_id: str) -> bool:
    """Remove bytes, or leave that to the sweep where it cannot be done now; say which."""
    try:
        await remove(cloud, blob_id)
    except Unavailable as error:
        log.warning("bytes of a deleted image or a failed upload are removed later: %s", error.message)
        return False
    return True


async def remove_strays(cloud: Cloud) -> list[str]:
    """Remove bytes that no row knows of, such as a killed process made after it was given up; return their ids.

    However many processes take uploads: what is seen in the store now has its row already, or never gets one.
    """
    there = await cloud.blobs.find()
    strays = await cloud.db.scan(lambda conn: blobs.nobodys(conn, there))
    removed = []
    for blob_id in strays:
        try:
            await cloud.blobs.delete(blob_id)
        except Unavailable as error:
            log.warning("bytes that are no image's data are removed later: %s", error.message)
        else:
            log.warning("bytes that were no image's data were removed: %s", blob_id)
            removed.append(blob_id)
    return removed


async def recover(cloud: Cloud, *, alone: bool) -> list[str]:
    """At start: end the uploads that a dead process left, remove leftover bytes; return the images queued again.

    `alone` says that no other process takes uploads on the same database, so that all there are were left.
    """

    now = cloud.clock.now()

    def write(conn: Connection) -> tuple[list[str], list[str]]:
        mended = image_usage.mend(conn)
        if not alone:
            return mended, []
        queued = [blob.image_id for blob in blobs.find(conn, limit=_AT_START) if _was_writing(conn, blob, now)]
        left = blobs.abandoned(conn)
        for image_id in left:
            images.change(conn, image_id, {"status": QUEUED, "updated_at": now}, only_in=[SAVING])
        return mended, sorted({*queued, *left})

    mended, requeued = await cloud.db.write(write)
    if mended:
        log.warning("what is counted of the images of these projects was wrong, and is counted anew: %s", mended)
    removed = []
    for blob in await cloud.db.read(lambda conn: blobs.find(conn, limit=_AT_START)):
        if blob.state == REMOVING and await remove_or_later(cloud, blob.id):
            removed.append(blob.id)
    removed += await remove_strays(cloud)
    if requeued or removed:
        log.warning("uploads cut off by the last stop: %s; leftovers removed: %s", requeued, removed)
    return requeued


def _was_writing(conn: Connection, blob: ImageBlob, now: datetime) -> bool:
    return blob.state != REMOVING and _end(conn, blob.id, now)
