"""What the cloud does with groups and their members."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from floe.cloud import domains, identity, users
from floe.cloud.cloud import Cloud
from floe.cloud.identity_room import Kept
from floe.core.assignments import GROUP
from floe.core.context import Context
from floe.core.errors import NotFound
from floe.core.groups import Group
from floe.core.listing import Listing
from floe.core.users import User
from floe.store import assignments as assignment_rows
from floe.store import groups as group_rows
from floe.store import users as user_rows
from floe.store.engine import Connection


def _check(conn: Connection, group: Group) -> None:
    domains.DOMAINS.demand(conn, group.domain_id)
    GROUPS.demand_free(conn, group, " in this domain", domain_id=group.domain_id)


GROUPS = Kept("group", group_rows.ROWS, Group, _check)


async def find(cloud: Cloud, context: Context, listing: Listing) -> list[Group]:
    """Return the groups that fit and that the caller may list."""
    only = identity.visible_domain(context, "groups")
    found = await cloud.db.read(
        lambda conn: group_rows.find(conn, domain_id=listing.also["domain_id"], name=listing.also["name"])
    )
    return [group for group in found if only in (None, group.domain_id)]


async def show(cloud: Cloud, context: Context, group_id: str) -> Group:
    """Return a group, for those who may look at it."""
    group = await GROUPS.get(cloud, group_id)
    identity.demand_read(context, group.domain_id if group else None, "this group")
    if group is None:
        raise NotFound("group", group_id)
    return group


async def create(cloud: Cloud, context: Context, fields: Mapping[str, Any]) -> Group:
    """Make a group; `fields` holds at least `name`. Raises Conflict for a name that is taken."""
    domain_id = fields.get("domain_id") or identity.own_domain(context)
    identity.demand_manage(context, "groups", domain_id)
    return await GROUPS.create(cloud, context, {**fields, "domain_id": domain_id})


async def update(cloud: Cloud, context: Context, group_id: str, fields: Mapping[str, Any]) -> Group:
    """Change a group's name or description."""
    await _demand_manage(cloud, context, group_id)
    return await GROUPS.update(cloud, context, group_id, fields)


async def delete(cloud: Cloud, context: Context, group_id: str) -> None:
    """Remove a group; its members lose what they had through it."""
    await _demand_manage(cloud, context, group_id)

    def forget(conn: Connection, group: Group) -> None:
        assignment_rows.forget_actor(conn, GROUP, [group.id])
        group_rows.empty(conn, group.id)

    await GROUPS.delete(cloud, context, group_id, forget)


async def members(cloud: Cloud, context: Context, group_id: str) -> list[User]:
    """Return the users in a group."""
    await show(cloud, context, group_id)
    return await cloud.db.read(lambda conn: user_rows.find(conn, in_group=group_id))


async def demand_member(cloud: Cloud, context: Context, group_id: str, user_id: str) -> None:
    """Raise NotFound unless the user is in the group."""
    of_group, of_user = await _domains(cloud, group_id, user_id)
    identity.demand_read(context, of_group if of_group == of_user else None, "this group")
    await cloud.db.read(lambda conn: (GROUPS.demand(conn, group_id), users.USERS.demand(conn, user_id)))
    if user_id not in await cloud.db.read(lambda conn: group_rows.members(conn, group_id)):
        raise NotFound("user", user_id, message=f"User {user_id!r} is not in group {group_id!r}.")


async def join(cloud: Cloud, context: Context, group_id: str, user_id: str) -> None:
    """Put a user into a group; not an error if it is in it."""
    identity.demand_manage(context, "who is in this group", *await _domains(cloud, group_id, user_id))

    def run(conn: Connection) -> None:
        GROUPS.demand(conn, group_id)
        users.USERS.demand(conn, user_id)
        group_rows.join(conn, group_id, user_id)

    await identity.change(cloud, run)


async def leave(cloud: Cloud, context: Context, group_id: str, user_id: str) -> None:
    """Take a user out of a group. Raises NotFound if it is not in it."""
    identity.demand_manage(context, "who is in this group", *await _domains(cloud, group_id, user_id))

    def run(conn: Connection) -> None:
        GROUPS.demand(conn, group_id)
        if not group_rows.leave(conn, group_id, user_id):
            raise NotFound("user", user_id, message=f"User {user_id!r} is not in group {group_id!r}.")

    await identity.change(cloud, run)


async def _domains(cloud: Cloud, group_id: str, user_id: str) -> tuple[str | None, str | None]:
    """Return the domains of a group and a user, None for that of one that is not there."""
    group, user = await cloud.db.read(lambda conn: (group_rows.get(conn, group_id), user_rows.get(conn, user_id)))
    return group.domain_id if group else None, user.domain_id if user else None


async def _demand_manage(cloud: Cloud, context: Context, group_id: str) -> None:
    group = await GROUPS.get(cloud, group_id)
    identity.demand_manage(context, "this group", group.domain_id if group else None)
