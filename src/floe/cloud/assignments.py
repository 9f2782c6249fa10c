"""What the cloud does with role assignments."""

from __future__ import annotations

import msgspec
from msgspec.structs import replace

from floe.cloud import domains, groups, identity, projects, roles, users
from floe.cloud.cloud import Cloud
from floe.core import assignments as kinds
from floe.core.assignments import Assignment
from floe.core.context import Context
from floe.core.domains import Domain
from floe.core.errors import Forbidden, NotFound
from floe.core.groups import Group
from floe.core.projects import Project
from floe.core.roles import Role, expand
from floe.core.users import User
from floe.store import assignments as assignment_rows
from floe.store import domains as domain_rows
from floe.store import groups as group_rows
from floe.store import projects as project_rows
from floe.store import roles as role_rows
from floe.store import users as user_rows
from floe.store.engine import Connection


class Names(msgspec.Struct, frozen=True, kw_only=True):
    """What the ids of a list of assignments stand for."""

    users: dict[str, User]
    groups: dict[str, Group]
    projects: dict[str, Project]
    domains: dict[str, Domain]
    roles: dict[str, Role]


async def grant(cloud: Cloud, context: Context, assignment: Assignment) -> None:
    """Give a role; not an error if it is given already. Raises NotFound for a role, actor or target that is not."""

    def run(conn: Connection) -> None:
        _demand_may_change(conn, context, assignment)
        _demand_parts(conn, assignment)
        assignment_rows.insert(conn, assignment)

    await identity.change(cloud, run)


async def take_back(cloud: Cloud, context: Context, assignment: Assignment) -> None:
    """Take a role back. Raises NotFound if it was not given."""

    def run(conn: Connection) -> None:
        _demand_may_change(conn, context, assignment)
        if not assignment_rows.delete(conn, assignment):
            raise _missing(assignment)

    await identity.change(cloud, run)


async def demand(cloud: Cloud, context: Context, assignment: Assignment) -> None:
    """Raise NotFound unless exactly this assignment exists."""
    if not await granted(cloud, context, assignment):
        raise _missing(assignment)


async def granted(cloud: Cloud, context: Context, like: Assignment) -> list[Role]:
    """Return the roles given directly to an actor on a target; with a `role_id` in `like`, that one at most."""

    def run(conn: Connection) -> list[Role]:
        _demand_may_look(conn, context, like)
        found = assignment_rows.find(
            conn,
            actor_kind=like.actor_kind,
            actor_id=like.actor_id,
            target_kind=like.target_kind,
            target_id=like.target_id,
            role_id=like.role_id or None,
        )
        ids = {item.role_id for item in found}
        return [role for role in role_rows.find(conn) if role.id in ids]

    return await cloud.db.read(run)


async def find(cloud: Cloud, context: Context, like: Assignment, *, effective: bool) -> list[Assignment]:
    """Return assignments that fit the fields of `like` that are not empty.

    `effective` shows users in place of groups and adds implied roles. Those on a domain and its projects are listed
    by its readers, all by administrators and readers of the system.
    """

    def run(conn: Connection) -> list[Assignment]:
        only = identity.visible_domain(context, "role assignments")
        narrow = effective and like.actor_kind == kinds.USER
        found = assignment_rows.find(
            conn,
            actor_kind=None if narrow else like.actor_kind or None,
            actor_id=None if narrow else like.actor_id or None,
            target_kind=like.target_kind or None,
            target_id=like.target_id or None,
            role_id=None if effective else like.role_id or None,
        )
        if effective:
            found = [item for item in _effective(conn, found) if _fits(item, like)]
        if only is not None:
            inside = {only} | {project.id for project in project_rows.find(conn, domain_id=only)}
            found = [item for item in found if item.target_id in inside]
        return found

    return await cloud.db.read(run)


async def names(cloud: Cloud) -> Names:
    """Return all that may stand in an assignment, by id."""
    return await cloud.db.read(
        lambda conn: Names(
            users={user.id: user for user in user_rows.find(conn)},
            groups={group.id: group for group in group_rows.find(conn)},
            projects={project.id: project for project in project_rows.find(conn)},
            domains={domain.id: domain for domain in domain_rows.find(conn)},
            roles={role.id: role for role in role_rows.find(conn)},
        )
    )


def _effective(conn: Connection, found: list[Assignment]) -> list[Assignment]:
    implications = role_rows.implied(conn)
    wide: dict[tuple[str, str, str, str], Assignment] = {}
    for item in found:
        actors = [item]
        if item.actor_kind == kinds.GROUP:
            actors = [
                replace(item, actor_kind=kinds.USER, actor_id=user_id, via_group=item.actor_id)
                for user_id in group_rows.members(conn, item.actor_id)
            ]
        for actor in actors:
            for role_id in sorted(expand([actor.role_id], implications), key=lambda one: one != actor.role_id):
                via = actor.role_id if role_id != actor.role_id else None
                key = (actor.actor_id, actor.target_kind, actor.target_id, role_id)
                wide.setdefault(key, replace(actor, role_id=role_id, via_role=via))
    return list(wide.values())


def _fits(item: Assignment, like: Assignment) -> bool:
    return like.role_id in ("", item.role_id) and like.actor_id in ("", item.actor_id)


def _domains(conn: Connection, like: Assignment) -> tuple[str | None, str | None]:
    """Return the domains of an assignment's actor and target, None for that of one that is not there."""
    rows = user_rows if like.actor_kind == kinds.USER else group_rows
    actor = rows.get(conn, like.actor_id)
    target = like.target_id if like.target_kind == kinds.DOMAIN else None
    if like.target_kind == kinds.PROJECT:
        project = project_rows.get(conn, like.target_id)
        target = project.domain_id if project else None
    return actor.domain_id if actor else None, target


def _demand_may_change(conn: Connection, context: Context, like: Assignment) -> None:
    """Raise Forbidden for all but administrators, and managers who give what they may to whom is in their domain."""
    identity.demand_manage(context, "these role assignments", *_domains(conn, like))
    role = role_rows.get(conn, like.role_id)
    if not context.is_admin and not (role and roles.is_managed(role)):
        raise Forbidden("Managers of a domain give the roles manager, member and reader; others take the role admin.")


def _demand_may_look(conn: Connection, context: Context, like: Assignment) -> None:
    actor, target = _domains(conn, like)
    identity.demand_read(context, target if target == actor else None, "these role assignments")
    _demand_parts(conn, like)


def _demand_parts(conn: Connection, like: Assignment) -> None:
    if like.role_id:
        roles.ROLES.demand(conn, like.role_id)
    if like.actor_kind == kinds.USER:
        users.USERS.demand(conn, like.actor_id)
    else:
        groups.GROUPS.demand(conn, like.actor_id)
    if like.target_kind == kinds.PROJECT:
        projects.PROJECTS.demand(conn, like.target_id)
    elif like.target_kind == kinds.DOMAIN:
        domains.DOMAINS.demand(conn, like.target_id)
    elif like.target_id != kinds.WHOLE_SYSTEM:
        raise Forbidden("Roles can be given on the whole system only.")


def _missing(assignment: Assignment) -> NotFound:
    return NotFound(
        "role assignment",
        message=f"Role {assignment.role_id!r} is not given to {assignment.actor_kind} {assignment.actor_id!r}"
        f" on {assignment.target_kind} {assignment.target_id!r}.",
    )
