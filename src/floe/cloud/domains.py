"""What the cloud does with domains."""

from __future__ import annotations

from floe.cloud import departures, identity
from floe.cloud.cloud import Cloud
from floe.cloud.identity_room import Kept
from floe.core.assignments import DOMAIN, GROUP, PROJECT, USER
from floe.core.context import Context
from floe.core.domains import DEFAULT_DOMAIN, Domain
from floe.core.errors import Forbidden
from floe.core.listing import Listing
from floe.store import assignments as assignment_rows
from floe.store import domains as domain_rows
from floe.store import groups as group_rows
from floe.store import projects as project_rows
from floe.store import users as user_rows
from floe.store.engine import Connection


def _check(conn: Connection, domain: Domain) -> None:
    DOMAINS.demand_free(conn, domain)


DOMAINS = Kept("domain", domain_rows.ROWS, Domain, _check)


async def find(cloud: Cloud, context: Context, _listing: Listing) -> list[Domain]:
    """Return the domains that the caller may list."""
    only = identity.visible_domain(context, "domains")
    domains = await cloud.db.read(domain_rows.find)
    return [domain for domain in domains if only in (None, domain.id)]


async def show(cloud: Cloud, context: Context, domain_id: str) -> Domain:
    """Return a domain: any for those who may look at it, and for everybody the token's own."""
    own = domain_id in (context.domain_id, context.project_domain_id)
    identity.demand_read(context, domain_id, "this domain", own=own)
    return await cloud.db.read(lambda conn: DOMAINS.demand(conn, domain_id))


async def delete(cloud: Cloud, context: Context, domain_id: str) -> None:
    """Remove a disabled domain with all that is in it. Raises Forbidden for one that is enabled, or the first."""

    def empty(conn: Connection, domain: Domain) -> None:
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
            group_rows.empty(conn, group_id)
        group_rows.ROWS.delete(conn, *groups)
        for project_id in projects:
            departures.project(conn, project_id)
        user_rows.delete(conn, *users)
        project_rows.delete(conn, *projects)

    await DOMAINS.delete(cloud, context, domain_id, empty)
