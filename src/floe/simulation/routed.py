"""What users ask for of routers, floating IPs and the outside in a run, and whether what was answered came true."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from floe.cloud import (
    floating_ips,
    networks,
    ports,
    router_interfaces,
    routers,
    subnetpools,
    subnets,
)
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.listing import Listing
from floe.core.routers import Gateway
from floe.simulation.site import PROJECTS, Site, operator_of, user_of
from floe.store import floating_ips as floating_rows
from floe.store import networks as network_rows
from floe.store import ports as port_rows
from floe.store import routers as router_rows
from floe.store.engine import Connection

OUTSIDE, OUTSIDE_POOLS = "203.0.113.0/29", [("203.0.113.2", "203.0.113.5")]
"""The external network, which has an address for four, and on either side of them one that its own gateway may have."""
CIDRS = ("10.1.0.0/29", "10.1.0.0/30", "10.233.0.128/25", "10.2.0.0/28")
"""What users make subnets of: some overlap, one of them with what each project has from the start."""
POOL = "10.9.0.0/28"

Args = dict[str, Any]


class Promised:
    """What of one kind was answered to be there, and to be gone."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.made: list[tuple[int, str]] = []
        """Project and id."""
        self.delete_asked: set[str] = set()
        self.deleted: set[str] = set()

    def pick(self, args: Args) -> tuple[int, str] | None:
        """Return one that was made, if there is any."""
        there = [each for each in self.made if each[1] not in self.deleted]
        return there[args["pick"] % len(there)] if there else None

    def check(self, there: set[str]) -> list[Violation]:
        """Compare with what is there."""
        lost = {ident for _, ident in self.made} - self.delete_asked - there
        found = [Violation(f"{self.kind} was promised and is not there", ident) for ident in sorted(lost)]
        back = sorted(self.deleted & there)
        return found + [Violation(f"{self.kind} whose delete was accepted is there", ident) for ident in back]


class Routed:
    """Users of routers; `networks` has, by project, the networks that they made beside their first."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self.external: str | None = None
        self.elsewhere: str | None = None
        """A second external network, if there is one."""
        self.routers, self.floating = Promised("a router"), Promised("a floating IP")
        self.networks = Promised("a network")
        self._pools: list[str] = []

    def network(self, project: int, number: int) -> str | None:
        """Return a network of a project for a new server, if it has more than its first."""
        own = [ident for owner, ident in self.networks.made if owner == project]
        return [self._site.network_ids[project], *own][number % (len(own) + 1)] if own else None

    async def ask(self, cloud: Cloud, name: str, args: Args) -> None:
        """Do what is asked for."""
        if self.external is None:
            await self.open(cloud, name)
        deeds: dict[str, Callable[[Cloud, str, Args], Awaitable[None]]] = {
            "router": self._router,
            "join": self._join,
            "join-port": self._join_port,
            "leave": self._leave,
            "gateway": self._gateway,
            "close": self._close,
            "switch": self._switch,
            "route": self._route,
            "router-delete": self._router_delete,
            "network": self._network,
            "network-delete": self._network_delete,
            "floating": self._new_floating,
            "lead": self._lead,
            "unlead": self._unlead,
            "floating-delete": self._floating_delete,
            "hop": self._hop,
            "serve": self._serve,
            "pooled": self._pooled,
            "pool-delete": self._pool_delete,
        }
        await deeds[args["do"]](cloud, name, args)

    def check(self, conn: Connection) -> list[Violation]:
        """Compare the answers with the rows, when nothing is under way."""
        every = Listing()
        return [
            *self.routers.check({each.id for each in router_rows.find(conn, None, every)}),
            *self.floating.check({each.id for each in floating_rows.find(conn, None, every)}),
            *self.networks.check({each.id for each in network_rows.find(conn, None, every)}),
        ]

    # -- the outside ----------------------------------------------------------------------------------

    async def open(self, cloud: Cloud, name: str) -> None:
        """Make the external network; when that was not answered it is there, perhaps, under its name."""
        operator = operator_of(0, name)
        there = await networks.find(cloud, operator, Listing(filters={"name": ["outside"]}))
        found = there or await networks.create(
            cloud, operator, [{"name": "outside", "external": True, "default": not there}]
        )
        if not found[0].subnet_ids:
            await subnets.create(
                cloud, operator, [{"network_id": found[0].id, "cidr": OUTSIDE, "pools": OUTSIDE_POOLS, "dhcp": False}]
            )
        self.external = found[0].id

    async def _hop(self, cloud: Cloud, name: str, args: Args) -> None:
        """The way out of the external network is elsewhere."""
        operator = operator_of(0, name)
        (subnet,) = await subnets.find(cloud, operator, Listing(filters={"network_id": [self.external]}))
        gateway = ("203.0.113.1", "203.0.113.6")[args["pick"] % 2] if args["pick"] % 5 else None
        await subnets.update(cloud, operator, subnet.id, {"gateway": gateway})

    # -- networks -------------------------------------------------------------------------------------

    async def _network(self, cloud: Cloud, name: str, args: Args) -> None:
        project = args["project"]
        user = user_of(project, name)
        (made,) = await networks.create(cloud, user, [{"name": name}])
        self.networks.made.append((project, made.id))
        await subnets.create(cloud, user, [{"network_id": made.id, "cidr": CIDRS[args["pick"] % len(CIDRS)]}])

    async def _network_delete(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self.networks.pick(args):
            self.networks.delete_asked.add(picked[1])
            await networks.delete(cloud, user_of(picked[0], name), picked[1])
            self.networks.deleted.add(picked[1])

    async def _serve(self, cloud: Cloud, name: str, args: Args) -> None:
        """Change what a network hands to its guests, and whether it does."""
        if found := await self._subnet(cloud, name, args):
            fields: Args = {"nameservers": [f"192.0.2.{args['pick'] + 1}"], "dhcp": args["pick"] % 4 > 0}
            await subnets.update(cloud, user_of(args["project"], name), found.id, fields)

    async def _pooled(self, cloud: Cloud, name: str, args: Args) -> None:
        """Make subnets of a pool, which may have room for one of them alone."""
        user = user_of(args["project"], name)
        if not self._pools:
            pool = {"name": name, "prefixes": [POOL], "least_length": 28, "default_length": 29, "shared": True}
            (made,) = await subnetpools.create(cloud, operator_of(0, name), [pool])
            self._pools.append(made.id)
        pool_id = self._pools[-1]  # somebody may delete it meanwhile
        (network,) = await networks.create(cloud, user, [{"name": name}])
        self.networks.made.append((args["project"], network.id))
        await subnets.create(cloud, user, [{"network_id": network.id, "pool_id": pool_id}])

    async def _pool_delete(self, cloud: Cloud, name: str, _args: Args) -> None:
        if self._pools:
            pool_id = self._pools[-1]
            await subnetpools.delete(cloud, operator_of(0, name), pool_id)
            self._pools.remove(pool_id)

    async def _subnet(self, cloud: Cloud, name: str, args: Args) -> Any:
        """Return a subnet of a project."""
        listing = Listing(filters={"project_id": [PROJECTS[args["project"]]]})
        found = [
            each
            for each in await subnets.find(cloud, user_of(args["project"], name), listing)
            if each.network_id not in {self.external, self.elsewhere}
        ]
        return found[args["pick"] % len(found)] if found else None

    # -- routers --------------------------------------------------------------------------------------

    def _out(self, args: Args) -> Gateway:
        return Gateway(network_id=self.external or "", snat=None)

    async def _router(self, cloud: Cloud, name: str, args: Args) -> None:
        asked = {"name": name, "gateway": self._out(args) if args["pick"] % 3 else None}
        (made,) = await routers.create(cloud, user_of(args["project"], name), [asked])
        self.routers.made.append((args["project"], made.id))

    async def _join(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self.routers.pick(args):
            args = {**args, "project": picked[0], "pick": args["other"]}
            if found := await self._subnet(cloud, name, args):
                await router_interfaces.add(cloud, user_of(picked[0], name), picked[1], {"subnet_id": found.id})

    async def _join_port(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self.routers.pick(args):
            args = {**args, "project": picked[0], "pick": args["other"]}
            if found := await self._subnet(cloud, name, args):
                user = user_of(picked[0], name)
                (port,) = await ports.create(cloud, user, [{"network_id": found.network_id, "name": name}])
                await router_interfaces.add(cloud, user, picked[1], {"port_id": port.id})

    async def _leave(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self.routers.pick(args):
            legs = await cloud.db.read(lambda conn: router_rows.interfaces(conn, [picked[1]]))
            if legs:
                leg = legs[args["other"] % len(legs)]
                named = {"port_id": leg.port_id} if args["other"] % 2 else {"subnet_id": leg.subnet_id}
                await router_interfaces.remove(cloud, user_of(picked[0], name), picked[1], named)

    async def _gateway(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self.routers.pick(args):
            await routers.update(cloud, user_of(picked[0], name), picked[1], {"gateway": self._out(args)})

    async def _close(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self.routers.pick(args):
            await routers.update(cloud, user_of(picked[0], name), picked[1], {"gateway": None})

    async def _switch(self, cloud: Cloud, name: str, args: Args) -> None:
        """Take a router, or one of its ports, out of service, or back."""
        if picked := self.routers.pick(args):
            up = {"up": args["other"] % 2 > 0}
            legs = await cloud.db.read(lambda conn: router_rows.interfaces(conn, [picked[1]]))
            if legs and args["other"] % 3:
                await ports.update(cloud, operator_of(picked[0], name), legs[0].port_id, up)
            else:
                await routers.update(cloud, user_of(picked[0], name), picked[1], up)

    async def _route(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self.routers.pick(args):
            legs = await cloud.db.read(lambda conn: router_rows.interfaces(conn, [picked[1]]))
            if legs:
                hop = legs[args["other"] % len(legs)].cidr.rpartition(".")[0] + f".{2 + args['other'] % 5}"
                change = routers.add_routes if args["other"] % 4 else routers.remove_routes
                routes = {"routes": [("192.0.2.0/24", hop)]}
                await change(cloud, user_of(picked[0], name), picked[1], routes)

    async def _router_delete(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self.routers.pick(args):
            self.routers.delete_asked.add(picked[1])
            await routers.delete(cloud, user_of(picked[0], name), picked[1])
            self.routers.deleted.add(picked[1])

    # -- floating IPs ---------------------------------------------------------------------------------

    async def port(self, cloud: Cloud, project: int, number: int) -> str | None:
        """Return a port of a project that a floating IP may lead to."""
        listing = Listing(filters={"project_id": [PROJECTS[project]]})
        found = await cloud.db.read(lambda conn: port_rows.find(conn, None, listing))
        own = [port.id for port in found if not port.kept]
        return own[number % len(own)] if own else None

    async def _new_floating(self, cloud: Cloud, name: str, args: Args) -> None:
        project = args["project"]
        asked: Args = {"network_id": self.external, "description": name}
        if args["pick"] % 2:
            asked["port_id"] = await self.port(cloud, project, args["other"])
        (made,) = await floating_ips.create(cloud, user_of(project, name), [asked])
        self.floating.made.append((project, made.id))

    async def _lead(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self.floating.pick(args):
            port_id = await self.port(cloud, picked[0], args["other"])
            await floating_ips.update(cloud, user_of(picked[0], name), picked[1], {"port_id": port_id})

    async def _unlead(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self.floating.pick(args):
            await floating_ips.update(cloud, user_of(picked[0], name), picked[1], {"port_id": None})

    async def _floating_delete(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self.floating.pick(args):
            self.floating.delete_asked.add(picked[1])
            await floating_ips.delete(cloud, user_of(picked[0], name), picked[1])
            self.floating.deleted.add(picked[1])
