"""How a move ends: the half that a server has left is removed, or it goes back there and the other one is.

It goes forward only: a host that is down owes the removal, as it does for a delete.
"""

from __future__ import annotations

from typing import Any

import msgspec

from floe.cloud import host_networks, server_ports, server_resize
from floe.cloud.cloud import Cloud
from floe.cloud.server_removal import BEGIN, DESTROY
from floe.conductor.fleet import ConductorSettings
from floe.conductor.flow import Begin, Flow, Outcome, Work
from floe.conductor.forgotten import catch_up, guest_as_made
from floe.conductor.saga import Node, OnHost, Remove, Write
from floe.core.disks import ROOT, Disk
from floe.core.errors import FloeError, NotFound
from floe.core.given import ResizeGiven
from floe.core.messages import ChangePower, Destroy, PowerChanged
from floe.store import server_disks
from floe.store import servers as rows
from floe.store.engine import Connection


class Leaves(msgspec.Struct, frozen=True):
    """The host that has the half which goes, which make of its root disk that is, and of which generation its network.

    Its guest goes by a name, and has ports.
    """

    host: str
    guest_name: str
    make: int
    generation: int
    ports: tuple[str, ...] = ()


class MoveEnd(msgspec.Struct, frozen=True):
    """What ends moves, for the workflows that do."""

    cloud: Cloud
    settings: ConductorSettings

    def leave(self) -> tuple[Node, ...]:
        """Return the steps that have a host remove the half that is no more to be: what the server was."""
        return (Write(name=BEGIN, do=self.begin_to_leave, returns=Leaves), self._removed())

    def back(self) -> tuple[Node, ...]:
        """Return the steps that have a server be again what and where it was: the other half is removed."""
        return (
            Write(name=BEGIN, do=self.begin_to_go_back, returns=Leaves, after=self.tell_all),
            self._removed(),
            OnHost(
                name="start",
                at=lambda flow: flow.given(ResizeGiven).left,
                command=self.start,
                returns=PowerChanged,
                seconds=self.settings.power,
                waits=self.settings.host_wait,
                behind=catch_up,
            ),
        )

    def _removed(self) -> Remove:
        return Remove(name=DESTROY, at=lambda flow: flow.result(Leaves).host, command=_destroy, shown=_bear)

    def begin_to_leave(self, flow: Flow) -> Work:
        """Note what goes: the half on the host that the server has left."""
        given, server_id, now = flow.given(ResizeGiven), flow.action.subject_id, self.cloud.clock.now()

        def work(conn: Connection) -> Outcome:
            server = rows.get(conn, server_id)
            if server is None or server.former is None:
                raise NotFound("server", server_id)
            generation = host_networks.advance(conn, given.left, now)
            leaves = Leaves(given.left, server.guest_name, _make(server.former.disks), generation)
            output: Any = msgspec.to_builtins(leaves)
            return Outcome(output=output, host=given.left, begins=Begin(name=DESTROY, host=given.left))

        return work

    def begin_to_go_back(self, flow: Flow) -> Work:
        """Have the server be what and where it was, and note what goes: the half on the host that it is on."""
        given, server_id, now = flow.given(ResizeGiven), flow.action.subject_id, self.cloud.clock.now()

        def work(conn: Connection) -> Outcome:
            server = rows.get(conn, server_id)
            if server is None or server.former is None or server.host is None:
                raise NotFound("server", server_id)
            make = _make(server_disks.of_server(conn, server))
            unplugged = server_ports.unplug(conn, server_id, now)
            server_resize.bring_home(conn, server, given.left, now)
            generation = unplugged.generations.get(server.host, 0)
            leaves = Leaves(server.host, server.guest_name, make, generation, unplugged.ports)
            output: Any = msgspec.to_builtins(leaves)
            return Outcome(output=output, host=server.host, begins=Begin(name=DESTROY, host=server.host))

        return work

    async def tell_all(self, _flow: Flow, leaves: Leaves) -> None:
        """Have hosts told whose rules name its groups."""
        if leaves.ports:
            await self.cloud.network_nudge(members=True)

    async def start(self, flow: Flow) -> ChangePower:
        """Return what the host is told that has the guest again, with its ports, which were elsewhere."""
        given, server_id = flow.given(ResizeGiven), flow.action.subject_id
        now, domain = self.cloud.clock.now(), self.cloud.settings.dns_domain
        guest, network = await self.cloud.db.read(lambda conn: guest_as_made(conn, server_id, given.left, domain, now))
        return ChangePower(
            action_id=flow.action.id, server_id=server_id, wanted=given.wanted, guest=guest, network=network
        )


def _destroy(flow: Flow) -> Destroy:
    """Return what the host of the half that goes is told; the server may come back there, by a later action."""
    leaves = flow.result(Leaves)
    return Destroy(
        action_id=flow.action.id,
        server_id=flow.action.subject_id,
        guest_name=leaves.guest_name,
        port_ids=leaves.ports,
        generation=leaves.generation,
        final=False,
        attempt=flow.attempt,
        make=leaves.make,
    )


async def _bear(_flow: Flow, _error: FloeError, _waited: float) -> None:
    """Go on trying: the server's task_state says what is being done."""


def _make(disks: tuple[Disk, ...]) -> int:
    return next((disk.make for disk in disks if disk.role == ROOT), 0)
