"""Network quotas of projects: read by themselves, set by administrators."""

from __future__ import annotations

from collections.abc import Mapping

from floe.cloud import quotas
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Forbidden, Invalid, NotFound
from floe.core.quotas import NETWORK
from floe.store import quota_usages
from floe.store import quotas as rows
from floe.store.engine import Connection

_RESOURCES = frozenset(NETWORK)


async def limits(cloud: Cloud, context: Context, project_id: str) -> dict[str, int]:
    """Return a project's limits. Raises Forbidden for another's."""
    _may_see(context, project_id)
    return await cloud.db.read(lambda conn: _network(quotas.limits(conn, project_id)))


async def defaults(cloud: Cloud, context: Context, project_id: str) -> dict[str, int]:
    """Return the limits of a project for which nothing was set."""
    _may_see(context, project_id)
    return await cloud.db.read(lambda conn: _network(quotas.defaults(conn)))


async def usage(cloud: Cloud, context: Context, project_id: str) -> dict[str, tuple[int, int]]:
    """Return (limit, used) by resource. Raises Forbidden for another's."""
    _may_see(context, project_id)

    def look(conn: Connection) -> dict[str, tuple[int, int]]:
        known, used = quotas.limits(conn, project_id), quota_usages.of(conn, project_id)
        return {name: (known[name], used[name]) for name in NETWORK}

    return await cloud.db.read(look)


async def every(cloud: Cloud) -> dict[str, dict[str, int]]:
    """Return the limits of all projects that have any of their own, by project."""

    def look(conn: Connection) -> dict[str, dict[str, int]]:
        projects = [name for name in rows.owners(conn, _RESOURCES) if name != quotas.DEFAULT_CLASS]
        return {project_id: _network(quotas.limits(conn, project_id)) for project_id in projects}

    return await cloud.db.read(look)


async def put(cloud: Cloud, project_id: str, asked: Mapping[str, int], *, below_use: bool) -> dict[str, int]:
    """Set limits of a project; -1 means none. Raises Invalid for one under what is used, unless that may be."""
    return _network(await quotas.change(cloud, project_id, asked, None if below_use else _too_small))


def _too_small(resource: str, limit: int, used: int) -> Invalid:
    return Invalid(
        f"Quota limit {limit} for {resource} must be greater than or equal to already used {used}.", reason="malformed"
    )


async def reset(cloud: Cloud, project_id: str) -> None:
    """Go back to the defaults. Raises NotFound if nothing was set."""

    def remove(conn: Connection) -> None:
        if not _RESOURCES & rows.get(conn, project_id).keys():
            raise NotFound("quota", project_id)
        rows.delete(conn, project_id, _RESOURCES)

    await cloud.db.write(remove)


def _network(found: Mapping[str, int]) -> dict[str, int]:
    return {name: found[name] for name in NETWORK}


def _may_see(context: Context, project_id: str) -> None:
    if not context.is_admin and not context.owns(project_id):
        raise Forbidden("Only an administrator may look at the quota of another project.")
