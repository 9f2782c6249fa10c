"""Hosts as resource providers: inventories, usages, allocations, and which could take a request."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import msgspec
import numpy as np
from msgspec.structs import replace

from floe.cloud import known_hosts
from floe.cloud.cloud import Cloud
from floe.core.errors import NotFound
from floe.core.hosts import CLASSES, Allocation, Host, host_id
from floe.core.resources import Resources
from floe.scheduler.filters import capacity, traits
from floe.scheduler.hosts import HostTable, Rows, kept
from floe.scheduler.spec import RequestSpec
from floe.store import aggregates
from floe.store import allocations as allocation_rows
from floe.store import hosts as rows
from floe.store.engine import Connection


class ProviderQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which providers are wanted. `required_any` holds sets of traits of each of which one is needed."""

    resources: Mapping[str, int] = msgspec.field(default_factory=dict)
    required: frozenset[str] = frozenset()
    forbidden: frozenset[str] = frozenset()
    required_any: tuple[frozenset[str], ...] = ()
    name: str | None = None
    ids: frozenset[str] | None = None
    """Only these."""
    member_of: tuple[frozenset[str], ...] = ()
    """Sets of aggregates, by UUID: in one of each it has to be."""
    not_member_of: frozenset[str] = frozenset()


class Usage(msgspec.Struct, frozen=True, kw_only=True):
    """What consumers take in all, and how many they are."""

    resources: Resources
    consumers: int


async def find(cloud: Cloud, query: ProviderQuery, limit: int | None = None) -> list[Host]:
    """Return the hosts that fit, the oldest first."""
    known = await known_hosts.current(cloud)
    table = known.table
    rows = np.arange(len(table), dtype=np.intp)
    if query.name is not None:
        rows = table.rows((query.name,))
    elif query.ids is not None:
        rows = table.rows([known.by_id[ident].name for ident in sorted(query.ids) if ident in known.by_id])
    own = {name: amount for name, amount in query.resources.items() if name in CLASSES}
    if len(own) < len(query.resources):
        return []
    spec = RequestSpec(
        resources=Resources(own.get("VCPU", 0), own.get("MEMORY_MB", 0), own.get("DISK_GB", 0)),
        required=query.required,
        forbidden=query.forbidden,
    )
    rows = kept(traits.keep(spec, table), kept(capacity.keep(spec, table) if own else None, rows))
    for choice in query.required_any:
        fits = np.zeros(len(table), np.bool_)
        for trait in choice:
            one = RequestSpec(resources=Resources(), required=frozenset({trait}))
            fits[kept(traits.keep(one, table), rows)] = True
        rows = rows[fits[rows]]
    rows = await _in_aggregates(cloud, query, table, rows)
    found = [known.by_name[table.names[int(row)]] for row in rows[:limit]]
    return found if query.ids is None else sorted(found, key=lambda host: host.number)


async def _in_aggregates(cloud: Cloud, query: ProviderQuery, table: HostTable, rows: Rows) -> Rows:
    if not query.member_of and not query.not_member_of:
        return rows
    ids = await cloud.db.read(aggregates.uuids)
    for wanted in query.member_of:
        rows = kept(table.in_any({ids[uuid] for uuid in wanted if uuid in ids}), rows)
    unwanted = table.in_any({ids[uuid] for uuid in query.not_member_of if uuid in ids})
    return rows[~unwanted(rows)]


async def aggregates_of(cloud: Cloud, host: Host) -> list[str]:
    """Return the UUIDs of the aggregates that a host is in."""
    ids = await cloud.db.read(aggregates.uuids)
    return [uuid for uuid, ident in ids.items() if ident in host.aggregates]


async def get(cloud: Cloud, ident: str) -> Host:
    """Return the host that is the provider of that UUID. Raises NotFound."""
    known = await known_hosts.current(cloud)
    host = known.by_id.get(ident.lower())
    if host is None:
        text = f"No resource provider with uuid {ident} found : No resource provider with uuid {ident} found"
        raise NotFound("resource provider", ident, message=text)
    return host


async def allocations_of_host(cloud: Cloud, host: str) -> list[Allocation]:
    """Return what is taken of a host, one item for each server, whatever it takes it for."""
    return _summed(await cloud.db.read(lambda conn: allocation_rows.of_host(conn, host)))


async def allocations_of_consumer(cloud: Cloud, server_id: str) -> list[tuple[Allocation, Host]]:
    """Return what a server takes of each of its hosts, whatever for, with the hosts."""

    def read(conn: Connection) -> list[tuple[Allocation, Host]]:
        found = []
        for item in _summed(allocation_rows.of_server(conn, server_id)):
            host = rows.get(conn, item.host)
            if host is not None:
                found.append((item, host))
        return found

    return await cloud.db.read(read)


def _summed(found: Iterable[Allocation]) -> list[Allocation]:
    """Make one item of those of the same server and host: on the wire a consumer has one for each provider."""
    sums: dict[tuple[str, str], Allocation] = {}
    for item in found:
        key = item.server_id, item.host
        sums[key] = replace(item, resources=sums[key].resources + item.resources) if key in sums else item
    return list(sums.values())


async def usage(cloud: Cloud, project_id: str, user_id: str | None) -> Usage:
    """Return what the servers of a project take."""

    def read(conn: Connection) -> Usage:
        total, consumers = allocation_rows.usage(conn, project_id, user_id)
        return Usage(resources=total, consumers=consumers)

    return await cloud.db.read(read)


async def known_traits(cloud: Cloud) -> list[str]:
    """Return every trait that a host has."""
    known = await known_hosts.current(cloud)
    return sorted({trait for host in known.by_name.values() for trait in host.traits})


def provider_id(host: str) -> str:
    """Return the UUID of the provider that a host is."""
    return host_id(host)
