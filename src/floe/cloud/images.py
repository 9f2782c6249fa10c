"""Images: create, find, change, delete. Their bytes are `image_data`'s, whom they are shared with `image_members`'."""

from __future__ import annotations

import logging
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from msgspec import structs

from floe.cloud import image_quotas
from floe.cloud.cloud import Cloud
from floe.cloud.own_actions import Begun, OwnActions
from floe.core.actions import DELETE_IMAGE, IMAGE, Begins
from floe.core.context import Context
from floe.core.errors import Conflict, FloeError, Forbidden, Invalid, NotFound, TooLarge, Unavailable
from floe.core.given import BlobGiven
from floe.core.ids import is_uuid
from floe.core.image_quotas import ImageUsage
from floe.core.images import (
    ACTIVE,
    DEACTIVATED,
    MAX_TAGS,
    QUEUED,
    REMOVING,
    SAVING,
    SHARED,
    Image,
    ImageBlob,
    NewImage,
    demand_bootable,
    demand_change,
    demand_edit,
    demand_limits,
    demand_owner,
    guest_image,
    may_see,
)
from floe.store import actions, image_usage
from floe.store import image_blobs as blobs
from floe.store import images as rows
from floe.store.engine import Connection
from floe.store.images import Wanted

log = logging.getLogger(__name__)

__all__ = ["Wanted", "bootable", "guest_image", "visible"]

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


def own(conn: Connection, context: Context, image_id: str) -> Image:
    """Return an image that the caller may change. Raises NotFound, Forbidden."""
    image = visible(conn, context, image_id)
    demand_change(context, image)
    return image


def own_actions(cloud: Cloud) -> OwnActions:
    """Return who does what this process begins with bytes of images. Raises Unavailable where nobody does."""
    if cloud.image_actions is None:
        raise Unavailable("This process keeps no bytes of images; ask one of the role api.")
    return cloud.image_actions


def begin(
    conn: Connection,
    performs: OwnActions,
    begins: Begins,
    given: BlobGiven,
    context: Context,
    image: Image,
    action_id: str,
    now: datetime,
) -> Begun:
    """Insert an action of an image that this process does itself, for others' use inside their transactions."""
    return performs.begin(
        conn,
        begins,
        given,
        ident=action_id,
        subject_id=image.id,
        project_id=context.project_id or image.owner or "",
        user_id=context.user_id,
        request_id=context.request_id,
        step="bytes",
        now=now,
    )


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
        image_quotas.take_image(conn, owner)
        rows.insert(conn, image)

    await cloud.db.write(keep)
    return image


async def show(cloud: Cloud, context: Context, image_id: str) -> Image:
    """Return one image. Raises NotFound."""
    return await cloud.db.read(lambda conn: visible(conn, context, image_id))


async def find(cloud: Cloud, context: Context, wanted: Wanted, marker: str | None = None) -> tuple[list[Image], bool]:
    """Return a page of images, and whether more would follow but for its size in bytes.

    `marker` is the id of the last one of the page before. Raises Invalid for it.
    """
    bounded = structs.replace(wanted, project_id=context.project_id, everything=context.is_admin)

    def look(conn: Connection) -> tuple[list[Image], bool]:
        if marker is None:
            return rows.find(conn, bounded)
        try:
            return rows.find(conn, structs.replace(bounded, after=visible(conn, context, marker)))
        except NotFound as error:
            raise Invalid(f"marker {marker!r} is the id of no image that you can see.") from error

    return await cloud.db.read(look)


async def update(cloud: Cloud, context: Context, image_id: str, edit: Callable[[Image], Image]) -> Image:
    """Change an image with a function from the old one to the new one; it must be pure and may raise."""
    now = cloud.clock.now()

    def apply(conn: Connection) -> Image:
        old = own(conn, context, image_id)
        edited = edit(old)
        new = structs.replace(edited, updated_at=now, tags=tuple(sorted(set(edited.tags))))
        if new.owner != old.owner:
            demand_owner(context, new.owner)
            _hand_over(conn, old, new.owner)
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
    performs, action_id, now = own_actions(cloud), cloud.new_id(), cloud.clock.now()

    def drop(conn: Connection) -> Begun | None:
        image = own(conn, context, image_id)
        if image.protected:
            raise Forbidden(f"Image {image_id} is protected and cannot be deleted; set protected to false first.")
        blob_id = let_go(conn, image, now)
        image_usage.add(conn, image.owner, ImageUsage(images=-1, bytes=-size_of(image)))
        rows.delete(conn, image_id, now)
        if blob_id is None:
            return None
        return begin(conn, performs, DELETE_IMAGE, BlobGiven(blob=blob_id), context, image, action_id, now)

    begun = await cloud.db.write(drop)
    if begun is not None:
        try:
            await performs.perform(begun)
        except FloeError as error:
            log.warning("bytes of the deleted image %s are removed later: %s", image_id, error.message)


def let_go(conn: Connection, image: Image, now: datetime) -> str | None:
    """Say that the bytes of an image that is deleted in this transaction are to be removed; return their blob.

    Who uploads them is fenced off, and what the upload took is given back.
    """
    if image.status == QUEUED:
        return None
    actions.cancel_open(conn, image.id, now, but=DELETE_IMAGE.kind, subject=IMAGE)
    blob = blobs.written_for(conn, image.id) if image.status == SAVING else None
    if blob is not None:
        blobs.to_remove(conn, blob.id, now)
        image_usage.add(conn, blob.project_id, ImageUsage(uploads=-1, staged=-blob.reserved))
        return blob.id
    blobs.insert(conn, ImageBlob(id=image.blob, image_id=image.id, project_id=None, state=REMOVING, since=now))
    return image.blob


def _hand_over(conn: Connection, image: Image, owner: str | None) -> None:
    """Count an image for its new owner, whatever the quota: an administrator gives it."""
    used = ImageUsage(images=1, bytes=size_of(image))
    image_usage.add(conn, image.owner, -used)
    image_usage.add(conn, owner, used)


def size_of(image: Image) -> int:
    """Return how many bytes of an image are held against its owner's quota."""
    return (image.size or 0) if image.status in {ACTIVE, DEACTIVATED} else 0


async def set_active(cloud: Cloud, context: Context, image_id: str, active: bool) -> None:
    """Let an image's bytes be used, or forbid it for all but administrators. Raises Forbidden unless it has some."""
    now = cloud.clock.now()
    status = ACTIVE if active else DEACTIVATED

    def apply(conn: Connection) -> None:
        image = own(conn, context, image_id)
        if not rows.change(conn, image_id, {"status": status, "updated_at": now}, only_in=(ACTIVE, DEACTIVATED)):
            raise Forbidden(f"Image {image_id} is {image.status}; only one that has its data can become {status}.")

    await cloud.db.write(apply)


async def set_tag(cloud: Cloud, context: Context, image_id: str, tag: str, present: bool) -> None:
    """Add or remove one tag. Raises NotFound for one to be removed that is not there, TooLarge for one too many."""

    def edit(image: Image) -> Image:
        if present:
            if len({*image.tags, tag}) > MAX_TAGS:
                raise TooLarge(f"Image {image_id} has {len(image.tags)} tags; at most {MAX_TAGS} are kept.")
            return structs.replace(image, tags=(*image.tags, tag))
        if tag not in image.tags:
            raise NotFound("tag", tag, message=f"Image {image_id} has no tag {tag!r}.")
        return structs.replace(image, tags=tuple(each for each in image.tags if each != tag))

    await update(cloud, context, image_id, edit)
