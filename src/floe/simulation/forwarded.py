"""What users ask for of port forwardings, and of the addresses that they lead to, in a run."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from floe.cloud import port_forwardings, ports, router_interfaces, server_addresses
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.floating_ips import FloatingIP
from floe.core.listing import Listing
from floe.core.port_forwardings import PortForwarding
from floe.core.ports import Port
from floe.simulation.routed import Args, Promised, Routed
from floe.simulation.site import PROJECTS, user_of
from floe.store import floating_ips as floating_rows
from floe.store import port_forwardings as rows
from floe.store import ports as port_rows
from floe.store.engine import Connection

FIRST = 8000
"""Of the outside ports that users choose, of which there are so few that they collide."""


class Forwarded:
    """Users of port forwardings, who have the floating IPs that `routed` has."""

    def __init__(self, routed: Routed) -> None:
        self._routed, self._made = routed, Promised("a port forwarding")
        self._unsure: set[str] = set()
        """Port forwardings that were to be changed, and ports that were to have other addresses."""
        self._led: dict[str, PortForwarding] = {}

    async def ask(self, cloud: Cloud, name: str, args: Args) -> None:
        """Do what is asked for."""
        deeds: dict[str, Callable[[Cloud, str, Args], Awaitable[None]]] = {
            "new": self._new,
            "change": self._change,
            "end": self._end,
            "readdress": self._readdress,
            "more": self._more,
            "less": self._less,
            "port-delete": self._port_delete,
            "leave": self._leave,
        }
        await deeds[args["do"]](cloud, name, args)

    def check(self, conn: Connection) -> list[Violation]:
        """Compare the answers with the rows: what leads to a port that stays as it was stays, too."""
        there = {each.id for each in rows.find(conn, None, Listing())}
        excused = set(self._unsure) | self._made.delete_asked
        for ident, each in self._led.items():
            port = port_rows.get(conn, each.port_id)
            if port is None or port.made or each.port_id in self._unsure:
                excused.add(ident)  # what a server's host is given up with goes, and comes back without it
        return self._made.check(there | (excused - self._made.deleted))

    async def _new(self, cloud: Cloud, name: str, args: Args) -> None:
        picked = await self._idle(cloud, name, args)
        if picked is None or (port_id := await self._behind(cloud, picked[0], args["other"])) is None:
            return
        outside = _outside(args)
        asked = {
            "floating_id": picked[1],
            "port_id": port_id,
            "protocol": "tcp" if args["pick"] % 3 else "udp",
            "external_range": outside,
            "internal_range": outside if args["other"] % 2 else (22 + args["pick"] % 4,) * 2,
        }
        (made,) = await port_forwardings.create(cloud, user_of(picked[0], name), [asked])
        self._made.made.append((picked[0], made.id))
        self._led[made.id] = made

    async def _idle(self, cloud: Cloud, name: str, args: Args) -> tuple[int, str] | None:
        """Return a floating IP that leads to no port, a new one if need be; now and then any."""
        every = await cloud.db.read(lambda conn: floating_rows.find(conn, None, Listing()))
        leading = {each.id for each in every if each.port_id is not None}
        there = self._routed.floating
        idle: list[tuple[int, str]] = [each for each in there.made if each[1] not in leading | there.deleted]
        if args["pick"] % 5 == 0:
            return there.pick(args)
        if not idle:
            await self._routed.ask(cloud, name, {**args, "do": "floating", "pick": 0})
            return there.made[-1]
        return idle[int(args["pick"]) % len(idle)]

    async def _behind(self, cloud: Cloud, project: int, number: int) -> str | None:
        """Return a port of a project, mostly one with a router on its network."""
        listing = Listing(filters={"project_id": [PROJECTS[project]]})
        found = await cloud.db.read(lambda conn: port_rows.find(conn, None, listing))
        joined = {port.network_id for port in found if port.router_id is not None}
        own = [port.id for port in found if not port.kept and port.network_id in joined]
        return own[number % len(own)] if own and number % 5 else await self._routed.port(cloud, project, number)

    async def _change(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self._made.pick(args):
            self._unsure.add(picked[1])
            asked: Args = {"external_range": _outside(args), "internal_port": 22 + args["other"] % 4}
            if args["other"] % 3 == 0:
                asked = {"port_id": await self._routed.port(cloud, picked[0], args["other"] // 3)}
            floating_id = self._led[picked[1]].floating_id
            await port_forwardings.update(cloud, user_of(picked[0], name), (floating_id, picked[1]), asked)

    async def _end(self, cloud: Cloud, name: str, args: Args) -> None:
        if picked := self._made.pick(args):
            self._made.delete_asked.add(picked[1])
            floating_id = self._led[picked[1]].floating_id
            await port_forwardings.delete(cloud, user_of(picked[0], name), (floating_id, picked[1]))
            self._made.deleted.add(picked[1])

    # -- the addresses that they lead to --------------------------------------------------------------

    async def _readdress(self, cloud: Cloud, name: str, args: Args) -> None:
        """Give a port another address, or one more."""
        project = args["project"]
        port_id = await self._routed.port(cloud, project, args["other"])
        port = await cloud.db.read(lambda conn: port_rows.get(conn, port_id or ""))
        if port is not None and port.fixed_ips:
            self._unsure.add(port.id)
            subnet_id, address = port.fixed_ips[0]
            other = subnet_id, f"{address.rpartition('.')[0]}.{2 + args['pick'] % 60}"
            wanted = [port.fixed_ips[0], other] if args["pick"] % 2 else [other]
            await ports.update(cloud, user_of(project, name), port.id, {"fixed_ips": wanted})

    async def _more(self, cloud: Cloud, name: str, args: Args) -> None:
        """Give a server one more address."""
        project = args["project"]
        own = await _of_servers(cloud, project)
        if own:
            _, server_id, network_id, _ = own[args["pick"] % len(own)]
            await server_addresses.add_fixed(cloud, user_of(project, name), server_id, network_id)

    async def _less(self, cloud: Cloud, name: str, args: Args) -> None:
        """Take an address from a server."""
        project = args["project"]
        own = await _of_servers(cloud, project)
        if own:
            port_id, server_id, _, address = own[args["pick"] % len(own)]
            self._unsure.add(port_id)
            await server_addresses.remove_fixed(cloud, user_of(project, name), server_id, address)

    async def _port_delete(self, cloud: Cloud, name: str, args: Args) -> None:
        port_id = await self._routed.port(cloud, args["project"], args["pick"])
        if port_id is not None:
            await ports.delete(cloud, user_of(args["project"], name), port_id)

    async def _leave(self, cloud: Cloud, name: str, args: Args) -> None:
        """Take the router of a port forwarding off the network that it leads to."""
        if picked := self._made.pick(args):
            to, user = self._led[picked[1]], user_of(picked[0], name)

            def read(conn: Connection) -> tuple[FloatingIP | None, Port | None]:
                return floating_rows.get(conn, to.floating_id), port_rows.get(conn, to.port_id)

            floating, port = await cloud.db.read(read)
            if floating is not None and floating.router_id is not None and port is not None and port.fixed_ips:
                named = {"subnet_id": port.fixed_ips[0][0]}
                await router_interfaces.remove(cloud, user, floating.router_id, named)


def _outside(args: Args) -> tuple[int, int]:
    first = FIRST + args["pick"] % 5
    return first, first + args["other"] % 3


async def _of_servers(cloud: Cloud, project: int) -> list[tuple[str, str, str, str]]:
    """Return the addresses that servers of a project have: port, server, network and address of each."""
    listing = Listing(filters={"project_id": [PROJECTS[project]]})
    found = await cloud.db.read(lambda conn: port_rows.find(conn, None, listing))
    return [
        (port.id, port.server_id, port.network_id, address)
        for port in found
        if port.server_id is not None
        for _, address in port.fixed_ips
    ]
