"""Host aggregates: which hosts are in them, and the zones that this puts the hosts into.

A host is in one zone, and a server stays in the zone that it was made in: what would break either is refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from floe.cloud.cloud import Cloud
from floe.core.aggregates import RESOURCE, ZONE, Aggregate, check_room, with_changes, zone_name
from floe.core.context import Context
from floe.core.errors import Conflict, Invalid, NotFound
from floe.core.hosts import Host
from floe.core.listing import Listing
from floe.store import aggregates as rows
from floe.store import allocations, hosts, quota_usages
from floe.store.aggregates import ROWS
from floe.store.engine import Connection

Values = Mapping[str, Any]


async def create(cloud: Cloud, _context: Context, asked: Sequence[Values]) -> list[Aggregate]:
    """Make aggregates (name, zone) without hosts. Raises Conflict, OverQuota."""
    named, now = [(item, cloud.new_id()) for item in asked], cloud.clock.now()

    def make(conn: Connection, item: Values, uuid: str) -> Aggregate:
        check_room(quota_usages.of(conn, quota_usages.EVERYBODY)[RESOURCE])
        _demand_free(conn, item["name"])
        made = Aggregate(uuid=uuid, name=item["name"], zone=item.get("zone"), created_at=now)
        return ROWS.insert(conn, made)

    return await cloud.db.write(lambda conn: [make(conn, item, uuid) for item, uuid in named])


async def find(cloud: Cloud, _context: Context, listing: Listing) -> list[Aggregate]:
    """Return all aggregates, the oldest first."""
    return await cloud.db.read(lambda conn: ROWS.find(conn, None, listing))


async def show(cloud: Cloud, _context: Context, ident: str) -> Aggregate:
    """Return an aggregate. Raises NotFound."""
    return await cloud.db.read(lambda conn: _get(conn, ident))


async def update(cloud: Cloud, _context: Context, ident: str, asked: Values, _seen: int | None = None) -> Aggregate:
    """Change name and zone. Raises NotFound, Conflict; Invalid where servers or hosts would be in two zones."""
    if not asked:
        raise Invalid("Nothing to change: give name, availability_zone, or both.")

    now = cloud.clock.now()

    def write(conn: Connection) -> Aggregate:
        aggregate = _get(conn, ident)
        if "name" in asked:
            _demand_free(conn, asked["name"], aggregate.id)
        changes = {"name": asked.get("name", aggregate.name)}
        if "zone" in asked:
            changes["zone"] = _move(conn, aggregate, asked["zone"], now, f"Cannot update aggregate {aggregate.id}")
        return _change(conn, aggregate, changes, now)

    return await cloud.db.write(write)


async def set_metadata(cloud: Cloud, _context: Context, ident: str, asked: Values) -> Aggregate:
    """Set items of `metadata`, and remove those that are null.

    Raises NotFound, OverQuota; Invalid where servers or hosts would be in two zones.
    """

    now = cloud.clock.now()

    def write(conn: Connection) -> Aggregate:
        aggregate, given = _get(conn, ident), dict(asked["metadata"])
        zone = aggregate.zone
        if ZONE in given:
            what = f"Cannot update metadata of aggregate {aggregate.id}"
            zone = given[ZONE] = _move(conn, aggregate, given[ZONE], now, what)
        items = with_changes(aggregate.metadata, given)
        items.pop(ZONE, None)
        return _change(conn, aggregate, {"items": items, "zone": zone}, now)

    return await cloud.db.write(write)


async def delete(cloud: Cloud, _context: Context, ident: str, _seen: int | None = None) -> None:
    """Remove an aggregate that has no hosts. Raises NotFound, Invalid."""

    def write(conn: Connection) -> None:
        aggregate = _get(conn, ident)
        if aggregate.hosts:
            raise Invalid(f"Cannot remove host from aggregate {ident}. Reason: Host aggregate is not empty.")
        ROWS.delete(conn, aggregate.id)

    await cloud.db.write(write)


async def add_host(cloud: Cloud, _context: Context, ident: str, asked: Values) -> Aggregate:
    """Put `host` into an aggregate. Raises NotFound; Conflict where it would be in two zones, or its servers move."""
    name, now = asked["host"], cloud.clock.now()

    def write(conn: Connection) -> Aggregate:
        host, aggregate = _host(conn, name), _get(conn, ident)
        if name in aggregate.hosts:
            raise Conflict(f"Aggregate {ident} already has host {name}.")
        refused = f"Cannot add host to aggregate {ident}. Reason:"
        other = rows.zone_of(conn, name, but=aggregate.id)
        if aggregate.zone and other and other != aggregate.zone:
            raise Conflict(f"{refused} One or more hosts already in availability zone(s) {[other]}.")
        if aggregate.zone:
            _demand_unmoved(conn, host, aggregate.zone, f"{refused} The host cannot be added to the aggregate")
        rows.add(conn, aggregate.id, name, now)
        return _get(conn, ident)

    return await cloud.db.write(write)


async def remove_host(cloud: Cloud, _context: Context, ident: str, asked: Values) -> Aggregate:
    """Take `host` out of an aggregate. Raises NotFound; Conflict where its servers would come into another zone."""
    name, now = asked["host"], cloud.clock.now()

    def write(conn: Connection) -> Aggregate:
        aggregate, host = _get(conn, ident), hosts.get(conn, name)
        if host is None or name not in aggregate.hosts:
            raise NotFound("host", name, message=f"Cannot remove host {name} in aggregate {ident}")
        zone = rows.zone_of(conn, name, but=aggregate.id) or host.availability_zone
        refused = f"Cannot remove host from aggregate {ident}. Reason: The host cannot be removed from the aggregate"
        _demand_unmoved(conn, host, zone, refused)
        rows.remove(conn, aggregate.id, name, now)
        return _get(conn, ident)

    return await cloud.db.write(write)


def _get(conn: Connection, ident: str) -> Aggregate:
    found = ROWS.get(conn, int(ident))
    if found is None:
        raise NotFound("aggregate", ident, message=f"Aggregate {ident} could not be found.")
    return found


def _host(conn: Connection, name: str) -> Host:
    host = hosts.get(conn, name)
    if host is None:
        raise NotFound("host", name, message=f"Compute host {name} could not be found.")
    return host


def _demand_free(conn: Connection, name: str, mine: int | None = None) -> None:
    if rows.named(conn, name) not in {None, mine}:
        raise Conflict(f"Aggregate {name} already exists.")


def _move(conn: Connection, aggregate: Aggregate, zone: str | None, now: datetime, refused: str) -> str:
    """Put the hosts of an aggregate into a zone, and return that."""
    if not zone:
        raise Invalid(f"{refused}. Reason: Aggregate {aggregate.name} does not support empty named availability zone.")
    if others := rows.other_zones(conn, aggregate.id, zone):
        raise Invalid(f"{refused}. Reason: One or more hosts already in availability zone(s) {others}.")
    if rows.would_move(conn, aggregate.id, zone):
        raise Invalid(f"{refused}. Reason: One or more hosts contain instances in this zone.")
    rows.tell_zone(conn, aggregate.id, zone_name(zone), now)
    return zone


def _demand_unmoved(conn: Connection, host: Host, zone: str, refused: str) -> None:
    there = allocations.count(conn, host.name)
    if there and zone != host.zone:
        raise Conflict(
            f"{refused} as the availability zone of the host would change from '{host.zone}' to '{zone}' but the host "
            f"already has {there} instance(s). Changing the AZ of an existing instance is not supported by this action."
            " Move the instances away from this host then try again."
        )


def _change(conn: Connection, aggregate: Aggregate, changes: Values, now: datetime) -> Aggregate:
    ROWS.update(conn, aggregate.id, changes, now)
    return _get(conn, str(aggregate.id))
