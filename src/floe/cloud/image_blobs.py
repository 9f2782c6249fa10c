"""Bytes that are no image's data: those that no action is at, and those that no row knows of.

Each upload has a blob of its own, so that one that was given up long ago cannot touch the bytes of the next.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence

from floe.cloud.cloud import Cloud
from floe.core.actions import DELETE_IMAGE, IMAGE, UPLOAD_IMAGE, Action
from floe.core.errors import Unavailable
from floe.core.images import QUEUED, SAVING, WRITING, ImageBlob
from floe.store import actions, image_usage, images
from floe.store import image_blobs as blobs
from floe.store.engine import Connection

log = logging.getLogger(__name__)

_AT_ONCE = 1024
"""Blobs that get an action in one transaction; the next round sees to more."""


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


async def recover(cloud: Cloud) -> list[str]:
    """Take over what a release left that knew no actions of images; return the images whose uploads it was at.

    That release had the database to itself, so that all of its uploads are dead. Those of this one have actions, whose
    leases say who is at them.
    """
    now = cloud.clock.now()

    def write(conn: Connection) -> tuple[list[str], list[str]]:
        left = blobs.abandoned(conn)
        for image_id in left:
            images.change(conn, image_id, {"status": QUEUED, "updated_at": now}, only_in=[SAVING])
        return image_usage.mend(conn), left

    mended, requeued = await cloud.db.write(write)
    if mended:
        log.warning("what is counted of the images of these projects was wrong, and is counted anew: %s", mended)
    adopted = await adopt(cloud)
    return sorted({*requeued, *(blob.image_id for blob in adopted if blob.state == WRITING)})


async def adopt(cloud: Cloud) -> Sequence[ImageBlob]:
    """Give an action to bytes on their way that none is at; return which."""
    found = await cloud.db.read(lambda conn: blobs.without_action(conn, limit=_AT_ONCE))
    if not found:
        return []
    now, ids = cloud.clock.now(), {blob.id: cloud.new_id() for blob in found}

    def write(conn: Connection) -> list[ImageBlob]:
        left = [blob for blob in blobs.without_action(conn, limit=_AT_ONCE) if blob.id in ids]
        for blob in left:
            begins = UPLOAD_IMAGE if blob.state == WRITING else DELETE_IMAGE
            actions.add(
                conn,
                Action(
                    id=ids[blob.id],
                    kind=begins.kind,
                    version=begins.version,
                    subject_kind=IMAGE,
                    subject_id=blob.image_id,
                    project_id=blob.project_id or "",
                    user_id="",
                    request_id=f"req-{ids[blob.id]}",
                    input={"blob": blob.id},
                    created_at=now,
                ),
            )
        return left

    adopted = await cloud.db.write(write)
    for blob in adopted:
        log.warning("nobody was at blob %s of image %s, which is %s; it is ended", blob.id, blob.image_id, blob.state)
    return adopted
