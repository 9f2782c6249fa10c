"""Groups and who is in them."""

from __future__ import annotations

from typing import Any

from floe.api.identity.filters import Filters, called, expiry, flag, ident
from floe.api.identity.replies import Ident, ShortName, Text, with_link, with_properties
from floe.api.identity.users import shown as shown_user
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, authenticated
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.cloud import groups, identity, users
from floe.core.groups import Group

SHAPE: Shape[Group] = Shape(
    [
        Shown("id", lambda group: group.id),
        Shown("name", lambda group: group.name),
        Shown("domain_id", lambda group: group.domain_id),
        Shown("description", lambda group: group.description),
    ]
)
_CREATE = Body(
    "group",
    [Field("name", ShortName, required=True), Field("domain_id", Ident), Field("description", Text)],
    strict=False,
)
_UPDATE = Body("group", [Field("domain_id", Ident), Field("name", ShortName), Field("description", Text)], strict=False)
_FILTERS = Filters(ident("domain_id"), called(255), sorts=True)
_MEMBERS = Filters(ident("domain_id"), flag("enabled"), called(255), expiry("password_expires_at"))
_OF_USER = Filters(called(255))


def shown(call: Call, group: Group) -> dict[str, Any]:
    """Return a group as it is on the wire."""
    return with_link(call, f"/v3/groups/{group.id}", {**group.properties, **SHAPE.show(group)})


async def index(call: Call) -> Reply:
    """List groups by domain and name."""
    found = await groups.find(call.cloud, call.context, domain_id=call.one("domain_id"), name=call.one("name"))
    return await _FILTERS.listed(call, "groups", "/v3/groups", (shown(call, group) for group in found))


async def show(call: Call) -> Reply:
    """Show a group."""
    return Reply(200, {"group": shown(call, await groups.show(call.cloud, call.context, call.params["group_id"]))})


async def create(call: Call) -> Reply:
    """Make a group."""
    fields = await with_properties(call, _CREATE, "domain_id")
    fields["domain_id"] = fields.get("domain_id") or identity.own_domain(call.context)
    return Reply(201, {"group": shown(call, await groups.create(call.cloud, call.context, fields))})


async def update(call: Call) -> Reply:
    """Change a group."""
    fields = await with_properties(call, _UPDATE, own_id=call.params["group_id"])
    return Reply(
        200, {"group": shown(call, await groups.update(call.cloud, call.context, call.params["group_id"], fields))}
    )


async def delete(call: Call) -> Reply:
    """Remove a group."""
    await groups.delete(call.cloud, call.context, call.params["group_id"])
    return Reply(204)


async def list_members(call: Call) -> Reply:
    """List the users in a group."""
    group_id = call.params["group_id"]
    found = await groups.members(call.cloud, call.context, group_id)
    path = f"/v3/groups/{group_id}/users"
    return await _MEMBERS.listed(call, "users", path, (shown_user(call, user) for user in found))


async def check_member(call: Call) -> Reply:
    """Say whether a user is in a group."""
    await groups.demand_member(call.cloud, call.context, call.params["group_id"], call.params["user_id"])
    return Reply(204)


async def join(call: Call) -> Reply:
    """Put a user into a group."""
    await groups.join(call.cloud, call.context, call.params["group_id"], call.params["user_id"])
    return Reply(204)


async def leave(call: Call) -> Reply:
    """Take a user out of a group."""
    await groups.leave(call.cloud, call.context, call.params["group_id"], call.params["user_id"])
    return Reply(204)


async def list_of_user(call: Call) -> Reply:
    """List the groups a user is in."""
    user_id = call.params["user_id"]
    found = await users.groups(call.cloud, call.context, user_id)
    path = f"/v3/users/{user_id}/groups"
    return await _OF_USER.listed(call, "groups", path, (shown(call, group) for group in found))


_ONE = "/v3/groups/{group_id}"
_MEMBER = "/v3/groups/{group_id}/users/{user_id}"
ROUTES = (
    Route("GET", "/v3/groups", index, "identity:list_groups"),
    Route("POST", "/v3/groups", create, "identity:create_group"),
    Route("GET", _ONE, show, "identity:get_group"),
    Route("PATCH", _ONE, update, "identity:update_group"),
    Route("DELETE", _ONE, delete, "identity:delete_group"),
    Route("GET", "/v3/groups/{group_id}/users", list_members, "identity:list_users_in_group"),
    Route("GET", "/v3/users/{user_id}/groups", list_of_user, "identity:list_groups_for_user"),
    Route("GET", _MEMBER, check_member, "identity:check_user_in_group"),
    Route("PUT", _MEMBER, join, "identity:add_user_to_group"),
    Route("DELETE", _MEMBER, leave, "identity:remove_user_from_group"),
)
POLICIES: Policies = {
    "identity:list_groups": authenticated,
    "identity:get_group": authenticated,
    "identity:create_group": identity.manages,
    "identity:update_group": identity.manages,
    "identity:delete_group": identity.manages,
    "identity:list_users_in_group": authenticated,
    "identity:list_groups_for_user": authenticated,
    "identity:check_user_in_group": authenticated,
    "identity:add_user_to_group": identity.manages,
    "identity:remove_user_from_group": identity.manages,
}
