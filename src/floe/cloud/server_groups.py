"""Server groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from msgspec import structs

from floe.cloud import quotas
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Forbidden, NotFound
from floe.core.listing import Listing
from floe.core.server_groups import ServerGroup, check_rules
from floe.store import server_groups as rows
from floe.store.engine import Connection


class GroupDetail(msgspec.Struct, frozen=True, kw_only=True):
    """A group and the ids of its servers."""

    group: ServerGroup
    members: tuple[str, ...] = ()


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[GroupDetail]:
    """Make groups (name, policy, max_per_host) for the caller's project. Raises Invalid, OverQuota."""
    if context.project_id is None:
        raise Forbidden("A server group belongs to a project; use a token that is scoped to one.")
    project_id, now, ids = context.project_id, cloud.clock.now(), [cloud.new_id() for _ in asked]

    def make(conn: Connection, item: Mapping[str, Any], ident: str) -> GroupDetail:
        check_rules(item["policy"], item.get("max_per_host"))
        room, user_id = quotas.room_of_user(conn, project_id, context.user_id), context.user_id
        room.demand({"server_groups": 1})
        whose = room.quota_owner
        group = ServerGroup(id=ident, project_id=project_id, user_id=user_id, created_at=now, quota_owner=whose, **item)
        rows.insert(conn, group)
        return GroupDetail(group=group)

    return await cloud.db.write(lambda conn: [make(conn, *each) for each in zip(asked, ids, strict=True)])


async def show(cloud: Cloud, context: Context, group_id: str) -> GroupDetail:
    """Return one group. Raises NotFound."""
    return await cloud.db.read(lambda conn: _with_members(conn, [_visible(conn, context, group_id)])[0])


async def find(cloud: Cloud, context: Context, listing: Listing) -> list[GroupDetail]:
    """Return the project's groups, the oldest first.

    With `everybodys` an administrator is given those of all projects, and others their own.
    """
    project_id = None if listing.also.get("everybodys") and context.is_admin else context.project_id or ""
    asked = structs.replace(listing, also={})
    return await cloud.db.read(lambda conn: _with_members(conn, rows.find(conn, project_id, asked)))


async def delete(cloud: Cloud, context: Context, group_id: str, _seen: int | None = None) -> None:
    """Delete a group, which has no revisions; its servers live on. Raises NotFound."""

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
