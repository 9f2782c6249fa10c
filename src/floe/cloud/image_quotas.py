"""Image quotas of projects: what is allowed, what is used, and that the one never exceeds the other."""

from __future__ import annotations

from collections.abc import Mapping

from floe.cloud import projects, quotas
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Forbidden
from floe.core.image_quotas import ImageUsage, demand_image, demand_upload, room, shown
from floe.core.quotas import IMAGE
from floe.store import image_usage
from floe.store import quotas as rows
from floe.store.engine import Connection

# -- for others, in their transactions ------------------------------------------------------------------


def limits(conn: Connection, project_id: str) -> dict[str, int]:
    """Return the limits of a project."""
    found = {**IMAGE, **rows.layers(conn, quotas.DEFAULT_CLASS, project_id)}
    return {name: found[name] for name in IMAGE}


def take_image(conn: Connection, owner: str | None) -> None:
    """Count one more image. Raises TooLarge for one too many."""
    if owner is not None:
        demand_image(limits(conn, owner), image_usage.get(conn, owner))
        image_usage.add(conn, owner, ImageUsage(images=1))


def take_upload(conn: Connection, owner: str | None, announced: int) -> None:
    """Count one more upload, of so many bytes. Raises TooLarge."""
    if owner is not None:
        known, usage = limits(conn, owner), image_usage.get(conn, owner)
        demand_upload(known, usage)
        room(known, usage, announced, announced)
        image_usage.add(conn, owner, ImageUsage(uploads=1, staged=announced))


def take_bytes(conn: Connection, owner: str | None, needed: int, wanted: int) -> int:
    """Take room for more bytes of an upload, `needed` of them at least; return for how many. Raises TooLarge."""
    if owner is None:
        return wanted
    granted = room(limits(conn, owner), image_usage.get(conn, owner), needed, wanted)
    image_usage.add(conn, owner, ImageUsage(staged=granted))
    return granted


# -- what they are --------------------------------------------------------------------------------------


async def usage(cloud: Cloud, context: Context) -> Mapping[str, tuple[int, int]]:
    """Return (limit, used) of each resource, of the caller's project."""
    project_id = context.project_id
    if project_id is None:
        raise Forbidden("Usage is that of a project: ask with a token for one.")

    def look(conn: Connection) -> dict[str, tuple[int, int]]:
        known, used = limits(conn, project_id), shown(image_usage.get(conn, project_id))
        return {name: (known[name], used[name]) for name in IMAGE}

    return await cloud.db.read(look)


async def defaults(cloud: Cloud) -> dict[str, int]:
    """Return the limits of a project for which nothing was set."""
    return await cloud.db.read(lambda conn: limits(conn, quotas.DEFAULT_CLASS))


async def change_defaults(cloud: Cloud, new: Mapping[str, int]) -> dict[str, int]:
    """Set limits of every project that has none of its own; those not named stay."""
    return await _put(cloud, quotas.DEFAULT_CLASS, new)


async def show(cloud: Cloud, project_id: str) -> dict[str, int]:
    """Return the limits of a project. Raises NotFound."""
    return await cloud.db.read(lambda conn: limits(conn, projects.PROJECTS.demand(conn, project_id).id))


async def change(cloud: Cloud, project_id: str, new: Mapping[str, int]) -> dict[str, int]:
    """Set limits of a project; what it has already may be more, and stays. Raises NotFound."""
    await show(cloud, project_id)
    return await _put(cloud, project_id, new)


async def reset(cloud: Cloud, project_id: str) -> None:
    """Let a project have the default limits again. Raises NotFound."""
    await show(cloud, project_id)
    await cloud.db.write(lambda conn: rows.delete(conn, project_id, frozenset(IMAGE)))


async def _put(cloud: Cloud, owner: str, new: Mapping[str, int]) -> dict[str, int]:
    now = cloud.clock.now()

    def apply(conn: Connection) -> dict[str, int]:
        rows.put(conn, owner, new, now)
        return limits(conn, owner)

    return await cloud.db.write(apply)
