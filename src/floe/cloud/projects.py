"""What the cloud does with projects."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from floe.cloud import departures, domains, identity
from floe.cloud.cloud import Cloud
from floe.core.assignments import PROJECT
from floe.core.context import Context
from floe.core.errors import Conflict, NotFound
from floe.core.names import same_name
from floe.core.projects import Project
from floe.store import assignments as assignment_rows
from floe.store import projects as project_rows
from floe.store.engine import Connection


def demand(conn: Connection, project_id: str) -> Project:
    """Return a project. Raises NotFound."""
    project = project_rows.get(conn, project_id)
    if project is None:
        raise NotFound("project", project_id)
    return project


async def find(
    cloud: Cloud,
    context: Context,
    *,
    domain_id: str | None = None,
    name: str | None = None,
) -> list[Project]:
    """Return the projects that fit and that the caller may list.

    Who may list none finds the token's own by its name, so that clients can look it up.
    """
    own_name = context.project_name or ""
    if not identity.lists(context) and context.project_id and name is not None and same_name(name, own_name):
        own = await show(cloud, context, context.project_id)
        return [own] if domain_id in (None, own.domain_id) else []
    only = identity.visible_domain(context, "projects")
    found = await cloud.db.read(lambda conn: project_rows.find(conn, domain_id=domain_id, name=name))
    return [project for project in found if only in (None, project.domain_id)]


async def show(cloud: Cloud, context: Context, project_id: str) -> Project:
    """Return a project: any for those who may look at it, and for everybody the token's own."""
    project = await cloud.db.read(lambda conn: project_rows.get(conn, project_id))
    domain_id = project.domain_id if project else None
    identity.demand_read(context, domain_id, "this project", own=context.owns(project_id))
    if project is None:
        raise NotFound("project", project_id)
    return project


async def create(cloud: Cloud, context: Context, fields: Mapping[str, Any]) -> Project:
    """Make a project; `fields` holds at least `domain_id` and `name`. Raises Conflict for a name that is taken."""
    identity.demand_manage(context, "projects", fields["domain_id"])
    project = Project(id=identity.new_id(cloud), **identity.merged({}, fields))

    def run(conn: Connection) -> None:
        domains.demand(conn, project.domain_id)
        _demand_free(conn, project)
        project_rows.insert(conn, project)

    await identity.change(cloud, run)
    return project


async def update(cloud: Cloud, context: Context, project_id: str, fields: Mapping[str, Any]) -> Project:
    """Change a project; when it is disabled its tokens are dead."""

    await _demand_manage(cloud, context, project_id)

    def run(conn: Connection) -> Project:
        project = demand(conn, project_id)
        wanted = identity.merged(project.properties, identity.keeping_domain(project.domain_id, fields))
        project = replace(project, **wanted)
        _demand_free(conn, project)
        project_rows.update(conn, project_id, wanted)
        return project

    return await identity.change(cloud, run)


async def delete(cloud: Cloud, context: Context, project_id: str) -> None:
    """Remove a project with its role assignments, application credentials, quotas and access to flavors.

    What it owns elsewhere (servers, images, networks) stays, for an administrator to remove, as in OpenStack.
    """

    await _demand_manage(cloud, context, project_id)

    def run(conn: Connection) -> None:
        demand(conn, project_id)
        assignment_rows.forget_target(conn, PROJECT, [project_id])
        departures.project(conn, project_id)

    await identity.change(cloud, run)


async def _demand_manage(cloud: Cloud, context: Context, project_id: str) -> None:
    project = await cloud.db.read(lambda conn: project_rows.get(conn, project_id))
    identity.demand_manage(context, "this project", project.domain_id if project else None)


def _demand_free(conn: Connection, project: Project) -> None:
    known = project_rows.called(conn, project.name, domain_id=project.domain_id)
    if known is not None and known.id != project.id:
        raise Conflict(f"There is a project named {known.name!r} in this domain already.")
