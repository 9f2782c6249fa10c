"""What the cloud does with users."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from floe.cloud import attempts, departures, domains, identity, passwords
from floe.cloud.cloud import Cloud
from floe.cloud.identity_room import Kept
from floe.core.assignments import DOMAIN, PROJECT, SYSTEM, USER
from floe.core.context import Context
from floe.core.domains import Domain
from floe.core.errors import Invalid, NotFound, Unauthenticated
from floe.core.groups import Group
from floe.core.listing import Listing
from floe.core.names import same_name
from floe.core.projects import Project
from floe.core.tokens import Named
from floe.core.users import User, check_password
from floe.store import assignments as assignment_rows
from floe.store import domains as domain_rows
from floe.store import groups as group_rows
from floe.store import projects as project_rows
from floe.store import users as user_rows
from floe.store.engine import Connection


def _check(conn: Connection, user: User) -> None:
    domains.DOMAINS.demand(conn, user.domain_id)
    if user.default_project_id and domain_rows.get(conn, user.default_project_id) is not None:
        raise Invalid(f"default_project_id: {user.default_project_id!r} is a domain, not a project.")
    USERS.demand_free(conn, user, " in this domain", domain_id=user.domain_id)


USERS = Kept("user", user_rows.ROWS, User, _check)


async def find(cloud: Cloud, context: Context, listing: Listing) -> list[User]:
    """Return the users that fit and that the caller may list.

    Who may list none finds itself by its name, so that clients can look it up.
    """
    domain_id, name = listing.also["domain_id"], listing.also["name"]
    if not identity.lists(context) and context.user_id and name is not None and same_name(name, context.user_name):
        own = await show(cloud, context, context.user_id)
        return [own] if domain_id in (None, own.domain_id) else []
    only = identity.visible_domain(context, "users")
    found = await cloud.db.read(lambda conn: user_rows.find(conn, domain_id=domain_id, name=name))
    return [user for user in found if only in (None, user.domain_id)]


async def show(cloud: Cloud, context: Context, user_id: str) -> User:
    """Return a user: any for those who may look at it, and for everybody oneself."""
    user = await USERS.get(cloud, user_id)
    domain_id = user.domain_id if user else None
    identity.demand_read(context, domain_id, "this user", own=context.user_id == user_id)
    if user is None:
        raise NotFound("user", user_id)
    return user


async def create(cloud: Cloud, context: Context, fields: Mapping[str, Any]) -> User:
    """Make a user; `fields` holds at least `name`. Raises Conflict for a name that is taken."""
    domain_id = fields.get("domain_id") or identity.own_domain(context)
    identity.demand_manage(context, "users", domain_id)
    return await USERS.create(cloud, context, {**await _with_hash(cloud, context, fields), "domain_id": domain_id})


async def update(cloud: Cloud, context: Context, user_id: str, fields: Mapping[str, Any]) -> User:
    """Change a user; when it is disabled, or its password changes, its tokens are dead."""
    await _demand_manage(cloud, context, user_id)
    return await _update(cloud, context, user_id, fields)


async def _update(cloud: Cloud, context: Context, user_id: str, fields: Mapping[str, Any]) -> User:
    def stamped(user: User, wanted: Mapping[str, Any]) -> Mapping[str, Any]:
        out = "password_hash" in wanted or (user.enabled and not wanted.get("enabled", True))
        return {"stamp": user.stamp + 1} if out else {}

    return await USERS.update(cloud, context, user_id, await _with_hash(cloud, context, fields), stamped)


async def change_password(
    cloud: Cloud, context: Context, user_id: str, original: str, password: str, address: str
) -> None:
    """Let a user set a new password who knows the old one. Raises Unauthenticated for who does not.

    `address` is where it comes from. Raises Busy when too many wrong ones came from there.
    """
    check_password(password)
    claim = attempts.claim_of_user(Named(id=user_id), address)
    user = await USERS.get(cloud, user_id)
    right = await passwords.matches(cloud, user.password_hash if user else None, original, claim)
    if not right or user is None or not user.enabled:
        raise Unauthenticated("The password was not changed: the user or the original password is not right.")
    attempts.succeed(cloud, claim)
    await _update(cloud, replace(context, user_id=user_id), user_id, {"password": password})


async def delete(cloud: Cloud, context: Context, user_id: str) -> None:
    """Remove a user with its role assignments, memberships, application credentials and key pairs."""
    await _demand_manage(cloud, context, user_id)

    def forget(conn: Connection, user: User) -> None:
        assignment_rows.forget_actor(conn, USER, [user.id])
        departures.user(conn, user.id)

    await USERS.delete(cloud, context, user_id, forget)


async def groups(cloud: Cloud, context: Context, user_id: str) -> list[Group]:
    """Return the groups a user is in."""
    await show(cloud, context, user_id)
    return await cloud.db.read(lambda conn: group_rows.find(conn, of_user=user_id))


async def projects(cloud: Cloud, context: Context, user_id: str) -> list[Project]:
    """Return the projects a user has a role on, also through groups."""
    await show(cloud, context, user_id)

    def run(conn: Connection) -> list[Project]:
        given = assignment_rows.of_user(conn, user_id)
        return project_rows.each(conn, {item.target_id for item in given if item.target_kind == PROJECT})

    return await cloud.db.read(run)


async def domains_with_a_role(cloud: Cloud, context: Context) -> list[Domain]:
    """Return the domains the caller has a role on, also through groups."""

    def run(conn: Connection) -> list[Domain]:
        given = assignment_rows.of_user(conn, context.user_id)
        ids = {item.target_id for item in given if item.target_kind == DOMAIN}
        return [domain for domain in domain_rows.find(conn) if domain.id in ids]

    return await cloud.db.read(run)


async def has_a_role_on_the_system(cloud: Cloud, context: Context) -> bool:
    """Say whether the caller has a role on the system, also through groups."""
    given = await cloud.db.read(lambda conn: assignment_rows.of_user(conn, context.user_id))
    return any(item.target_kind == SYSTEM for item in given)


async def _demand_manage(cloud: Cloud, context: Context, user_id: str) -> None:
    user = await USERS.get(cloud, user_id)
    identity.demand_manage(context, "this user", user.domain_id if user else None)


async def _with_hash(cloud: Cloud, context: Context, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return fields with the hash of a password in the place of that; one that is None says nothing."""
    found = dict(fields)
    password = found.pop("password", None)
    if password is not None:
        check_password(password)
        found["password_hash"] = await passwords.hashed(cloud, context, password)
        found["password_changed_at"] = cloud.clock.now()
    return found
