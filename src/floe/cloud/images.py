"""Images: create, find, change, share, and their bytes in and out."""

from __future__ import annotations

import asyncio
import logging
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from functools import partial
from typing import Any

from floe.blobs.inspect import Found, Inspection
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Conflict, FloeError, Forbidden, Gone, Invalid, NotFound, TooLarge, Unavailable
from floe.core.ids import is_uuid
from floe.core.images import (
    ACCEPTED,
    ACTIVE,
    DEACTIVATED,
    MAX_MEMBERS,
    MAX_TAGS,
    PENDING,
    QUEUED,
    REJECTED,
    SAVING,
    SHARED,
    Image,
    ImageMember,
    NewImage,
    demand_bootable,
    demand_change,
    demand_edit,
    demand_limits,
    demand_members,
    demand_owner,
    demand_upload,
    guest_image,
    may_see,
)
from floe.store import images as rows
from floe.store.engine import Connection
from floe.store.images import Wanted

__all__ = ["Wanted", "bootable", "guest_image", "visible"]
log = logging.getLogger(__name__)

_WRITE_AGAIN = 0.5
"""Seconds between attempts to write to a database that refused."""

_EDITABLE = (
    *("name", "visibility", "owner", "disk_format", "container_format"),
    *("min_disk", "min_ram", "protected", "hidden"),
)


# -- for others, in their transactions ------------------------------------------------------------------


def visible(conn: Connection, context: Context, image_id: str) -> Image:
    """Return an image that the caller may see. Raises NotFound."""
    image = rows.get(conn, image_id)
    if image is None or not _seen(conn, context, image):
        raise NotFound("image", image_id)
    return image


def bootable(conn: Connection, context: Context, image_id: str) -> Image:
    """Return an image that the caller may boot a server from now. Raises NotFound, Invalid with the reason."""
    image = visible(conn, context, image_id)
    demand_bootable(image)
    return image


def _seen(conn: Connection, context: Context, image: Image) -> bool:
    if may_see(context, image, False):
        return True
    project = context.project_id
    return (
        image.visibility == SHARED
        and project is not None
        and may_see(context, image, rows.member(conn, image.id, project) is not None)
    )


def _own(conn: Connection, context: Context, image_id: str) -> Image:
    image = visible(conn, context, image_id)
    demand_change(context, image)
    return image


# -- images ---------------------------------------------------------------------------------------------


async def create(cloud: Cloud, context: Context, new: NewImage) -> Image:
    """Keep a new image, queued. Raises Conflict for an id that was ever used, Invalid, Forbidden."""
    owner = context.project_id if new.owner is None else new.owner
    demand_owner(context, owner)
    demand_limits(new.tags, new.properties)
    if new.id is not None and not is_uuid(new.id):
        raise Invalid(f"An image's id is a UUID (it is {new.id[:80]!r}).")
    now = cloud.clock.now()
    image = Image(
        id=str(uuid.UUID(new.id)) if new.id else cloud.new_id(),
        name=new.name,
        visibility=new.visibility,
        owner=owner,
        disk_format=new.disk_format,
        container_format=new.container_format,
        min_disk=new.min_disk,
        min_ram=new.min_ram,
        protected=new.protected,
        hidden=new.hidden,
        created_at=now,
        updated_at=now,
        tags=tuple(sorted(set(new.tags))),
        properties=dict(new.properties),
    )

    def keep(conn: Connection) -> None:
        if rows.taken(conn, image.id):
            raise Conflict(f"Image ID {image.id} already exists; choose another or let one be made.")
        rows.insert(conn, image)

    await cloud.db.write(keep)
    return image


async def show(cloud: Cloud, context: Context, image_id: str) -> Image:
    """Return one image. Raises NotFound."""
    return await cloud.db.read(lambda conn: visible(conn, context, image_id))


async def find(cloud: Cloud, context: Context, wanted: Wanted, marker: str | None = None) -> list[Image]:
    """Return a page of images; `marker` is the id of the last one of the page before. Raises Invalid for it."""
    bounded = replace(wanted, project_id=context.project_id, everything=context.is_admin)

    def look(conn: Connection) -> list[Image]:
        if marker is None:
            return rows.find(conn, bounded)
        try:
            return rows.find(conn, replace(bounded, after=visible(conn, context, marker)))
        except NotFound as error:
            raise Invalid(f"marker {marker!r} is the id of no image that you can see.") from error

    return await cloud.db.read(look)


async def update(cloud: Cloud, context: Context, image_id: str, edit: Callable[[Image], Image]) -> Image:
    """Change an image with a function from the old one to the new one; it must be pure and may raise."""
    now = cloud.clock.now()

    def apply(conn: Connection) -> Image:
        old = _own(conn, context, image_id)
        edited = edit(old)
        new = replace(edited, updated_at=now, tags=tuple(sorted(set(edited.tags))))
        if new.owner != old.owner:
            demand_owner(context, new.owner)
        demand_edit(old, new)
        values: dict[str, Any] = {name: getattr(new, name) for name in _EDITABLE}
        rows.change(conn, image_id, {**values, "updated_at": now})
        if new.tags != old.tags:
            rows.set_tags(conn, image_id, new.tags)
        if new.properties != old.properties:
            rows.set_properties(conn, image_id, new.properties)
        return new

    return await cloud.db.write(apply)


async def delete(cloud: Cloud, context: Context, image_id: str) -> None:
    """Delete an image and its bytes; servers made from it have their own. Raises Forbidden for a protected one."""
    now = cloud.clock.now()

    def drop(conn: Connection) -> None:
        image = _own(conn, context, image_id)
        if image.protected:
            raise Forbidden(f"Image {image_id} is protected and cannot be deleted; set protected to false first.")
        rows.delete(conn, image_id, now)

    await cloud.db.write(drop)
    await cloud.blobs.delete(image_id)


async def set_active(cloud: Cloud, context: Context, image_id: str, active: bool) -> None:
    """Let an image's bytes be used, or forbid it for all but administrators. Raises Forbidden unless it has some."""
    now = cloud.clock.now()
    status = ACTIVE if active else DEACTIVATED

    def apply(conn: Connection) -> None:
        image = _own(conn, context, image_id)
        if not rows.change(conn, image_id, {"status": status, "updated_at": now}, only_in=(ACTIVE, DEACTIVATED)):
            raise Forbidden(f"Image {image_id} is {image.status}; only one that has its data can become {status}.")

    await cloud.db.write(apply)


async def set_tag(cloud: Cloud, context: Context, image_id: str, tag: str, present: bool) -> None:
    """Add or remove one tag. Raises NotFound for one to be removed that is not there, TooLarge for one too many."""

    def edit(image: Image) -> Image:
        if present:
            if len({*image.tags, tag}) > MAX_TAGS:
                raise TooLarge(f"Image {image_id} has {len(image.tags)} tags; at most {MAX_TAGS} are kept.")
            return replace(image, tags=(*image.tags, tag))
        if tag not in image.tags:
            raise NotFound("tag", tag, message=f"Image {image_id} has no tag {tag!r}.")
        return replace(image, tags=tuple(each for each in image.tags if each != tag))

    await update(cloud, context, image_id, edit)


# -- bytes ----------------------------------------------------------------------------------------------


async def upload(cloud: Cloud, context: Context, image_id: str, chunks: AsyncIterator[bytes]) -> None:
    """Take an image's bytes; when this raises, none are kept and the image is queued again.

    Raises Conflict unless it is queued, UnsupportedMedia when the bytes are not of the declared format, Invalid for an
    image that is damaged or refers outside itself, TooLarge, Unavailable for a full store, Gone when the image was
    deleted meanwhile, and whatever `chunks` raises.
    """
    begun = asyncio.ensure_future(cloud.db.write(lambda conn: _begin(conn, cloud, context, image_id)))
    try:
        image = await asyncio.shield(begun)
    except asyncio.CancelledError:
        await begun
        await asyncio.shield(_give_up(cloud, image_id))
        raise
    try:
        disk_format = image.disk_format or ""
        inspection = await asyncio.to_thread(Inspection, disk_format, cloud.settings.max_virtual_bytes)
        found: list[Found] = []
        stored = await cloud.blobs.write(
            image_id, _inspected(chunks, inspection, found), max_bytes=cloud.settings.max_image_bytes
        )
        values = {
            "status": ACTIVE,
            "size": stored.size,
            "virtual_size": found[0].virtual_size,
            "checksum": stored.md5,
            "sha512": stored.sha512,
            "updated_at": cloud.clock.now(),
        }
        if not await cloud.db.write(lambda conn: rows.change(conn, image_id, values, only_in=[SAVING])):
            raise Gone(f"Image {image_id} was deleted while its data was being uploaded.")
    except BaseException as error:
        if isinstance(error, FloeError):
            log.info("upload of image %s refused: %s", image_id, error.message)
        else:
            log.warning("upload of image %s broke off: %s", image_id, type(error).__name__)
        await asyncio.shield(_give_up(cloud, image_id))
        raise
    log.info("image %s is active: %s, %d bytes", image_id, image.disk_format, stored.size)


def _begin(conn: Connection, cloud: Cloud, context: Context, image_id: str) -> Image:
    image = _own(conn, context, image_id)
    demand_upload(image)
    rows.change(conn, image_id, {"status": SAVING, "updated_at": cloud.clock.now()}, only_in=[QUEUED])
    return image


async def _give_up(cloud: Cloud, image_id: str) -> None:
    """Leave no bytes behind; the order matters: once queued, another upload may begin.

    However long the database refuses to write, it is done in the end: the image could not be uploaded otherwise.
    """
    image = await cloud.db.read(lambda conn: rows.get(conn, image_id))
    if image is None or image.status == SAVING:
        await cloud.blobs.delete(image_id)
    while True:
        values = {"status": QUEUED, "updated_at": cloud.clock.now()}
        try:
            await cloud.db.write(partial(rows.change, image_id=image_id, values=values, only_in=[SAVING]))
        except Unavailable as error:
            log.warning("image %s is not queued again yet: %s", image_id, error.message)
            await asyncio.sleep(_WRITE_AGAIN)
        else:
            return


async def _inspected(chunks: AsyncIterator[bytes], inspection: Inspection, found: list[Found]) -> AsyncIterator[bytes]:
    async for chunk in chunks:
        inspection.feed(chunk)
        yield chunk
    found.append(inspection.finish())


async def downloadable(cloud: Cloud, context: Context, image_id: str) -> Image | None:
    """Return an image whose bytes the caller may read now, None if it has none yet. Raises NotFound, Forbidden."""
    image = await show(cloud, context, image_id)
    if image.status == DEACTIVATED and not context.is_admin:
        raise Forbidden(f"Image {image_id} is deactivated; its data cannot be read.")
    return image if image.status in {ACTIVE, DEACTIVATED} else None


def content(cloud: Cloud, image_id: str, start: int = 0, length: int | None = None) -> AsyncIterator[bytes]:
    """Give an image's bytes to one who may have them (`downloadable`, or a host that builds a server)."""
    return cloud.blobs.read(image_id, start, length)


async def recover(cloud: Cloud) -> list[str]:
    """At start: put uploads that a dead process left back to the queue, remove leftover bytes; return the images' ids.

    Only while no other process takes uploads on the same database.
    """
    now = cloud.clock.now()
    requeued = await cloud.db.write(lambda conn: rows.requeue_saving(conn, now))
    removed = await cloud.blobs.sweep(await cloud.db.read(rows.with_data))
    if requeued or removed:
        log.warning("uploads cut off by the last stop: %s; leftovers removed: %s", requeued, removed)
    return requeued


# -- members --------------------------------------------------------------------------------------------


async def members(cloud: Cloud, context: Context, image_id: str) -> list[ImageMember]:
    """Return whom an image is shared with: its owner sees all, a member itself. Raises Forbidden if unshared."""

    def look(conn: Connection) -> list[ImageMember]:
        image = visible(conn, context, image_id)
        demand_members(image)
        every = rows.members(conn, image_id)
        if context.is_admin or context.owns(image.owner):
            return every
        return [each for each in every if context.owns(each.project_id)]

    return await cloud.db.read(look)


async def show_member(cloud: Cloud, context: Context, image_id: str, project_id: str) -> ImageMember:
    """Return one membership, to the owner or the member. Raises NotFound."""

    def look(conn: Connection) -> ImageMember:
        image = visible(conn, context, image_id)
        found = rows.member(conn, image_id, project_id)
        allowed = context.is_admin or context.owns(image.owner) or context.owns(project_id)
        if found is None or not allowed:
            raise _no_member(image_id, project_id)
        return found

    return await cloud.db.read(look)


async def add_member(cloud: Cloud, context: Context, image_id: str, project_id: str) -> ImageMember:
    """Offer an image to a project. Raises Conflict if that was done, Forbidden for others' and unshared images."""
    now = cloud.clock.now()
    new = ImageMember(image_id=image_id, project_id=project_id, status=PENDING, created_at=now, updated_at=now)

    def apply(conn: Connection) -> ImageMember:
        demand_members(_own(conn, context, image_id))
        every = rows.members(conn, image_id)
        if any(each.project_id == project_id for each in every):
            raise Conflict(f"Project {project_id} is a member of image {image_id} already.")
        if len(every) >= MAX_MEMBERS:
            raise TooLarge(f"Image {image_id} has {len(every)} members; at most {MAX_MEMBERS} are kept.")
        rows.put_member(conn, new)
        return new

    return await cloud.db.write(apply)


async def decide_member(cloud: Cloud, context: Context, image_id: str, project_id: str, status: str) -> ImageMember:
    """Accept or reject an offer, as the project it was made to. Raises NotFound, Forbidden for its owner."""
    if status not in {PENDING, ACCEPTED, REJECTED}:
        raise Invalid(f"status must be pending, accepted or rejected (it is {status[:80]!r}).")
    now = cloud.clock.now()

    def apply(conn: Connection) -> ImageMember:
        image = visible(conn, context, image_id)
        found = rows.member(conn, image_id, project_id)
        mine = context.is_admin or context.owns(project_id)
        if found is None or not (mine or context.owns(image.owner)):
            raise _no_member(image_id, project_id)
        if not mine:
            raise Forbidden(f"Only project {project_id} itself may accept or reject image {image_id}.")
        decided = replace(found, status=status, updated_at=now)
        rows.put_member(conn, decided)
        return decided

    return await cloud.db.write(apply)


async def remove_member(cloud: Cloud, context: Context, image_id: str, project_id: str) -> None:
    """Take an offer back. Raises NotFound."""

    def apply(conn: Connection) -> None:
        demand_members(_own(conn, context, image_id))
        if not rows.delete_member(conn, image_id, project_id):
            raise _no_member(image_id, project_id)

    await cloud.db.write(apply)


def _no_member(image_id: str, project_id: str) -> NotFound:
    return NotFound("member", project_id, message=f"Project {project_id} is not a member of image {image_id}.")
