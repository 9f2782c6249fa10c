"""Server groups: create, find, delete."""

from __future__ import annotations

from dataclasses import dataclass

from floe.cloud import quotas
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Forbidden, NotFound
from floe.core.server_groups import ServerGroup
from floe.store import server_groups as rows
from floe.store.engine import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupDetail:
    """A group and the ids of its servers."""

    group: ServerGroup
    members: tuple[str, ...] = ()


async def create(cloud: Cloud, context: Context, name: str, policy: str, max_per_host: int | None) -> GroupDetail:
    """Make a group for the caller's project. Raises OverQuota."""
    if context.project_id is None:
        raise Forbidden("A server group belongs to a project; use a token that is scoped to one.")
    group = ServerGroup(
        id=cloud.new_id(),
        project_id=context.project_id,
        user_id=context.user_id,
        name=name,
        policy=policy,
        max_per_host=max_per_host,
        created_at=cloud.clock.now(),
    )

    def make(conn: Connection) -> None:
        quotas.demand(conn, group.project_id, {"server_groups": 1})
        rows.add(conn, group)

    await cloud.db.write(make)
    return GroupDetail(group=group)


async def get(cloud: Cloud, context: Context, group_id: str) -> GroupDetail:
    """Return one group. Raises NotFound."""
    return await cloud.db.read(lambda conn: _with_members(conn, [_visible(conn, context, group_id)])[0])


async def listed(cloud: Cloud, context: Context, *, everybodys: bool, limit: int, offset: int) -> list[GroupDetail]:
    """Return the project's groups, or with `everybodys` those of all projects, the oldest first."""
    project_id = None if everybodys and context.is_admin else context.project_id or ""
    return await cloud.db.read(
        lambda conn: _with_members(conn, rows.listed(conn, project_id, limit=limit, offset=offset))
    )


async def delete(cloud: Cloud, context: Context, group_id: str) -> None:
    """Delete a group; its servers live on. Raises NotFound."""

    def drop(conn: Connection) -> None:
        _visible(conn, context, group_id)
        rows.delete(conn, group_id)

    await cloud.db.write(drop)


def _visible(conn: Connection, context: Context, group_id: str) -> ServerGroup:
    group = rows.get(conn, group_id)
    if group is None or not (context.is_admin or context.owns(group.project_id)):
        raise NotFound("server group", group_id, message=f"Server group {group_id} could not be found.")
    return group


def _with_members(conn: Connection, groups: list[ServerGroup]) -> list[GroupDetail]:
    members = rows.members(conn, [group.id for group in groups])
    return [GroupDetail(group=group, members=tuple(members[group.id])) for group in groups]
