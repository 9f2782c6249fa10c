"""What is asked for in a run of gateways to several external networks, of their addresses, and of extra routes."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from floe.cloud import floating_ips, networks, routers, subnets
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.listing import Listing
from floe.core.routers import Gateway, Route
from floe.simulation.routed import Args, Routed
from floe.simulation.site import operator_of, user_of
from floe.store import routers as rows
from floe.store.engine import Connection

ELSEWHERE = ("198.18.0.0/29", "198.18.0.16/29")
"""The subnets of the second external network: a gateway may have addresses of both."""


class Outside:
    """Users and operators of ways out, of the routers that `routed` has."""

    def __init__(self, routed: Routed) -> None:
        self._routed = routed
        self._asked: list[tuple[str, Route]] = []
        """The routes that were asked for, each with its router."""
        self._promised: set[tuple[str, Route]] = set()
        self._ended: set[tuple[str, Route]] = set()
        """Those whose end was asked for, whether they were there or not yet."""

    async def ask(self, cloud: Cloud, name: str, args: Args) -> None:
        """Do what is asked for."""
        if self._routed.external is None:
            await self._routed.open(cloud, name)
        if self._routed.elsewhere is None:
            await self._open(cloud, name)
        deeds: dict[str, Callable[[Cloud, str, Args], Awaitable[None]]] = {
            "move": self._move,
            "several": self._several,
            "floating": self._floating,
            "add-route": self._add_route,
            "drop-route": self._drop_route,
        }
        await deeds[args["do"]](cloud, name, args)

    def check(self, conn: Connection) -> list[Violation]:
        """Compare the answers with the rows: each route is added by one request, and goes by another alone."""
        there = {router.id: router.routes for router in rows.find(conn, None, Listing())}
        return [
            Violation("a route was promised and is not there", router_id, str(route))
            for router_id, route in sorted(self._promised - self._ended)
            if router_id in there and route not in there[router_id]
        ]

    async def _open(self, cloud: Cloud, name: str) -> None:
        """Make the second external network; when that was not answered it is there, perhaps, under its name."""
        operator = operator_of(0, name)
        found = await networks.find(cloud, operator, Listing(filters={"name": ["elsewhere"]}))
        found = found or await networks.create(cloud, operator, [{"name": "elsewhere", "external": True}])
        if not found[0].subnet_ids:
            asked = [{"network_id": found[0].id, "cidr": cidr, "dhcp": False} for cidr in ELSEWHERE]
            await subnets.create(cloud, operator, asked)
        self._routed.elsewhere = found[0].id

    async def _move(self, cloud: Cloud, name: str, args: Args) -> None:
        """Have a router lead out by the other network, or by the first."""
        if picked := self._routed.routers.pick(args):
            to = self._routed.elsewhere if args["other"] % 3 else self._routed.external
            gateway = Gateway(network_id=to or "")
            await routers.update(cloud, user_of(picked[0], name), picked[1], {"gateway": gateway})

    async def _several(self, cloud: Cloud, name: str, args: Args) -> None:
        """Have a router lead out by addresses of both subnets, or by one that is named; with SNAT, or without."""
        if picked := self._routed.routers.pick(args):
            operator, elsewhere = operator_of(picked[0], name), self._routed.elsewhere or ""
            below = await subnets.find(cloud, operator, Listing(filters={"network_id": [elsewhere]}))
            both = [(subnet.id, None) for subnet in below]
            named = [(None, f"198.18.0.{2 + args['other'] % 5}")]
            fixed_ips = both if args["pick"] % 3 else named
            gateway = Gateway(network_id=elsewhere, snat=args["other"] % 2 > 0, fixed_ips=fixed_ips)
            await routers.update(cloud, operator, picked[1], {"gateway": gateway})

    async def _floating(self, cloud: Cloud, name: str, args: Args) -> None:
        """Have a floating IP of the second network, which leads somewhere, or is to be led or to forward."""
        project = args["project"]
        asked: Args = {"network_id": self._routed.elsewhere, "description": name}
        if args["pick"] % 3 == 0:
            asked["port_id"] = await self._routed.port(cloud, project, args["other"])
        (made,) = await floating_ips.create(cloud, user_of(project, name), [asked])
        self._routed.floating.made.append((project, made.id))

    async def _add_route(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self._routed.routers.pick(args):
            legs = await cloud.db.read(lambda conn: rows.interfaces(conn, [picked[1]]))
            if legs:
                hop = f"{legs[args['other'] % len(legs)].cidr.rpartition('.')[0]}.{2 + args['other'] % 5}"
                route = f"192.0.2.{128 + len(self._asked) % 100}/32", hop
                self._asked.append((picked[1], route))
                await routers.add_routes(cloud, user_of(picked[0], name), picked[1], {"routes": [route]})
                self._promised.add((picked[1], route))

    async def _drop_route(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self._routed.routers.pick(args):
            own = [route for router_id, route in self._asked if router_id == picked[1]]
            if own:
                route = own[args["other"] % len(own)]
                self._ended.add((picked[1], route))
                await routers.remove_routes(cloud, user_of(picked[0], name), picked[1], {"routes": [route]})
