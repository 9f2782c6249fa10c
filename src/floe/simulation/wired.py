"""Users who give NICs to servers that are there and take them back, and what guests, hosts and rows have of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

import msgspec

from floe.cloud import server_interfaces
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.actions import ATTACH_INTERFACE, DETACH_INTERFACE, SUCCEEDED
from floe.core.errors import FloeError
from floe.core.given import NicGiven
from floe.core.guests import PowerState
from floe.core.nics import PlannedNic
from floe.core.ports import Port
from floe.core.server_states import BUILT
from floe.core.servers import Server
from floe.simulation.machines import Machine
from floe.simulation.routed import Args, Routed
from floe.simulation.site import Site, user_of
from floe.store import ports as port_rows
from floe.store import servers as rows
from floe.store.actions import actions
from floe.store.engine import Connection
from floe.store.servers import servers as table

_ON = frozenset({PowerState.RUNNING, PowerState.PAUSED})


class Wired:
    """Users of NICs; `made` and `ports` are the servers and ports that were made, each with its project."""

    def __init__(
        self,
        routed: Routed,
        site: Site,
        made: Sequence[tuple[int, str]],
        ports: Sequence[tuple[int, str]],
        drop: Callable[[Cloud, str, int, str], Awaitable[None]],
    ) -> None:
        self._routed, self._site, self._made, self._ports, self._drop = routed, site, made, ports, drop
        self._given: dict[str, str] = {}
        """Ports that a server was answered to be given, and the server."""
        self._taken: set[str] = set()
        """Ports that were asked to be taken from their server, whatever the answer."""

    async def ask(self, cloud: Cloud, name: str, args: Args) -> None:
        """Do what is asked for with one of the servers, mostly one that was built."""
        there = await cloud.db.read(lambda conn: [each for each in self._made if _is_built(rows.get(conn, each[1]))])
        servers = there if there and args["other"] % 8 else self._made
        if not servers:
            return
        deeds: dict[str, Callable[[Cloud, str, Args, tuple[int, str]], Awaitable[None]]] = {
            "network": self._network,
            "port": self._port,
            "port-twice": self._port_twice,
            "address": self._address,
            "take": self._take,
            "take-twice": self._take_twice,
            "replace": self._replace,
            "take-and-delete": self._take_and_delete,
        }
        await deeds[args["do"]](cloud, name, args, servers[args["pick"] % len(servers)])

    async def _network(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        await self._give(cloud, name, server, PlannedNic(network_id=self._network_of(server[0], args)))

    async def _address(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        """Ask for one of few addresses, of which some are taken."""
        network_id = self._site.network_ids[server[0]]
        asked = PlannedNic(network_id=network_id, fixed_ip=f"10.233.0.{10 + args['other'] % 20}")
        await self._give(cloud, name, server, asked)

    async def _port(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        if own := [ident for owner, ident in self._ports if owner == server[0]]:
            await self._give(cloud, name, server, PlannedNic(port_id=own[args["other"] % len(own)], made=False))

    async def _port_twice(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        """Ask for one port for two servers at once."""
        others = [each for each in self._made if each[0] == server[0]]
        other = others[args["other"] % len(others)]
        await all_of(self._port(cloud, name, args, server), self._port(cloud, name, args, other))

    async def _give(self, cloud: Cloud, name: str, server: tuple[int, str], asked: PlannedNic) -> str:
        project, server_id = server
        port = await server_interfaces.attach(cloud, user_of(project, name), server_id, asked)
        self._given[port.port_id] = server_id
        return port.port_id

    async def _take(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        """Take a NIC from a server, if it has any: one of the first as well as one that came later."""
        held = await cloud.db.read(lambda conn: port_rows.of_server(conn, server[1]))
        if held:
            port_id = held[args["other"] % len(held)].id
            self._taken.add(port_id)
            await server_interfaces.detach(cloud, user_of(server[0], name), server[1], port_id)

    async def _take_twice(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        await all_of(self._take(cloud, name, args, server), self._take(cloud, name, args, server))

    async def _replace(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        """Give a NIC and take one at once."""
        await all_of(self._network(cloud, name, args, server), self._take(cloud, name, args, server))

    async def _take_and_delete(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        """Take a NIC from a server that is deleted meanwhile."""
        await all_of(self._take(cloud, name, args, server), self._later(cloud, name, args, server))

    async def _later(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        await asyncio.sleep(args["other"] % 4 * 0.03)
        await self._drop(cloud, name, *server)

    def _network_of(self, project: int, args: Args) -> str:
        return self._routed.network(project, args["other"]) or self._site.network_ids[project]

    def check(self, conn: Connection) -> list[Violation]:
        """Compare what became of what was asked for with the rows, when nothing is under way."""
        found = []
        for server_id in sorted(set(self._given.values())):
            server = rows.get(conn, server_id)
            if server is None or server.deleted_at is not None:
                continue
            done = _done(conn, server_id, ATTACH_INTERFACE.kind)
            for port_id in (each for each, of in self._given.items() if of == server_id and each in done):
                port = port_rows.get(conn, port_id)
                if port_id not in self._taken and (port is None or port.server_id != server_id):
                    found.append(Violation("a NIC that a server was given is not there", port_id, server_id))
        return found + [each for row in conn.execute(table.select()) for each in _kept(conn, row.id)]


def _is_built(server: Server | None) -> bool:
    return server is not None and server.launched_at is not None and server.deleted_at is None


def _kept(conn: Connection, server_id: str) -> list[Violation]:
    """Find what a server lost for good and has: what was given to it once more since is its own."""
    again, gone = _done(conn, server_id, ATTACH_INTERFACE.kind), _done(conn, server_id, DETACH_INTERFACE.kind)
    held = {port.id for port in port_rows.of_server(conn, server_id)}
    return [Violation("a NIC that was taken is there", port_id, server_id) for port_id in sorted(gone - again & held)]


def _done(conn: Connection, server_id: str, kind: str) -> set[str]:
    where = actions.c.subject_id == server_id, actions.c.kind == kind, actions.c.state == SUCCEEDED
    return {msgspec.convert(row.input, NicGiven).port_id for row in conn.execute(actions.select().where(*where))}


def miswired(conn: Connection, machines: Mapping[str, Machine]) -> list[Violation]:
    """Find servers whose plan, ports and guest have not the same NICs, and ports that are left of one.

    A guest that its host has forgotten may have until its next start the NICs that it had.
    """
    found = []
    for row in conn.execute(table.select().where(table.c.deleted_at.is_(None))):
        server, ports = rows.get(conn, row.id), port_rows.of_server(conn, row.id)
        if server is None or server.host is None:
            continue
        if not _planned(server, ports):
            what = f"{[nic.port_id or nic.network_id for nic in server.networks]}, {[port.id for port in ports]}"
            found.append(Violation("a server has other ports than NICs", server.id, what))
        machine = machines[server.host]
        if machine.host.guests.get(server.id) in _ON:
            real, wanted = machine.host.nics.get(server.id, set()), {port.id for port in ports}
            if real != wanted and server.id not in machine.forgotten:
                what = f"{server.host}: {sorted(real)}, not {sorted(wanted)}"
                found.append(Violation("a guest has other NICs than its server", server.id, what))
    return found


def _planned(server: Server, ports: Sequence[Port]) -> bool:
    """Say whether the ports of a server are those that it was planned with, in that order."""
    if len(server.networks) != len(ports):
        return False
    return all(
        nic.network_id == port.network_id and nic.port_id in {None, port.id} and nic.made == port.made
        for nic, port in zip(server.networks, ports, strict=True)
    )


def built(conn: Connection, made: Sequence[tuple[int, str]]) -> Iterator[Server]:
    """Give those of some servers that are settled, built and in no ERROR."""
    for _, server_id in made:
        server = rows.get(conn, server_id)
        if server is not None and server.vm_state in BUILT:
            yield server


async def all_of(*requests: Awaitable[None]) -> None:
    """Make requests at the same time; each may be refused, none may fail in another way."""
    for answer in await asyncio.gather(*requests, return_exceptions=True):
        if isinstance(answer, BaseException) and not isinstance(answer, FloeError):
            raise answer
