"""What the cloud does with roles and implied roles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from floe.cloud import identity
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound
from floe.core.names import fold, same_name
from floe.core.roles import Implications, Role, expand
from floe.store import assignments as assignment_rows
from floe.store import roles as role_rows
from floe.store.engine import Connection

_MANAGED = frozenset({"manager", "member", "reader"})


def demand(conn: Connection, role_id: str) -> Role:
    """Return a role. Raises NotFound."""
    role = role_rows.get(conn, role_id)
    if role is None:
        raise NotFound("role", role_id)
    return role


async def find(cloud: Cloud) -> list[Role]:
    """Return all roles."""
    return await cloud.db.read(role_rows.find)


def may_list(context: Context) -> bool:
    """Say whether the caller may list roles; managers of a domain choose among them."""
    return identity.reads_all(context) or (context.domain_id is not None and "manager" in context.roles)


def is_managed(role: Role) -> bool:
    """Say whether managers of a domain may give a role."""
    return fold(role.name) in _MANAGED


async def show(cloud: Cloud, context: Context, role_id: str) -> Role:
    """Return a role. Raises NotFound, Forbidden."""
    role = await cloud.db.read(lambda conn: role_rows.get(conn, role_id))
    managed = role is not None and "manager" in context.roles and is_managed(role)
    if not (managed or identity.reads_all(context)):
        raise Forbidden("You may not look at this role: that takes the role admin, or reader on the system.")
    if role is None:
        raise NotFound("role", role_id)
    return role


async def create(cloud: Cloud, fields: Mapping[str, Any]) -> Role:
    """Make a role. Raises Conflict for a name that is taken."""
    role = Role(id=identity.new_id(cloud), **identity.merged({}, fields))

    def run(conn: Connection) -> None:
        _demand_free(conn, role)
        role_rows.insert(conn, role)

    await identity.change(cloud, run)
    return role


async def update(cloud: Cloud, role_id: str, fields: Mapping[str, Any]) -> Role:
    """Change a role's name or description."""

    def run(conn: Connection) -> Role:
        role = demand(conn, role_id)
        wanted = identity.merged(role.properties, fields)
        role = replace(role, **wanted)
        _demand_free(conn, role)
        role_rows.update(conn, role_id, wanted)
        return role

    return await identity.change(cloud, run)


async def delete(cloud: Cloud, role_id: str) -> None:
    """Remove a role, from all who have it too."""

    def run(conn: Connection) -> None:
        demand(conn, role_id)
        assignment_rows.forget_role(conn, role_id)
        role_rows.delete(conn, role_id)

    await identity.change(cloud, run)


async def implications(cloud: Cloud) -> tuple[dict[str, Role], Implications]:
    """Return all roles by id, and which imply which."""
    return await cloud.db.read(lambda conn: ({role.id: role for role in role_rows.find(conn)}, role_rows.implied(conn)))


async def imply(cloud: Cloud, prior_id: str, implied_id: str) -> tuple[Role, Role]:
    """Let one role imply another. Raises Invalid for a circle, Conflict if it is so, Forbidden for admin."""

    def run(conn: Connection) -> tuple[Role, Role]:
        prior, implied = demand(conn, prior_id), demand(conn, implied_id)
        known = role_rows.implied(conn)
        if same_name(implied.name, "admin"):
            raise Forbidden(f"No role may imply {implied.name!r}; assign it where it is needed.")
        if prior_id in expand([implied_id], known):
            raise Invalid(f"Role {implied.name!r} implies {prior.name!r} already; the reverse would be a circle.")
        if implied_id in known.get(prior_id, frozenset()):
            raise Conflict(f"Role {prior.name!r} implies {implied.name!r} already.")
        role_rows.imply(conn, prior_id, implied_id)
        return prior, implied

    return await identity.change(cloud, run)


async def stop_implying(cloud: Cloud, prior_id: str, implied_id: str) -> None:
    """Undo `imply`. Raises NotFound if it is not so."""

    def run(conn: Connection) -> None:
        demand(conn, prior_id)
        if not role_rows.stop_implying(conn, prior_id, implied_id):
            raise NotFound("role", implied_id, message=f"Role {prior_id!r} does not imply role {implied_id!r}.")

    await identity.change(cloud, run)


def _demand_free(conn: Connection, role: Role) -> None:
    known = role_rows.called(conn, role.name)
    if known is not None and known.id != role.id:
        raise Conflict(f"There is a role named {known.name!r} already.")
