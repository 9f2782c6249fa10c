"""Delete a server: end its guest on every host that may have one, then give back all that its rows hold.

A delete wins over a build: the request cancelled the build's action, so nothing that the build does from then on
is written, and a host that was told to destroy refuses a spawn that comes late. A host that is down cannot be asked:
the server is gone at once, and the host is told when it comes back.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace

import msgspec

from floe.cloud import server_ports
from floe.cloud.cloud import Cloud
from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.workflow import Begin, Flow, Outcome, Workflow
from floe.core.errors import HostFailure, Unavailable
from floe.core.messages import Destroy, Destroyed
from floe.core.servers import ERROR, ServerFault
from floe.store import actions, allocations
from floe.store import ports as port_rows
from floe.store import servers as rows
from floe.store.engine import Connection

log = logging.getLogger(__name__)

_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
_GRACE_STEP = 0.1
_PATIENCE = 60.0
"""Seconds after which a delete that its host cannot do is shown as an error; it goes on trying all the same."""


@dataclass(frozen=True, slots=True)
class Target:
    """A host to destroy the guest on, and the generation of its network without the server's ports."""

    host: str
    generation: int


@dataclass(frozen=True, slots=True)
class Targets:
    """Where the guest may be."""

    guest_name: str
    ports: tuple[str, ...] = ()
    hosts: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True)
class DeleteServer:
    """The workflow `delete`, with what it works on."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings

    def workflow(self) -> Workflow:
        """Return its definition."""
        return Workflow(kind="delete", run=self.run, failed=self.failed)

    async def run(self, flow: Flow) -> None:
        """Delete the server; a server that no host ever had takes one transaction."""
        server_id = flow.action.subject_id
        recorded = flow.recorded("begin")
        if recorded is None:
            recorded = await flow.transaction("begin", lambda conn: self._begin(conn, server_id))
            if flow.closed:
                return
        targets = msgspec.convert(recorded, Targets)
        if targets.ports:
            self.cloud.network_nudge()  # hosts whose rules name its groups
        for target in targets.hosts:
            await self._destroy(flow, targets, target)
        await flow.transaction("gone", lambda conn: self._remove(conn, server_id), last=True)
        self.fleet.power.pop(server_id, None)

    def _targets(self, conn: Connection, server_id: str) -> Targets:
        server = rows.get(conn, server_id)
        if server is None:
            return Targets("")
        hosts = set(actions.hosts_touched(conn, server_id))
        if server.host:
            hosts.add(server.host)
        ports = tuple(port.id for port in port_rows.of_server(conn, server_id))
        return Targets(server.guest_name, ports, tuple(Target(host, 0) for host in sorted(hosts)))

    def _begin(self, conn: Connection, server_id: str) -> Outcome:
        """Take the ports off their hosts, and note where the guest has to go; without a host, remove it at once."""
        targets = self._targets(conn, server_id)
        if not targets.hosts:
            return replace(self._remove(conn, server_id), last=True)
        generations = server_ports.unplug(conn, server_id)
        targets = Targets(
            targets.guest_name,
            targets.ports,
            tuple(Target(target.host, generations.get(target.host, 0)) for target in targets.hosts),
        )
        first = targets.hosts[0].host
        return Outcome(
            output=msgspec.to_builtins(targets),
            host=first,
            begins=Begin(name="destroy", host=first),
        )

    async def _destroy(self, flow: Flow, targets: Targets, target: Target) -> None:
        command = Destroy(
            action_id=flow.action.id,
            server_id=flow.action.subject_id,
            guest_name=targets.guest_name,
            port_ids=targets.ports,
            generation=target.generation,
        )

        async def call() -> Destroyed:
            waited, wait, shown = 0.0, _FIRST_WAIT, False
            while True:
                try:
                    return await self.fleet.command(
                        target.host,
                        command,
                        returns=Destroyed,
                        seconds=self.settings.destroy,
                        pause=flow.pause,
                        recovered=flow.recovered,
                    )
                except Unavailable as error:
                    if self.fleet.awaited(target.host) and waited < self.settings.start_grace:
                        await flow.pause(_GRACE_STEP)
                        waited += _GRACE_STEP
                        continue
                    if not self.fleet.alive(target.host):
                        log.warning(
                            "server %s is deleted without host %s, which is down", command.server_id, target.host
                        )
                        flow.recovered(f"host {target.host} is down; it is told to destroy the guest when it is back")
                        self.fleet.owed.add(target.host)
                        return Destroyed()
                    failure: Exception = error
                except HostFailure as error:
                    failure = error
                log.warning("server %s: host %s cannot destroy it yet: %s", command.server_id, target.host, failure)
                if waited >= _PATIENCE and not shown:
                    await self._show(flow, target.host, failure)
                    shown = True
                await flow.pause(wait)
                waited, wait = waited + wait, min(wait * 2, _LONGEST_WAIT)
                if not flow.mine():
                    await flow.renew()  # raises Fenced

        await flow.effect("destroy", call, returns=Destroyed, host=target.host, steps=lambda destroyed: destroyed.steps)

    async def _show(self, flow: Flow, host: str, error: Exception) -> None:
        now = self.cloud.clock.now()
        message = f"Deleting takes longer than it should, and is being tried again: {error}"
        detail = getattr(error, "detail", "")
        fault = ServerFault(code=500, message=message, details=f"host {host}\n{detail}".strip(), created_at=now)

        def show(conn: Connection) -> None:
            rows.change(conn, flow.action.subject_id, vm_state=ERROR, fault=fault, updated_at=now)

        await flow.alongside(show)

    def _remove(self, conn: Connection, server_id: str) -> Outcome:
        now = self.cloud.clock.now()
        server_ports.release(conn, server_id)
        held = allocations.release(conn, server_id, now)
        self.fleet.dirty = True
        rows.mark_deleted(conn, server_id, now)
        given = ", ".join(f"{amount} {name}" for item in held for name, amount in item.resources.by_class().items())
        return Outcome(host=held[0].host if held else None, remark=f"given back: {given}" if given else "")

    def failed(self, conn: Connection, flow: Flow, failure: Failure) -> None:
        """Leave the server in ERROR, to be deleted once more; nothing of it is given back, for it may still run."""
        now = self.cloud.clock.now()
        fault = ServerFault(code=500, message=failure.message, details=failure.detail, created_at=now)
        rows.change(conn, flow.action.subject_id, vm_state=ERROR, task_state=None, fault=fault, updated_at=now)
