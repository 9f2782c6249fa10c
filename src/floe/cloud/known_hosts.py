"""The hosts as this process last read them, found by any of their names: read anew is only what changed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from floe.cloud.cloud import Cloud
from floe.core.hosts import Host, service_id
from floe.scheduler.hosts import HostTable
from floe.store import hosts as rows
from floe.store.engine import Connection


@dataclass(slots=True)
class KnownHosts:
    """All hosts, as they were at `read_at`; not when each was last heard of, which changes all the time."""

    table: HostTable = field(default_factory=HostTable)
    by_name: dict[str, Host] = field(default_factory=dict)
    by_id: dict[str, Host] = field(default_factory=dict)
    by_service: dict[str, Host] = field(default_factory=dict)
    by_number: dict[str, Host] = field(default_factory=dict)
    read_at: datetime | None = None

    def put(self, host: Host) -> None:
        """Take in a host, unless it is known as it was later."""
        known = self.by_name.get(host.name)
        if known == host:
            return  # the one that changed last is read each time
        if known is not None and (known.updated_at, known.generation) > (host.updated_at, host.generation):
            return
        self.table.put(host)
        self.by_name[host.name] = self.by_id[host.id] = host
        self.by_service[service_id(host.name)] = self.by_number[str(host.number)] = host


async def current(cloud: Cloud) -> KnownHosts:
    """Return what is known, brought up to date."""
    known = cloud.caches.get("hosts")
    if not isinstance(known, KnownHosts):
        known = cloud.caches["hosts"] = KnownHosts()
    since = known.read_at

    def read(conn: Connection) -> tuple[int, Sequence[Host]]:
        return rows.count(conn), rows.every(conn, since)

    count, changed = await cloud.db.read(read)
    if count < len(known.by_name.keys() | {host.name for host in changed}):  # some were removed
        known = cloud.caches["hosts"] = KnownHosts()
        changed = await cloud.db.read(rows.every)
    async for host in cloud.turns.each(changed):
        known.put(host)
    if changed:
        latest = max(host.updated_at for host in changed)
        known.read_at = max(known.read_at or latest, latest)
    return known
