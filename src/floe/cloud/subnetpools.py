"""Subnet pools of a project: where subnets get CIDRs that overlap none of the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from ipaddress import IPv4Network
from typing import Any

from msgspec.structs import replace

from floe.cloud import address_scopes, host_networks, network_room
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound
from floe.core.networks import NoRoom
from floe.core.subnetpools import (
    LEAST,
    MOST,
    SubnetPool,
    check_extended,
    check_free,
    check_lengths,
    free_prefix,
    length_for,
    overlap,
    read_prefixes,
    size,
)
from floe.store import subnetpools as rows
from floe.store.engine import Connection

OWNED = network_room.Owned("subnetpool", rows.ROWS)
find, show, retag = OWNED.find, OWNED.show, OWNED.retag

_OPEN = {
    "shared": "share a subnet pool with all projects",
    "default": "choose the default subnet pool (is_default)",
}
_LENGTHS = ("least_length", "default_length", "most_length")


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[SubnetPool]:
    """Make pools, all of them or none.

    Each names its prefixes and may have name, description, lengths (default, least, most), quota, shared, default,
    scope_id, project_id. Raises Invalid, Forbidden, NotFound, Conflict, NoRoom.
    """
    now, ids = cloud.clock.now(), [cloud.new_id() for _ in asked]

    def make(conn: Connection) -> list[SubnetPool]:
        return [make_in(conn, context, item, ident, now) for item, ident in zip(asked, ids, strict=True)]

    return await cloud.db.write(make)


async def update(
    cloud: Cloud, context: Context, pool_id: str, asked: Mapping[str, Any], seen: int | None = None
) -> SubnetPool:
    """Change a pool, whose prefixes may only grow. Raises NotFound, Forbidden, Invalid, Conflict, Outdated."""
    now = cloud.clock.now()

    def write(conn: Connection) -> tuple[SubnetPool, bool]:
        before = OWNED.own(conn, context, pool_id, seen)
        after = _change(conn, context, before, asked, now)
        return after, after.scope_id != before.scope_id and host_networks.touch_pool(conn, pool_id)

    pool, told = await cloud.db.write(write)
    if told:
        await cloud.network_nudge()
    return pool


async def delete(cloud: Cloud, context: Context, pool_id: str, seen: int | None = None) -> None:
    """Remove a pool that no subnet is of. Raises NotFound, Forbidden, Invalid, Outdated."""

    def check(conn: Connection, _pool: SubnetPool) -> None:
        if rows.taken(conn, pool_id):
            raise Invalid(
                "Unable to delete subnet pool: Subnet pool has existing allocations.", reason="pool_has_subnets"
            )

    await OWNED.delete(cloud, context, pool_id, seen, check)


async def add(cloud: Cloud, context: Context, pool_id: str, asked: Mapping[str, Any]) -> SubnetPool:
    """Give a pool further `prefixes`. Raises NotFound, Forbidden, Invalid, Conflict."""
    now = cloud.clock.now()

    def write(conn: Connection) -> SubnetPool:
        pool = OWNED.own(conn, context, pool_id)
        return _change(conn, context, pool, {"prefixes": [*pool.prefixes, *asked["prefixes"]]}, now)

    return await cloud.db.write(write)


def allocate(
    conn: Connection, context: Context, pool_id: str, project_id: str, length: int | None, cidr: str | None
) -> str:
    """Return a CIDR of a pool that no subnet has: the one that is asked for, or any of that length.

    The pool is locked: who comes at the same time sees what this one took. Raises NotFound, Invalid, Conflict, NoRoom.
    """
    pool = OWNED.get(conn, context, pool_id)
    rows.ROWS.update(conn, pool_id, {}, pool.updated_at)
    there = rows.taken(conn, pool_id)
    wanted = None if cidr is None else IPv4Network(cidr)
    length = length_for(pool, wanted.prefixlen if wanted is not None else length)
    if pool.quota is not None and size(rows.taken(conn, pool_id, project_id)) + 2 ** (32 - length) > pool.quota:
        raise NoRoom("Per-project subnet pool prefix quota exceeded.")
    if wanted is None:
        return free_prefix(pool, there, length)
    check_free(pool, there, wanted)
    return str(wanted)


def default(conn: Connection) -> SubnetPool:
    """Return the pool that is taken where none is named. Raises Invalid where there is none."""
    found = rows.default(conn)
    if found is None:
        raise Invalid("Bad subnets request: No default subnetpool found for IPv4.", reason="bad_subnets_request")
    return found


def make_in(conn: Connection, context: Context, item: Mapping[str, Any], pool_id: str, now: datetime) -> SubnetPool:
    """Make one pool, on the caller's connection."""
    project_id = network_room.owner(context, item.get("project_id"))
    _may_open(context, [key for key in _OPEN if item.get(key)])
    least, most = item.get("least_length", LEAST), item.get("most_length", MOST)
    pool = SubnetPool(
        id=pool_id,
        project_id=project_id,
        name=item.get("name") or "",
        description=item.get("description") or "",
        prefixes=read_prefixes(item["prefixes"]),
        least_length=least,
        most_length=most,
        default_length=item.get("default_length", least),
        quota=item.get("quota"),
        shared=item.get("shared", False),
        default=item.get("default", False),
        scope_id=item.get("scope_id"),
        created_at=now,
        updated_at=now,
    )
    _check(conn, context, pool)
    network_room.demand(conn, project_id, OWNED.resource)
    return rows.ROWS.insert(conn, pool)


def _change(
    conn: Connection, context: Context, pool: SubnetPool, asked: Mapping[str, Any], now: datetime
) -> SubnetPool:
    changes = dict(asked)
    if "prefixes" in changes:
        changes["prefixes"] = read_prefixes(changes["prefixes"])
        check_extended(pool.prefixes, changes["prefixes"])
    changes = {key: value for key, value in changes.items() if value != getattr(pool, key)}
    _may_open(context, changes)
    _check(conn, context, replace(pool, **changes))
    return OWNED.change(conn, context, pool, changes, now)


def _check(conn: Connection, context: Context, pool: SubnetPool) -> None:
    """Raise unless a pool makes sense by itself and beside the others."""
    check_lengths(*(getattr(pool, name) for name in _LENGTHS))
    if pool.default:
        other = rows.default(conn)
        if other is not None and other.id != pool.id:
            raise Invalid(
                "A default subnetpool for this IP family has already been set. Only one default may exist per"
                " IP family.",
                reason="bad_subnets_request",
            )
    if pool.scope_id is None:
        return
    scope = address_scopes.OWNED.get(conn, context, pool.scope_id)
    if not context.is_admin and not context.owns(scope.project_id) and not scope.shared:
        raise NotFound("address scope", pool.scope_id)
    if pool.shared and not scope.shared:
        raise Invalid(
            f"Illegal subnetpool association: subnetpool {pool.id} cannot be associated with address scope {scope.id}.",
            reason="bad_scope",
        )
    for other in rows.of_scope(conn, pool.scope_id):
        if other.id != pool.id and overlap(pool.prefixes, other.prefixes):
            raise Conflict(
                "Failed to associate address scope: subnetpools within an address scope must have unique prefixes.",
                reason="scope_overlaps",
            )


def _may_open(context: Context, named: Iterable[str]) -> None:
    for key in named:
        if key in _OPEN and not context.is_admin:
            raise Forbidden(f"Only an administrator may {_OPEN[key]}.")
