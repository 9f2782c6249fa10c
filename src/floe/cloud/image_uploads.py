"""An upload from its begin to its end: what it takes, what it writes, what it gives back. `image_data` begins it.

The workflow `upload-image` says when which of these is done.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime

import msgspec

from floe.blobs.inspect import Found, Inspection
from floe.cloud import image_quotas
from floe.cloud.cloud import Cloud
from floe.core.errors import Gone
from floe.core.image_quotas import MIB, ImageUsage
from floe.core.images import ACTIVE, QUEUED, SAVING, ImageBlob
from floe.store import image_blobs as blobs
from floe.store import image_usage, images
from floe.store.engine import Connection

_FIRST_STEP, _LONGEST_STEP = 1 * MIB, 64 * MIB
"""Bytes that an upload of unknown size takes room for at a time."""

Reserve = Callable[[int, int], Awaitable[int]]
"""Takes room for more bytes, so many at least, at best so many; returns for how many."""


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """The bytes that come with a request; `announced` is how many are to come, 0 if nobody said."""

    chunks: AsyncIterator[bytes]
    announced: int
    disk_format: str
    blob: ImageBlob


class Written(msgspec.Struct, frozen=True, kw_only=True):
    """What was written: sizes in bytes, digests in hex."""

    size: int
    virtual_size: int | None
    md5: str
    sha512: str


async def write(cloud: Cloud, incoming: Incoming, reserve: Reserve) -> Written:
    """Write the bytes that come, once the project has room for them. Raises what `image_data.upload` does."""
    blob, settings = incoming.blob, cloud.settings
    turn, most = blob.project_id or "", settings.max_virtual_bytes
    inspection = await cloud.pools.blobs.run(Inspection, incoming.disk_format, most, caller=(turn,))
    found: list[Found] = []
    stored = await cloud.blobs.write(
        blob.id,
        _inspected(_paid(incoming, reserve), inspection, found),
        max_bytes=settings.max_image_bytes,
        announced=incoming.announced,
        caller=turn,
    )
    return Written(size=stored.size, virtual_size=found[0].virtual_size, md5=stored.md5, sha512=stored.sha512)


async def _paid(incoming: Incoming, reserve: Reserve) -> AsyncIterator[bytes]:
    """Pass bytes on once the project has room for them. Raises TooLarge, Gone."""
    held, total, step = incoming.blob.reserved, 0, _FIRST_STEP
    async for chunk in incoming.chunks:
        total += len(chunk)
        if total > held:
            needed = total - held
            held += await reserve(needed, max(needed, step))
            step = min(2 * step, _LONGEST_STEP)
        yield chunk


async def _inspected(chunks: AsyncIterator[bytes], inspection: Inspection, found: list[Found]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        inspection.feed(chunk)
        yield chunk
    found.append(inspection.finish())


# -- in the workflow's transactions -----------------------------------------------------------------------


def reserve(conn: Connection, blob: ImageBlob, needed: int, wanted: int) -> int:
    """Take room for more bytes of an upload; return for how many. Raises TooLarge, Gone."""
    granted = image_quotas.take_bytes(conn, blob.project_id, needed, wanted)
    if not blobs.reserve(conn, blob.id, granted):
        raise ended(blob.image_id)
    return granted


def finish(conn: Connection, blob_id: str, image_id: str, written: Written, now: datetime) -> None:
    """Make what was written the image's data. Raises Gone."""
    held, image = blobs.get(conn, blob_id), images.get(conn, image_id)
    if held is None or image is None or not blobs.take(conn, blob_id):
        raise ended(image_id)
    values = {
        "status": ACTIVE,
        "size": written.size,
        "virtual_size": written.virtual_size,
        "checksum": written.md5,
        "sha512": written.sha512,
        "blob_id": blob_id,
        "updated_at": now,
    }
    if not images.change(conn, image_id, values, only_in=[SAVING]):
        raise ended(image_id)
    image_usage.add(conn, held.project_id, ImageUsage(uploads=-1, staged=-held.reserved))
    image_usage.add(conn, image.owner, ImageUsage(bytes=written.size))


def give_back(conn: Connection, blob_id: str, now: datetime) -> None:
    """Queue an image again whose upload failed, and give back what that took; its bytes are gone."""
    blob = blobs.get(conn, blob_id)
    if blob is None:
        return
    if blobs.take(conn, blob_id):
        image_usage.add(conn, blob.project_id, ImageUsage(uploads=-1, staged=-blob.reserved))
        images.change(conn, blob.image_id, {"status": QUEUED, "updated_at": now}, only_in=[SAVING])
    else:
        blobs.delete(conn, blob_id)


def ended(image_id: str) -> Gone:
    """Return what an upload fails with that somebody else has ended."""
    return Gone(f"Image {image_id} was deleted, or its upload was given up, while its data was being uploaded.")
