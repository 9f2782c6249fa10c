"""Workflows that give a guest a NIC and take one from it, while it runs or for its next start.

The request has noted the port; its host is told, and the row says then what became of it. Where it fails, the server
has the NICs that it had. A host that is down is told when it is back.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
from msgspec.structs import replace

from floe.cloud import host_networks, server_interfaces, server_ports
from floe.cloud.cloud import Cloud
from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.flow import Flow, Outcome, Work
from floe.conductor.forgotten import guest_as_made
from floe.conductor.saga import OnHost, Saga, Write
from floe.core.actions import ATTACH_INTERFACE, DETACH_INTERFACE
from floe.core.given import NicGiven
from floe.core.messages import ChangeNics, NicsChanged
from floe.store.engine import Connection

_PATIENCE = 90.0
"""Seconds that a guest has to let go of a NIC."""


class GuestInterfaces(msgspec.Struct, frozen=True):
    """Both workflows, with what they work on."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings

    def sagas(self) -> Iterator[Saga]:
        """Return their plans."""
        yield Saga(
            begins=ATTACH_INTERFACE,
            steps=(self._told("attach"), Write(name="attached", do=self.activate, last=True)),
            fails=lambda flow, _failure: self.let_go(flow),
        )
        yield Saga(
            begins=DETACH_INTERFACE,
            steps=(self._told("detach"), Write(name="detached", do=self.let_go, last=True)),
            fails=self.keep,
        )

    def _told(self, name: str) -> OnHost:
        return OnHost(
            name=name,
            at=lambda flow: flow.given(NicGiven).host,
            command=self.command,
            returns=NicsChanged,
            seconds=self.settings.power,
            waits=self.settings.host_wait,
            anew=self.anew,
        )

    async def command(self, flow: Flow) -> ChangeNics:
        """Return what the host is told."""
        return await self.cloud.db.read(lambda conn: self._command(conn, flow))

    async def anew(self, flow: Flow) -> ChangeNics:
        """Return the same for a host that has forgotten the guest: with all of it, and all its ports."""
        host, server_id = flow.given(NicGiven).host, flow.action.subject_id
        now, domain = self.cloud.clock.now(), self.cloud.settings.dns_domain

        def read(conn: Connection) -> ChangeNics:
            guest, network = guest_as_made(conn, server_id, host, domain, now)
            return replace(self._command(conn, flow), guest=guest, network=network)

        return await self.cloud.db.read(read)

    def _command(self, conn: Connection, flow: Flow) -> ChangeNics:
        given, attach = flow.given(NicGiven), flow.action.kind == ATTACH_INTERFACE.kind
        wanted = [given.port_id] if attach else []
        return ChangeNics(
            action_id=flow.action.id,
            server_id=flow.action.subject_id,
            attach=tuple(wanted),
            detach=() if attach else (given.port_id,),
            network=host_networks.part(conn, given.host, wanted, self.cloud.settings.dns_domain),
            patience=_PATIENCE,
        )

    def activate(self, flow: Flow) -> Work:
        """Say that the port carries packets."""
        server_id = flow.action.subject_id

        def work(conn: Connection) -> Outcome:
            server_ports.activate(conn, server_id)
            return Outcome(remark="the guest has it")

        return work

    def let_go(self, flow: Flow) -> Work:
        """Have the port be the server's no more."""
        server_id, port_id, now = flow.action.subject_id, flow.given(NicGiven).port_id, self.cloud.clock.now()
        return lambda conn: server_interfaces.let_go(conn, server_id, port_id, now)

    def keep(self, flow: Flow, _failure: Failure) -> Work:
        """Have the port on its host again."""
        server_id, port_id, now = flow.action.subject_id, flow.given(NicGiven).port_id, self.cloud.clock.now()
        return lambda conn: server_interfaces.keep(conn, server_id, port_id, now)
