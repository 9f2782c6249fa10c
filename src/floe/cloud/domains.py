"""What the cloud does with domains."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from floe.cloud import departures, identity
from floe.cloud.cloud import Cloud
from floe.core.assignments import DOMAIN, GROUP, PROJECT, USER
from floe.core.context import Context
from floe.core.domains import DEFAULT_DOMAIN, Domain
from floe.core.errors import Conflict, Forbidden, NotFound
from floe.store import assignments as assignment_rows
from floe.store import domains as domain_rows
from floe.store import groups as group_rows
from floe.store import projects as project_rows
from floe.store import users as user_rows
from floe.store.engine import Connection


def demand(conn: Connection, domain_id: str) -> Domain:
    """Return a domain. Raises NotFound."""
    domain = domain_rows.get(conn, domain_id)
    if domain is None:
        raise NotFound("domain", domain_id)
    return domain


async def find(cloud: Cloud, context: Context) -> list[Domain]:
    """Return the domains that the caller may list."""
    only = identity.visible_domain(context, "domains")
    domains = await cloud.db.read(domain_rows.find)
    return [domain for domain in domains if only in (None, domain.id)]


async def show(cloud: Cloud, context: Context, domain_id: str) -> Domain:
    """Return a domain: any for those who may look at it, and for everybody the token's own."""
    own = domain_id in (context.domain_id, context.project_domain_id)
    identity.demand_read(context, domain_id, "this domain", own=own)
    return await cloud.db.read(lambda conn: demand(conn, domain_id))


async def create(cloud: Cloud, fields: Mapping[str, Any], domain_id: str | None = None) -> Domain:
    """Make a domain, with a new id if none is given. Raises Conflict for a name or an id that is taken."""
    domain = Domain(id=domain_id or identity.new_id(cloud), **identity.merged({}, fields))

    def run(conn: Connection) -> None:
        if domain_rows.get(conn, domain.id) is not None:
            raise Conflict(f"There is a domain with id {domain.id!r} already.")
        _demand_free(conn, domain)
        domain_rows.insert(conn, domain)

    await identity.change(cloud, run)
    return domain


async def update(cloud: Cloud, domain_id: str, fields: Mapping[str, Any]) -> Domain:
    """Change a domain; when it is disabled all its users and tokens are out."""

    def run(conn: Connection) -> Domain:
        domain = demand(conn, domain_id)
        wanted = identity.merged(domain.properties, fields)
        domain = replace(domain, **wanted)
        _demand_free(conn, domain)
        domain_rows.update(conn, domain_id, wanted)
        return domain

    return await identity.change(cloud, run)


async def delete(cloud: Cloud, domain_id: str) -> None:
    """Remove a disabled domain with all that is in it. Raises Forbidden for one that is enabled, or the first."""

    def run(conn: Connection) -> None:
        domain = demand(conn, domain_id)
        if domain_id == DEFAULT_DOMAIN:
            raise Forbidden("The default domain cannot be deleted.")
        if domain.enabled:
            raise Forbidden(f"Domain {domain.name!r} is enabled; disable it before you delete it.")
        users = [user.id for user in user_rows.find(conn, domain_id=domain_id)]
        groups = [group.id for group in group_rows.find(conn, domain_id=domain_id)]
        projects = [project.id for project in project_rows.find(conn, domain_id=domain_id)]
        assignment_rows.forget_actor(conn, USER, users)
        assignment_rows.forget_actor(conn, GROUP, groups)
        assignment_rows.forget_target(conn, PROJECT, projects)
        assignment_rows.forget_target(conn, DOMAIN, [domain_id])
        for user_id in users:
            departures.user(conn, user_id)
        for group_id in groups:
            group_rows.delete(conn, group_id)
        for project_id in projects:
            departures.project(conn, project_id)
        domain_rows.delete(conn, domain_id)

    await identity.change(cloud, run)


def _demand_free(conn: Connection, domain: Domain) -> None:
    known = domain_rows.called(conn, domain.name)
    if known is not None and known.id != domain.id:
        raise Conflict(f"There is a domain named {known.name!r} already.")
