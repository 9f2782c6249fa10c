"""The networks of the first start: one that leads out of the cloud, and a project's own, joined to it by a router."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from floe.cloud import networks, router_interfaces, routers, subnetpools, subnets
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.ids import derived
from floe.core.networks import FLAT, PUBLIC
from floe.core.routers import Gateway
from floe.store import quota_usages
from floe.store.engine import Connection

PRIVATE, PRIVATE_CIDR = "private", "10.233.0.0/24"
ROUTER = "router1"
POOL, POOL_CIDR, POOL_LENGTH = "shared-default-subnetpool", "10.236.0.0/14", 24
"""What networks that are allocated by themselves have their subnets of: the last of 1,024 leaves none for others."""


async def bootstrap(cloud: Cloud, project_id: str, admin_project_id: str | None = None) -> None:
    """Make the project's network `private`; with an administrator's project `public`, a router and a pool of subnets.

    Unless the project has any network: then somebody has been here.
    """
    if await cloud.db.read(lambda conn: quota_usages.of(conn, project_id)["network"]):
        return
    now, seed = cloud.clock.now(), cloud.new_id()
    owner = Context(request_id="bootstrap", project_id=project_id)

    def make(conn: Connection) -> None:
        if quota_usages.of(conn, project_id)["network"]:
            return  # another process starts too, and was first
        private = networks.make_in(conn, cloud, owner, {"name": PRIVATE}, derived(seed, PRIVATE), now)
        item = {"network_id": private.id, "name": f"{PRIVATE}-subnet", "cidr": PRIVATE_CIDR}
        subnet = subnets.make_in(conn, owner, item, derived(seed, f"{PRIVATE} subnet"), now)
        if admin_project_id is not None:
            public_id = _make_public(conn, cloud, admin_project_id, seed, now)
            wanted = {"name": ROUTER, "gateway": Gateway(network_id=public_id)}
            router = routers.make_in(conn, owner, wanted, derived(seed, ROUTER), now)
            router_interfaces.add_in(conn, owner, router.id, {"subnet_id": subnet.id}, derived(seed, "port"), now)

    await cloud.db.write(make)


def _make_public(conn: Connection, cloud: Cloud, project_id: str, seed: str, now: datetime) -> str:
    admin = Context(request_id="bootstrap", project_id=project_id, roles=frozenset({"admin"}))
    item: dict[str, Any] = {"name": PUBLIC, "external": True, "default": True, "kind": FLAT, "physical": PUBLIC}
    network = networks.make_in(conn, cloud, admin, item, derived(seed, PUBLIC), now)
    cidr = str(cloud.settings.external_range)
    item = {"network_id": network.id, "name": f"{PUBLIC}-subnet", "cidr": cidr, "dhcp": False}
    subnets.make_in(conn, admin, item, derived(seed, f"{PUBLIC} subnet"), now)
    pool = {"name": POOL, "shared": True, "default": True, "prefixes": [POOL_CIDR], "default_length": POOL_LENGTH}
    subnetpools.make_in(conn, admin, pool, derived(seed, POOL), now)
    return network.id
