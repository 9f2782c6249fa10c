"""The data of images, in and out.

An action says that bytes of a blob may come before the first of them does; the transaction that ends it turns them into
an image's data. Whatever else becomes of an upload, its action is found, and what it did is taken back.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator, Callable
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


class Upload(msgspec.Struct, frozen=True, kw_only=True):
    """An upload that is asked for, of so many bytes, 0 if nobody said; `maker` is the action that makes them."""

    context: Context
    image_id: str
    announced: int = 0
    maker: str = ""


class _Taken(msgspec.Struct, frozen=True):
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
    asked = Upload(context=context, image_id=image_id, announced=announced)
    await receive(cloud, lambda _conn: asked, chunks)


async def receive(cloud: Cloud, admit: Callable[[Connection], Upload | None], chunks: AsyncIterator[bytes]) -> None:
    """Take the bytes of an upload that is admitted in the transaction in which it begins; nothing, if none is."""
    own, action_id, now = images.own_actions(cloud), cloud.new_id(), cloud.clock.now()
    begun = asyncio.ensure_future(cloud.db.write(lambda conn: _begin(conn, own, admit(conn), action_id, now)))
    try:
        taken = await asyncio.shield(begun)
    except asyncio.CancelledError:
        taken = await begun
        if taken is not None:
            with contextlib.suppress(FloeError):
                await asyncio.shield(own.perform(_with(taken, _cut_off(taken.image.id))))
        raise
    if taken is None:
        return
    image = taken.image
    try:
        await own.perform(_with(taken, chunks))
    except FloeError as error:
        log.info("upload of image %s refused: %s", image.id, error.message)
        raise
    except BaseException as error:
        log.warning("upload of image %s broke off: %s", image.id, type(error).__name__)
        raise
    log.info("image %s is active: %s", image.id, image.disk_format)


def _begin(conn: Connection, own: OwnActions, asked: Upload | None, action_id: str, now: datetime) -> _Taken | None:
    if asked is None:
        return None
    image = images.own(conn, asked.context, asked.image_id)
    demand_upload(image)
    image_quotas.take_upload(conn, image.owner, asked.announced)
    number = rows.begin_upload(conn, image.id, now)
    blob = ImageBlob(
        id=blob_of(image.id, number), image_id=image.id, project_id=image.owner, reserved=asked.announced, since=now
    )
    blob_rows.insert(conn, blob)
    given = BlobGiven(blob=blob.id, maker=asked.maker)
    action = images.begin(conn, own, UPLOAD_IMAGE, given, asked.context, image, action_id, now)
    return _Taken(image, blob, action)


def _with(taken: _Taken, chunks: AsyncIterator[bytes]) -> Begun:
    disk_format, announced = taken.image.disk_format or "", taken.blob.reserved
    incoming = Incoming(
        chunks=chunks,
        announced=announced,
        disk_format=disk_format,
        blob=taken.blob,
        properties=taken.image.properties,
    )
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
