"""The network of a project that is made, with subnet and router to the outside, when it is first asked for.

It is all made in one write, and so there whole or not at all. Of those who ask at the same time one makes it, and the
others are given the same.
"""

from __future__ import annotations

from datetime import datetime

import msgspec

from floe.cloud import networks, router_interfaces, routers, subnetpools, subnets
from floe.cloud.cloud import Cloud
from floe.core.auto_allocated import CannotAllocate, Topology
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound, OverQuota
from floe.core.ids import derived
from floe.core.networks import Network, NoRoom
from floe.core.ports import INTERFACE_OWNER
from floe.core.routers import Gateway
from floe.store import auto_allocated as rows
from floe.store import networks as network_rows
from floe.store import routers as router_rows
from floe.store.engine import Connection

_NETWORK, _SUBNET, _ROUTER = "auto_allocated_network", "auto_allocated_subnet_v4", "auto_allocated_router"
_PARTS = ("network", "subnet", "router", "port")
_MOST = 64
"""Characters of a project's id."""


class Met(msgspec.Struct, frozen=True, kw_only=True):
    """What the cloud has set up for it: the external network and the subnet pool that are taken where none is named."""

    external_id: str
    pool_id: str


async def show(cloud: Cloud, context: Context, project_id: str | None) -> Topology:
    """Return what is allocated to a project, the caller's for None; it is made if it is not there.

    Raises Forbidden for another's, CannotAllocate, NoRoom.
    """
    owner, seed, now = _project(context, project_id), cloud.new_id(), cloud.clock.now()
    found = await cloud.db.read(lambda conn: rows.get(conn, owner))
    if found is not None:
        return found
    return await cloud.db.write(lambda conn: ensure(conn, cloud, context, owner, seed, now))


async def check(cloud: Cloud, context: Context, project_id: str | None) -> str:
    """Return the project, the caller's for None, to which a network could be allocated. Raises CannotAllocate."""
    owner = _project(context, project_id)
    await cloud.db.read(lambda conn: demand_met(conn, context))
    return owner


async def delete(cloud: Cloud, context: Context, project_id: str | None) -> None:
    """Remove all that was allocated to a project, or nothing of it. Raises Forbidden, and Conflict for what is used."""
    owner, now = _project(context, project_id), cloud.clock.now()

    def remove(conn: Connection) -> bool:
        found = rows.get(conn, owner)
        return found is not None and _remove(conn, context, found, now)

    if await cloud.db.write(remove):
        await cloud.network_nudge()


def ensure(conn: Connection, cloud: Cloud, context: Context, project_id: str, seed: str, now: datetime) -> Topology:
    """Return what is allocated to a project, made now if it is not there, on the caller's connection.

    Ids follow from `seed`. Raises CannotAllocate, NoRoom.
    """
    found = rows.get(conn, project_id)
    if found is not None:
        return found
    met = demand_met(conn, context)
    owned = {"project_id": project_id}
    network_id, subnet_id, router_id, port_id = (derived(seed, f"auto-allocated {each}") for each in _PARTS)
    try:
        networks.make_in(conn, cloud, context, {**owned, "name": _NETWORK}, network_id, now)
        subnet = {**owned, "name": _SUBNET, "network_id": network_id, "pool_id": met.pool_id}
        subnets.make_in(conn, context, subnet, subnet_id, now)
    except NoRoom:
        raise
    except (Invalid, NotFound, Conflict) as error:
        raise _failed("Unable to provide project private network") from error
    try:
        gateway = Gateway(network_id=met.external_id)
        routers.make_in(conn, context, {**owned, "name": _ROUTER, "gateway": gateway}, router_id, now)
        router_interfaces.add_in(conn, context, router_id, {"subnet_id": subnet_id}, port_id, now)
    except Invalid as error:
        raise _failed("Unable to provide external connectivity") from error
    topology = Topology(project_id=project_id, network_id=network_id, router_id=router_id)
    rows.insert(conn, topology)
    return topology


def network(conn: Connection, cloud: Cloud, context: Context, project_id: str, seed: str, now: datetime) -> Network:
    """Return the network that is allocated to a project, for a server that names none; ids follow from `seed`.

    Raises Invalid where it cannot be, OverQuota.
    """
    try:
        found = ensure(conn, cloud, context, project_id, seed, now)
    except CannotAllocate as error:
        raise Invalid(
            f"Unable to automatically allocate a network for project {project_id}: {error.message}"
        ) from error
    except NoRoom as error:
        raise OverQuota(error.message) from error
    return network_rows.many(conn, [found.network_id])[found.network_id]


def demand_met(conn: Connection, context: Context) -> Met:
    """Return what a network is allocated of. Raises CannotAllocate for what the cloud has not set up."""
    external_id = network_rows.default(conn)
    if external_id is None:
        raise _failed("No default router:external network")
    try:
        pool = subnetpools.default(conn)
        subnetpools.OWNED.get(conn, context, pool.id)
    except (Invalid, NotFound):
        raise _failed("No default subnetpools defined") from None
    return Met(external_id=external_id, pool_id=pool.id)


def _remove(conn: Connection, context: Context, topology: Topology, now: datetime) -> bool:
    """Remove router and network; True if hosts have to be told."""
    network = networks.OWNED.get(conn, context, topology.network_id)
    touched = False
    if topology.router_id is not None:
        for each in router_rows.interfaces(conn, [topology.router_id]):
            if each.owner == INTERFACE_OWNER and each.subnet_id in network.subnet_ids:
                asked = {"port_id": each.port_id}
                touched |= router_interfaces.remove_in(conn, context, topology.router_id, asked, now)[1]
        routers.delete_in(conn, context, topology.router_id)
    networks.delete_in(conn, context, network.id, now)
    return touched


def _project(context: Context, project_id: str | None) -> str:
    """Return the project that is meant. Raises Forbidden for one that is not the caller's."""
    owner = context.project_id if project_id is None else project_id
    if owner is None or (owner != context.project_id and not context.is_admin):
        raise Forbidden("Not authorized.", reason="not_authorized")
    if not owner or len(owner) > _MOST:
        raise NotFound("project", owner[:_MOST])
    return owner


def _failed(reason: str) -> CannotAllocate:
    return CannotAllocate(f"Deployment error: {reason}.")
