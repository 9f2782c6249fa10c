"""What the cloud does with roles and implied roles."""

from __future__ import annotations

from floe.cloud import identity
from floe.cloud.cloud import Cloud
from floe.cloud.identity_room import Kept
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound
from floe.core.names import fold, same_name
from floe.core.roles import Implications, Role, expand
from floe.store import assignments as assignment_rows
from floe.store import roles as role_rows
from floe.store.engine import Connection

_MANAGED = frozenset({"manager", "member", "reader"})


def _check(conn: Connection, role: Role) -> None:
    ROLES.demand_free(conn, role)


ROLES = Kept("role", role_rows.ROWS, Role, _check)


def may_list(context: Context) -> bool:
    """Say whether the caller may list roles; managers of a domain choose among them."""
    return identity.reads_all(context) or (context.domain_id is not None and "manager" in context.roles)


def is_managed(role: Role) -> bool:
    """Say whether managers of a domain may give a role."""
    return fold(role.name) in _MANAGED


async def show(cloud: Cloud, context: Context, role_id: str) -> Role:
    """Return a role. Raises NotFound, Forbidden."""
    role = await ROLES.get(cloud, role_id)
    managed = role is not None and "manager" in context.roles and is_managed(role)
    if not (managed or identity.reads_all(context)):
        raise Forbidden("You may not look at this role: that takes the role admin, or reader on the system.")
    if role is None:
        raise NotFound("role", role_id)
    return role


async def delete(cloud: Cloud, context: Context, role_id: str) -> None:
    """Remove a role, from all who have it and from what it implies too."""

    def forget(conn: Connection, role: Role) -> None:
        assignment_rows.forget_role(conn, role.id)
        role_rows.forget(conn, role.id)

    await ROLES.delete(cloud, context, role_id, forget)


async def implications(cloud: Cloud) -> tuple[dict[str, Role], Implications]:
    """Return all roles by id, and which imply which."""
    return await cloud.db.read(lambda conn: ({role.id: role for role in role_rows.find(conn)}, role_rows.implied(conn)))


async def imply(cloud: Cloud, prior_id: str, implied_id: str) -> tuple[Role, Role]:
    """Let one role imply another. Raises Invalid for a circle, Conflict if it is so, Forbidden for admin."""

    def run(conn: Connection) -> tuple[Role, Role]:
        prior, implied = ROLES.demand(conn, prior_id), ROLES.demand(conn, implied_id)
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
        ROLES.demand(conn, prior_id)
        if not role_rows.stop_implying(conn, prior_id, implied_id):
            raise NotFound("role", implied_id, message=f"Role {prior_id!r} does not imply role {implied_id!r}.")

    await identity.change(cloud, run)
