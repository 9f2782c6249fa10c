"""Whom images are shared with."""

from __future__ import annotations

from msgspec.structs import replace

from floe.cloud.cloud import Cloud
from floe.cloud.images import own, visible
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound, TooLarge
from floe.core.images import ACCEPTED, MAX_MEMBERS, PENDING, REJECTED, ImageMember, demand_members
from floe.store import images as rows
from floe.store.engine import Connection


async def find(cloud: Cloud, context: Context, image_id: str) -> list[ImageMember]:
    """Return whom an image is shared with: its owner sees all, a member itself. Raises Forbidden if unshared."""

    def look(conn: Connection) -> list[ImageMember]:
        image = visible(conn, context, image_id)
        demand_members(image)
        every = rows.members(conn, image_id)
        if context.is_admin or context.owns(image.owner):
            return every
        return [each for each in every if context.owns(each.project_id)]

    return await cloud.db.read(look)


async def show(cloud: Cloud, context: Context, image_id: str, project_id: str) -> ImageMember:
    """Return one membership, to the owner or the member. Raises NotFound."""

    def look(conn: Connection) -> ImageMember:
        image = visible(conn, context, image_id)
        found = rows.member(conn, image_id, project_id)
        allowed = context.is_admin or context.owns(image.owner) or context.owns(project_id)
        if found is None or not allowed:
            raise _no_member(image_id, project_id)
        return found

    return await cloud.db.read(look)


async def create(cloud: Cloud, context: Context, image_id: str, project_id: str) -> ImageMember:
    """Offer an image to a project. Raises Conflict if that was done, Forbidden for others' and unshared images."""
    now = cloud.clock.now()
    new = ImageMember(image_id=image_id, project_id=project_id, status=PENDING, created_at=now, updated_at=now)

    def apply(conn: Connection) -> ImageMember:
        demand_members(own(conn, context, image_id))
        every = rows.members(conn, image_id)
        if any(each.project_id == project_id for each in every):
            raise Conflict(f"Project {project_id} is a member of image {image_id} already.")
        if len(every) >= MAX_MEMBERS:
            raise TooLarge(f"Image {image_id} has {len(every)} members; at most {MAX_MEMBERS} are kept.")
        rows.put_member(conn, new)
        return new

    return await cloud.db.write(apply)


async def decide(cloud: Cloud, context: Context, image_id: str, project_id: str, status: str) -> ImageMember:
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


async def delete(cloud: Cloud, context: Context, image_id: str, project_id: str) -> None:
    """Take an offer back. Raises NotFound."""

    def apply(conn: Connection) -> None:
        demand_members(own(conn, context, image_id))
        if not rows.delete_member(conn, image_id, project_id):
            raise _no_member(image_id, project_id)

    await cloud.db.write(apply)


def _no_member(image_id: str, project_id: str) -> NotFound:
    return NotFound("member", project_id, message=f"Project {project_id} is not a member of image {image_id}.")
