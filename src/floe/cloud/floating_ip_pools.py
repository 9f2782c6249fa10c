"""Floating IPs as whoever has servers sees them: of pools, which are external networks, and of servers."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from floe.cloud import floating_ips, network_room
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Forbidden, Invalid, NotFound
from floe.core.floating_ips import FloatingIP
from floe.core.listing import Listing
from floe.core.networks import Network, NoAddress
from floe.store import networks, ports
from floe.store.engine import Connection


class Pooled(msgspec.Struct, frozen=True, kw_only=True):
    """A floating IP, the name of its pool, and what has the port that it leads to."""

    floating: FloatingIP
    pool: str
    device_id: str | None


async def pools(cloud: Cloud, context: Context) -> list[str]:
    """Return the names of the pools that the caller sees; of one without a name, its id."""
    return [_name(network) for network in await cloud.db.read(lambda conn: _pools(conn, context))]


async def find(cloud: Cloud, context: Context) -> list[Pooled]:
    """Return the floating IPs of the caller's project."""
    mine = Listing(filters={"project_id": [context.project_id or ""]})

    def look(conn: Connection) -> list[Pooled]:
        return _pooled(conn, floating_ips.OWNED.rows.find(conn, network_room.scope(context), mine))

    return await cloud.db.read(look)


async def show(cloud: Cloud, context: Context, floating_id: str) -> Pooled:
    """Return one floating IP. Raises NotFound."""

    def look(conn: Connection) -> Pooled:
        return _pooled(conn, [floating_ips.OWNED.get(conn, context, floating_id)])[0]

    return await cloud.db.read(look)


async def create(cloud: Cloud, context: Context, pool: str | None) -> Pooled:
    """Make a floating IP of a pool, by its name or id; without one, of the default pool, or the only one.

    Raises NotFound for a pool that is not there or used up, Invalid for a name that several have, NoRoom, Forbidden.
    """
    if context.project_id is None:
        raise Forbidden("A floating IP belongs to a project; use a token that is scoped to one.")
    network = await cloud.db.read(lambda conn: _chosen(conn, context, pool))
    try:
        (made,) = await floating_ips.create(cloud, context, [{"network_id": network.id}])
    except NoAddress:
        said = f"in pool {pool}" if pool else "available"
        raise NotFound("address", message=f"No more floating IPs {said}.") from None
    return Pooled(floating=made, pool=_name(network), device_id=None)


def _pools(conn: Connection, context: Context) -> list[Network]:
    return networks.find(conn, network_room.scope(context), Listing(filters={"external": [True]}))


def _chosen(conn: Connection, context: Context, pool: str | None) -> Network:
    there = _pools(conn, context)
    if pool is None:
        found = [network for network in there if network.default] or there
    else:
        found = [network for network in there if network.id == pool] or [each for each in there if each.name == pool]
    if not found:
        raise NotFound("pool", message="Floating IP pool not found.")
    if len(found) > 1:
        named = f"for name '{pool}'" if pool else "and none is the default: name one"
        raise Invalid(f"Multiple floating IP pools matches found {named}.")
    return found[0]


def _pooled(conn: Connection, found: Sequence[FloatingIP]) -> list[Pooled]:
    outside = networks.many(conn, {each.network_id for each in found})
    inside = ports.many(conn, {each.port_id for each in found if each.port_id})
    return [
        Pooled(
            floating=each,
            pool=_name(outside[each.network_id]),
            device_id=(inside[each.port_id].device_id or None) if each.port_id in inside else None,
        )
        for each in found
    ]


def _name(network: Network) -> str:
    return network.name or network.id
