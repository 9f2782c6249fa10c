"""The data of images, in and out.

A row says that bytes of a blob may come before the first of them does; a transaction turns them into an image's data.
Whatever else becomes of an upload, its row is found, and its bytes are removed (`image_blobs`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from floe.blobs.inspect import Found, Inspection
from floe.blobs.protocol import Stored
from floe.cloud import image_blobs, image_quotas, images
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import FloeError, Forbidden, Gone, Unavailable
from floe.core.image_quotas import MIB, ImageUsage
from floe.core.images import ACTIVE, DEACTIVATED, SAVING, Image, ImageBlob, blob_of, demand_upload
from floe.store import image_blobs as blob_rows
from floe.store import image_usage
from floe.store import images as rows
from floe.store.engine import Connection

log = logging.getLogger(__name__)

_WRITE_AGAIN = 0.5
"""Seconds between attempts to write to a database that refused."""
_FIRST_STEP, _LONGEST_STEP = 1 * MIB, 64 * MIB
"""Bytes that an upload of unknown size takes room for at a time."""


@dataclass(frozen=True, slots=True)
class _Upload:
    """One upload: the image as it was when it began, and the blob that is written for it."""

    image: Image
    blob: ImageBlob


async def upload(
    cloud: Cloud, context: Context, image_id: str, chunks: AsyncIterator[bytes], *, announced: int = 0
) -> None:
    """Take an image's bytes; when this raises, none are kept and the image is queued again.

    `announced` is how many are to come, 0 if nobody said.

    Raises Conflict unless it is queued, UnsupportedMedia when the bytes are not of the declared format, Invalid for an
    image that is damaged or refers outside itself, TooLarge past a limit, the project's quota or what the store has
    room for, Busy, Gone when the image was deleted meanwhile, and whatever `chunks` raises.
    """
    now = cloud.clock.now()
    begun = asyncio.ensure_future(cloud.db.write(lambda conn: _begin(conn, context, image_id, announced, now)))
    try:
        taken = await asyncio.shield(begun)
    except asyncio.CancelledError:
        await asyncio.shield(_give_up(cloud, (await begun).blob))
        raise
    try:
        size = await _while_beating(cloud, taken.blob, _take(cloud, taken, chunks, announced))
    except BaseException as error:
        if isinstance(error, FloeError):
            log.info("upload of image %s refused: %s", image_id, error.message)
        else:
            log.warning("upload of image %s broke off: %s", image_id, type(error).__name__)
        await asyncio.shield(_give_up(cloud, taken.blob))
        raise
    log.info("image %s is active: %s, %d bytes", image_id, taken.image.disk_format, size)


def _begin(conn: Connection, context: Context, image_id: str, announced: int, now: datetime) -> _Upload:
    image = images.own(conn, context, image_id)
    demand_upload(image)
    image_quotas.take_upload(conn, image.owner, announced)
    number = rows.begin_upload(conn, image_id, now)
    blob = ImageBlob(
        id=blob_of(image_id, number), image_id=image_id, project_id=image.owner, reserved=announced, since=now
    )
    blob_rows.insert(conn, blob)
    return _Upload(image, blob)


async def _take(cloud: Cloud, taken: _Upload, chunks: AsyncIterator[bytes], announced: int) -> int:
    """Write the bytes and make them the image's data; return how many they are."""
    image, blob, settings = taken.image, taken.blob, cloud.settings
    turn, most = blob.project_id or "", settings.max_virtual_bytes
    inspection = await cloud.pools.blobs.run(Inspection, image.disk_format or "", most, caller=(turn,))
    found: list[Found] = []
    stored = await cloud.blobs.write(
        blob.id,
        _inspected(_paid(cloud, blob, chunks), inspection, found),
        max_bytes=settings.max_image_bytes,
        announced=announced,
        caller=turn,
    )
    now = cloud.clock.now()
    await cloud.db.write(lambda conn: _finish(conn, blob, stored, found[0], now))
    return stored.size


def _finish(conn: Connection, blob: ImageBlob, stored: Stored, found: Found, now: datetime) -> None:
    held = blob_rows.get(conn, blob.id)
    image = rows.get(conn, blob.image_id)
    if held is None or image is None or not blob_rows.take(conn, blob.id):
        raise _gone(blob)
    values = {
        "status": ACTIVE,
        "size": stored.size,
        "virtual_size": found.virtual_size,
        "checksum": stored.md5,
        "sha512": stored.sha512,
        "blob_id": blob.id,
        "updated_at": now,
    }
    if not rows.change(conn, blob.image_id, values, only_in=[SAVING]):
        raise _gone(blob)
    image_usage.add(conn, held.project_id, ImageUsage(uploads=-1, staged=-held.reserved))
    image_usage.add(conn, image.owner, ImageUsage(bytes=stored.size))


async def _while_beating(cloud: Cloud, blob: ImageBlob, work: Awaitable[int]) -> int:
    """Do the work of an upload, and show all the while that it is alive. Raises Gone when somebody ended it."""
    task = asyncio.ensure_future(work)
    ended = False
    try:
        while not (await asyncio.wait({task}, timeout=cloud.settings.upload_lease / 4))[0]:
            if ended:  # for a second time: the first may have come between the commit and its answer
                raise _gone(blob)
            try:
                ended = not await cloud.db.write(lambda conn: blob_rows.beat(conn, blob.id))
            except Unavailable as error:
                log.warning("image %s is being uploaded, which could not be written: %s", blob.image_id, error.message)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.wait({task})
    return task.result()


async def _paid(cloud: Cloud, blob: ImageBlob, chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Pass bytes on once the project has room for them. Raises TooLarge, Gone."""
    held, total, step = blob.reserved, 0, _FIRST_STEP
    async for chunk in chunks:
        total += len(chunk)
        if total > held:
            needed = total - held
            held += await cloud.db.write(partial(_reserve, blob=blob, needed=needed, wanted=max(needed, step)))
            step = min(2 * step, _LONGEST_STEP)
        yield chunk


def _reserve(conn: Connection, blob: ImageBlob, needed: int, wanted: int) -> int:
    granted = image_quotas.take_bytes(conn, blob.project_id, needed, wanted)
    if not blob_rows.beat(conn, blob.id, granted):
        raise _gone(blob)
    return granted


async def _inspected(chunks: AsyncIterator[bytes], inspection: Inspection, found: list[Found]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        inspection.feed(chunk)
        yield chunk
    found.append(inspection.finish())


def _gone(blob: ImageBlob) -> Gone:
    return Gone(f"Image {blob.image_id} was deleted, or its upload was given up, while its data was being uploaded.")


async def _give_up(cloud: Cloud, blob: ImageBlob) -> None:
    """End an upload. Where the database refuses for so long that the lease runs out, whoever sees that ends it."""
    for _ in range(max(1, int(cloud.settings.upload_lease / _WRITE_AGAIN))):
        try:
            await image_blobs.end(cloud, blob.id)
        except Unavailable as error:
            log.warning("the upload of image %s is not given up yet: %s", blob.image_id, error.message)
            await asyncio.sleep(_WRITE_AGAIN)
        else:
            return


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
