"""What the cloud does with groups and their members."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from floe.cloud import domains, identity, users
from floe.cloud.cloud import Cloud
from floe.core.assignments import GROUP
from floe.core.context import Context
from floe.core.errors import Conflict, NotFound
from floe.core.groups import Group
from floe.core.users import User
from floe.store import assignments as assignment_rows
from floe.store import groups as group_rows
from floe.store import users as user_rows
from floe.store.engine import Connection


def demand(conn: Connection, group_id: str) -> Group:
    """Return a group. Raises NotFound."""
    group = group_rows.get(conn, group_id)
    if group is None:
        raise NotFound("group", group_id)
    return group


async def find(cloud: Cloud, context: Context, *, domain_id: str | None = None, name: str | None = None) -> list[Group]:
    """Return the groups that fit and that the caller may list."""
    only = identity.visible_domain(context, "groups")
    found = await cloud.db.read(lambda conn: group_rows.find(conn, domain_id=domain_id, name=name))
    return [group for group in found if only in (None, group.domain_id)]


async def show(cloud: Cloud, context: Context, group_id: str) -> Group:
    """Return a group, for those who may look at it."""
    group = await cloud.db.read(lambda conn: group_rows.get(conn, group_id))
    identity.demand_read(context, group.domain_id if group else None, "this group")
    if group is None:
        raise NotFound("group", group_id)
    return group


async def create(cloud: Cloud, context: Context, fields: Mapping[str, Any]) -> Group:
    """Make a group; `fields` holds at least `domain_id` and `name`. Raises Conflict for a name that is taken."""
    identity.demand_manage(context, "groups", fields["domain_id"])
    group = Group(id=identity.new_id(cloud), **identity.merged({}, fields))

    def run(conn: Connection) -> None:
        domains.demand(conn, group.domain_id)
        _demand_free(conn, group)
        group_rows.insert(conn, group)

    await identity.change(cloud, run)
    return group


async def update(cloud: Cloud, context: Context, group_id: str, fields: Mapping[str, Any]) -> Group:
    """Change a group's name or description."""

    await _demand_manage(cloud, context, group_id)

    def run(conn: Connection) -> Group:
        group = demand(conn, group_id)
        wanted = identity.merged(group.properties, identity.keeping_domain(group.domain_id, fields))
        group = replace(group, **wanted)
        _demand_free(conn, group)
        group_rows.update(conn, group_id, wanted)
        return group

    return await identity.change(cloud, run)


async def delete(cloud: Cloud, context: Context, group_id: str) -> None:
    """Remove a group; its members lose what they had through it."""

    await _demand_manage(cloud, context, group_id)

    def run(conn: Connection) -> None:
        demand(conn, group_id)
        assignment_rows.forget_actor(conn, GROUP, [group_id])
        group_rows.delete(conn, group_id)

    await identity.change(cloud, run)


async def members(cloud: Cloud, context: Context, group_id: str) -> list[User]:
    """Return the users in a group."""
    await show(cloud, context, group_id)
    return await cloud.db.read(lambda conn: user_rows.find(conn, in_group=group_id))


async def demand_member(cloud: Cloud, context: Context, group_id: str, user_id: str) -> None:
    """Raise NotFound unless the user is in the group."""
    of_group, of_user = await _domains(cloud, group_id, user_id)
    identity.demand_read(context, of_group if of_group == of_user else None, "this group")
    await cloud.db.read(lambda conn: (demand(conn, group_id), users.demand(conn, user_id)))
    if user_id not in await cloud.db.read(lambda conn: group_rows.members(conn, group_id)):
        raise NotFound("user", user_id, message=f"User {user_id!r} is not in group {group_id!r}.")


async def join(cloud: Cloud, context: Context, group_id: str, user_id: str) -> None:
    """Put a user into a group; not an error if it is in it."""
    identity.demand_manage(context, "who is in this group", *await _domains(cloud, group_id, user_id))

    def run(conn: Connection) -> None:
        demand(conn, group_id)
        users.demand(conn, user_id)
        group_rows.join(conn, group_id, user_id)

    await identity.change(cloud, run)


async def leave(cloud: Cloud, context: Context, group_id: str, user_id: str) -> None:
    """Take a user out of a group. Raises NotFound if it is not in it."""
    identity.demand_manage(context, "who is in this group", *await _domains(cloud, group_id, user_id))

    def run(conn: Connection) -> None:
        demand(conn, group_id)
        if not group_rows.leave(conn, group_id, user_id):
            raise NotFound("user", user_id, message=f"User {user_id!r} is not in group {group_id!r}.")

    await identity.change(cloud, run)


async def _domains(cloud: Cloud, group_id: str, user_id: str) -> tuple[str | None, str | None]:
    """Return the domains of a group and a user, None for that of one that is not there."""
    group, user = await cloud.db.read(lambda conn: (group_rows.get(conn, group_id), user_rows.get(conn, user_id)))
    return group.domain_id if group else None, user.domain_id if user else None


async def _demand_manage(cloud: Cloud, context: Context, group_id: str) -> None:
    group = await cloud.db.read(lambda conn: group_rows.get(conn, group_id))
    identity.demand_manage(context, "this group", group.domain_id if group else None)


def _demand_free(conn: Connection, group: Group) -> None:
    known = group_rows.called(conn, group.name, domain_id=group.domain_id)
    if known is not None and known.id != group.id:
        raise Conflict(f"There is a group named {known.name!r} in this domain already.")
