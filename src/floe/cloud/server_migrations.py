"""Migrations of servers: what administrators, and managers of a project, may read of resizes."""

from __future__ import annotations

from floe.cloud.cloud import Cloud
from floe.core.errors import Invalid
from floe.core.server_migrations import ServerMigration, Wanted
from floe.store import server_migrations as rows
from floe.store.engine import Connection


async def find(cloud: Cloud, wanted: Wanted, *, marker: str | None, limit: int) -> list[ServerMigration]:
    """Return those that are asked for, the latest first, after `marker`. Raises Invalid for one that is not known."""

    def read(conn: Connection) -> list[ServerMigration]:
        after = None if marker is None else rows.get(conn, marker)
        if marker is not None and (after is None or wanted.project_id not in {None, after.project_id}):
            raise Invalid(f"Marker {marker[:80]!r} could not be found.")
        return rows.find(conn, wanted, after=after, limit=limit)

    return await cloud.db.scan(read)
