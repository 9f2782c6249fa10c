"""The data of images, in and out.

An action says that bytes of a blob may come before the first of them does; the transaction that ends it turns them into
an image's data. Whatever else becomes of an upload, its action is found, and what it did is taken back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from datetime import datetime

import msgspec
from msgspec.structs import replace

from floe.cloud import image_quotas, images
from floe.cloud.cloud import Cloud
from floe.cloud.image_uploads import Incoming, ended
from floe.cloud.own_actions import Begun, OwnActions
from floe.core.actions import UPLOAD_IMAGE
from floe.core.context import Context
from floe.core.errors import FloeError, Forbidden
from floe.core.given import BlobGiven
from floe.core.images import ACTIVE, DEACTIVATED, Image, ImageBlob, blob_of, demand_upload
from floe.store import image_blobs as blob_rows
from floe.store import images as rows
from floe.store.engine import Connection

log = logging.getLogger(__name__)


class _Upload(msgspec.Struct, frozen=True):
    """One upload: the image as it was when it began, the blob that is written for it, and its action."""

    image: Image
    blob: ImageBlob
    action: Begun


async def upload(
    cloud: Cloud, context: Context, image_id: str, chunks: AsyncIterator[bytes], *, announced: int = 0
) -> None:
    """Take an image's bytes; when this raises, none are kept and the image is queued again.

    `announced` is how many are to come, 0 if nobody said.

    Raises Conflict unless it is queued, UnsupportedMedia when the bytes are not of the declared format, Invalid for an
    image that is damaged or refers outside itself, TooLarge past a limit, the project's quota or what the store has
    room for, Busy, Gone when the image was deleted meanwhile, and whatever `chunks` raises.
    """
    own, action_id, now = images.own_actions(cloud), cloud.new_id(), cloud.clock.now()
    begun = asyncio.ensure_future(
        cloud.db.write(lambda conn: _begin(conn, own, context, image_id, action_id, announced, now))
    )
    try:
        taken = await asyncio.shield(begun)
    except asyncio.CancelledError:
        taken = await begun
        with contextlib.suppress(FloeError):
            await asyncio.shield(own.perform(_with(taken, _cut_off(image_id), announced)))
        raise
    try:
        await own.perform(_with(taken, chunks, announced))
    except FloeError as error:
        log.info("upload of image %s refused: %s", image_id, error.message)
        raise
    except BaseException as error:
        log.warning("upload of image %s broke off: %s", image_id, type(error).__name__)
        raise
    log.info("image %s is active: %s", image_id, taken.image.disk_format)


def _begin(
    conn: Connection,
    own: OwnActions,
    context: Context,
    image_id: str,
    action_id: str,
    announced: int,
    now: datetime,
) -> _Upload:
    image = images.own(conn, context, image_id)
    demand_upload(image)
    image_quotas.take_upload(conn, image.owner, announced)
    number = rows.begin_upload(conn, image_id, now)
    blob = ImageBlob(
        id=blob_of(image_id, number), image_id=image_id, project_id=image.owner, reserved=announced, since=now
    )
    blob_rows.insert(conn, blob)
    given = BlobGiven(blob=blob.id)
    action = images.begin(conn, own, UPLOAD_IMAGE, given, context, image, action_id, now)
    return _Upload(image, blob, action)


def _with(taken: _Upload, chunks: AsyncIterator[bytes], announced: int) -> Begun:
    disk_format = taken.image.disk_format or ""
    incoming = Incoming(chunks=chunks, announced=announced, disk_format=disk_format, blob=taken.blob)
    return replace(taken.action, known={Incoming: incoming})


async def _cut_off(image_id: str) -> AsyncIterator[bytes]:
    """Give what a client sends that is gone."""
    raise ended(image_id)
    yield b""


# -- out --------------------------------------------------------------------------------------------------


async def downloadable(cloud: Cloud, context: Context, image_id: str) -> Image | None:
    """Return an image whose bytes the caller may read now, None if it has none yet. Raises NotFound, Forbidden."""
    image = await images.show(cloud, context, image_id)
    if image.status == DEACTIVATED and not context.is_admin:
        raise Forbidden(f"Image {image_id} is deactivated; its data cannot be read.")
    return image if image.status in {ACTIVE, DEACTIVATED} else None


def content(
    cloud: Cloud, image: Image, start: int = 0, length: int | None = None, *, project_id: str | None = None
) -> AsyncIterator[bytes]:
    """Give an image's bytes, in turns of a project, to one who may have them (`downloadable`)."""
    return cloud.blobs.read(image.blob, start, length, caller=project_id or "")
