"""Groups and who is in them."""

from __future__ import annotations

from floe.api.identity.dialect import Keystone, each, shown, unseen
from floe.api.identity.filters import Filters, called, expiry, flag, ident
from floe.api.identity.replies import Ident, ShortName, Text
from floe.api.identity.users import USER
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, authenticated
from floe.api.kit.resource import Fields, Resource, Use, Wire
from floe.api.kit.routing import Route
from floe.cloud import groups, identity, users
from floe.core.groups import Group

_MEMBERS = Filters(ident("domain_id"), flag("enabled"), called(255), expiry("password_expires_at"))
_OF_USER = Filters(called(255))


GROUP: Resource[Group] = Resource(
    name="group",
    plural="groups",
    dialect=Keystone(
        filters=Filters(ident("domain_id"), called(255), sorts=True), nullable=("domain_id",), writes=identity.manages
    ),
    fields=Fields(
        Wire("id"),
        Wire("name", use=Use.WRITE, type=ShortName, required=True),
        Wire("domain_id", use=Use.WRITE, type=Ident),
        Wire("description", use=Use.WRITE, type=Text),
    ),
    create=each(groups.create),
    find=groups.find,
    show=groups.show,
    update=unseen(groups.update),
    delete=unseen(groups.delete),
)


async def list_members(call: Call) -> Reply:
    """List the users in a group."""
    group_id = call.params["group_id"]
    found = await groups.members(call.cloud, call.context, group_id)
    path = f"/v3/groups/{group_id}/users"
    return await _MEMBERS.listed(call, "users", path, (shown(USER, call, user) for user in found))


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
    return await _OF_USER.listed(call, "groups", path, (shown(GROUP, call, group) for group in found))


_MEMBER = "/v3/groups/{group_id}/users/{user_id}"
ROUTES = (
    *GROUP.routes,
    Route("GET", "/v3/groups/{group_id}/users", list_members, "identity:list_users_in_group"),
    Route("GET", "/v3/users/{user_id}/groups", list_of_user, "identity:list_groups_for_user"),
    Route("GET", _MEMBER, check_member, "identity:check_user_in_group"),
    Route("PUT", _MEMBER, join, "identity:add_user_to_group"),
    Route("DELETE", _MEMBER, leave, "identity:remove_user_from_group"),
)
POLICIES: Policies = {
    **GROUP.policies,
    "identity:list_users_in_group": authenticated,
    "identity:list_groups_for_user": authenticated,
    "identity:check_user_in_group": authenticated,
    "identity:add_user_to_group": identity.manages,
    "identity:remove_user_from_group": identity.manages,
}
