"""What the cloud does with projects."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from floe.cloud import departures, domains, identity
from floe.cloud.cloud import Cloud
from floe.cloud.identity_room import Kept
from floe.core.assignments import PROJECT
from floe.core.context import Context
from floe.core.errors import NotFound
from floe.core.listing import Listing
from floe.core.names import same_name
from floe.core.projects import Project
from floe.store import assignments as assignment_rows
from floe.store import projects as project_rows
from floe.store.engine import Connection


def _check(conn: Connection, project: Project) -> None:
    domains.DOMAINS.demand(conn, project.domain_id)
    PROJECTS.demand_free(conn, project, " in this domain", domain_id=project.domain_id)


PROJECTS = Kept("project", project_rows.ROWS, Project, _check)


async def find(cloud: Cloud, context: Context, listing: Listing) -> list[Project]:
    """Return the projects that fit and that the caller may list.

    Who may list none finds the token's own by its name, so that clients can look it up.
    """
    # Projects are flat: the parent of each is its domain.
    domain_id, name = listing.also["domain_id"] or listing.also["parent_id"], listing.also["name"]
    own_name = context.project_name or ""
    if not identity.lists(context) and context.project_id and name is not None and same_name(name, own_name):
        own = await show(cloud, context, context.project_id)
        return [own] if domain_id in (None, own.domain_id) else []
    only = identity.visible_domain(context, "projects")
    found = await cloud.db.read(lambda conn: project_rows.find(conn, domain_id=domain_id, name=name))
    return [project for project in found if only in (None, project.domain_id)]


async def show(cloud: Cloud, context: Context, project_id: str) -> Project:
    """Return a project: any for those who may look at it, and for everybody the token's own."""
    project = await PROJECTS.get(cloud, project_id)
    domain_id = project.domain_id if project else None
    identity.demand_read(context, domain_id, "this project", own=context.owns(project_id))
    if project is None:
        raise NotFound("project", project_id)
    return project


async def create(cloud: Cloud, context: Context, fields: Mapping[str, Any]) -> Project:
    """Make a project; `fields` holds at least `domain_id` and `name`. Raises Conflict for a name that is taken."""
    identity.demand_manage(context, "projects", fields["domain_id"])
    return await PROJECTS.create(cloud, context, fields)


async def update(cloud: Cloud, context: Context, project_id: str, fields: Mapping[str, Any]) -> Project:
    """Change a project; when it is disabled its tokens are dead."""
    await _demand_manage(cloud, context, project_id)
    return await PROJECTS.update(cloud, context, project_id, fields)


async def delete(cloud: Cloud, context: Context, project_id: str) -> None:
    """Remove a project with its role assignments, application credentials, quotas and access to flavors.

    What it owns elsewhere (servers, images, networks) stays, for an administrator to remove, as in OpenStack.
    """
    await _demand_manage(cloud, context, project_id)

    def forget(conn: Connection, project: Project) -> None:
        assignment_rows.forget_target(conn, PROJECT, [project.id])
        departures.project(conn, project.id)

    await PROJECTS.delete(cloud, context, project_id, forget)


async def _demand_manage(cloud: Cloud, context: Context, project_id: str) -> None:
    project = await PROJECTS.get(cloud, project_id)
    identity.demand_manage(context, "this project", project.domain_id if project else None)
