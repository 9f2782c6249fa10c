"""Conductors as operators see them: where each runs, and whether it is up."""

from __future__ import annotations

import msgspec

from floe.cloud.cloud import Cloud
from floe.core.conductors import ConductorRole
from floe.core.errors import Conflict, NotFound
from floe.store import conductors as rows
from floe.store.engine import Connection


class ConductorDetail(msgspec.Struct, frozen=True):
    """A conductor, and whether it is up."""

    role: ConductorRole
    up: bool


async def listed(cloud: Cloud) -> list[ConductorDetail]:
    """Return all conductors, the oldest first."""
    now = cloud.clock.now()
    return [ConductorDetail(role, role.is_up(now)) for role in await cloud.db.read(rows.every)]


async def remove(cloud: Cloud, host: str) -> None:
    """Forget a conductor that is gone for good. Raises NotFound; Conflict while it is up."""

    now = cloud.clock.now()

    def work(conn: Connection) -> None:
        known = {role.host: role for role in rows.every(conn)}
        if host not in known:
            raise NotFound("conductor", host)
        if known[host].is_up(now):
            raise Conflict(f"The conductor on {host} is up; stop it first.")
        rows.remove(conn, host)

    await cloud.db.write(work)
