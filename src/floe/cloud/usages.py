"""What projects used over a span of time."""

from __future__ import annotations

from datetime import datetime

from floe.cloud.cloud import Cloud
from floe.core.usages import ProjectUse, UsedServer, use_of
from floe.store import usages as rows
from floe.store.engine import Connection


async def of_projects(
    cloud: Cloud,
    project_id: str | None,
    start: datetime,
    stop: datetime,
    *,
    after: str | None = None,
    limit: int = 1000,
) -> list[ProjectUse]:
    """Return what a project (None: each one) used, from a page of at most `limit` servers by id, behind `after`."""

    def look(conn: Connection) -> list[ProjectUse]:
        by_project: dict[str, list[UsedServer]] = {}
        for server in rows.between(conn, project_id, start, stop, after=after, limit=limit):
            by_project.setdefault(server.project_id, []).append(server)
        return [use_of(ident, by_project[ident], start, stop) for ident in sorted(by_project)]

    return await cloud.db.scan(look)
