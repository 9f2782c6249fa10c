"""Rescue a server and have it back: its host boots another disk with its own beside it, and its own alone again.

Its row says so once the host has done it; where the host could not, the server is what it was. Where nobody knows, it
is in ERROR, from which both may be asked for again.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec.structs import replace

from floe.cloud import host_images, image_proofs, sealing
from floe.cloud.cloud import Cloud
from floe.cloud.new_servers import made_of
from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.flow import Begin, Flow, Outcome, Work
from floe.conductor.forgotten import catch_up, surroundings
from floe.conductor.guest_spec import guest_spec
from floe.conductor.saga import Choice, OnHost, Saga, Write
from floe.core import server_states
from floe.core.actions import RESCUE_SERVER, UNRESCUE_SERVER
from floe.core.errors import NotFound, NoValidHost, Unavailable
from floe.core.given import CreateSecrets, RescueGiven
from floe.core.messages import PowerChanged
from floe.core.server_rebuild import Rebuild
from floe.core.servers import ERROR, Server, ServerFault
from floe.scheduler.select import unfit
from floe.scheduler.spec import spec_of
from floe.store import server_disks
from floe.store import servers as rows
from floe.store.engine import Connection

_UNKNOWN = "Nobody knows whether the guest is rescued; rescue the server once more, or unrescue it. "


class RescueFits(msgspec.Struct, frozen=True):
    """The host that the server is on can run the rescue image."""

    host: str


class RescueServer(msgspec.Struct, frozen=True):
    """The workflows `rescue` and `unrescue`, with what they work on."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings

    def sagas(self) -> Iterator[Saga]:
        """Return the plans of both."""
        yield Saga(
            begins=RESCUE_SERVER,
            steps=(
                Choice(name="fits", by=self.fits, returns=RescueFits),
                self._on_host(RESCUE_SERVER.kind),
                Write(name="rescued", do=self.settle, last=True),
            ),
            fails=self.leave,
        )
        yield Saga(
            begins=UNRESCUE_SERVER,
            steps=(self._on_host(UNRESCUE_SERVER.kind), Write(name="unrescued", do=self.settle, last=True)),
            fails=self.leave,
        )

    def _on_host(self, name: str) -> OnHost:
        return OnHost(
            name=name,
            at=lambda flow: flow.given(RescueGiven).host,
            command=self.command,
            returns=PowerChanged,
            seconds=self.settings.spawn,
            waits=self.settings.host_wait,
            behind=catch_up,
        )

    async def fits(self, flow: Flow) -> Any:
        """See that the server's host has what the rescue image asks for. Raises NoValidHost."""
        given, server_id = flow.given(RescueGiven), flow.action.subject_id
        server = await self.cloud.db.read(lambda conn: rows.get(conn, server_id))
        if server is None:
            raise NotFound("server", server_id)
        await self.fleet.refresh((given.host,))
        asked = replace(server, image_properties=given.rescue.properties)
        why = unfit(spec_of(asked), self.fleet.table, given.host)
        if why is not None:
            raise NoValidHost(
                f"No valid host: the server is rescued on its host, and that does not do: {why}.", {given.host: why}
            )
        begins = Begin(name=RESCUE_SERVER.kind, host=given.host)
        outcome = Outcome(output={"host": given.host}, host=given.host, begins=begins)
        return await flow.transaction("fits", lambda _conn: outcome)

    async def command(self, flow: Flow) -> Rebuild:
        """Return what the host is told: all that the guest is to be, and all that it was."""
        given, server_id = flow.given(RescueGiven), flow.action.subject_id
        secrets = sealing.opened(self.cloud, flow.action, CreateSecrets)
        now, domain = self.cloud.clock.now(), self.cloud.settings.dns_domain
        rescuing = flow.action.kind == RESCUE_SERVER.kind

        def read(conn: Connection) -> tuple[Rebuild, Server]:
            server = rows.get(conn, server_id)
            if server is None:
                raise NotFound("server", server_id)
            network, zone = surroundings(conn, server_id, given.host, domain, now)
            disks, images = server_disks.of_server(conn, server), made_of(conn, server)
            next_one = replace(server, rescue=given.rescue if rescuing else None)
            command = Rebuild(
                action_id=flow.action.id,
                server_id=server_id,
                wanted=given.wanted,
                patience=given.patience,
                guest=guest_spec(next_one, disks, images, secrets, network, zone),
                before=guest_spec(server, disks, images, CreateSecrets(), network, zone),
                network=network,
            )
            return command, server

        command, server = await self.cloud.db.read(read)
        if not rescuing:
            return command
        trusted = server.trusted_certificates
        guest = await image_proofs.proven(self.cloud, command.guest, trusted, "rescue", "kernel", "ramdisk")
        tickets = host_images.tickets(self.cloud, given.host, guest, seconds=self.settings.spawn)
        return replace(command, guest=guest, tickets=tickets)

    def settle(self, flow: Flow) -> Work:
        """Say what the guest is now; that the server was in ERROR is over."""
        server_id, now, power = flow.action.subject_id, self.cloud.clock.now(), flow.result(PowerChanged).power_state
        rescue = flow.given(RescueGiven).rescue if flow.action.kind == RESCUE_SERVER.kind else None

        def work(conn: Connection) -> Outcome:
            rows.change(
                conn,
                server_id,
                vm_state=server_states.state_of(power, rescued=rescue is not None),
                task_state=None,
                power_state=int(power),
                rescue=rescue,
                fault=None,
                updated_at=now,
            )
            return Outcome(remark=f"the guest is {power.name.lower()}")

        return work

    def leave(self, flow: Flow, failure: Failure) -> Work:
        """Leave the server what it was, and say why; or in ERROR, where its host may have done it."""
        given, server_id, now = flow.given(RescueGiven), flow.action.subject_id, self.cloud.clock.now()
        unknown = Unavailable.kind in {failure.kind, failure.cause}
        details = "\n".join(text for text in (f"host {failure.host or given.host}", failure.detail) if text)
        message = (_UNKNOWN if unknown else "") + failure.message
        fault = ServerFault(code=500, message=message, details=details, created_at=now)
        more: dict[str, Any] = {"vm_state": ERROR, "rescue": given.rescue} if unknown else {}
        return lambda conn: rows.change(conn, server_id, task_state=None, fault=fault, updated_at=now, **more)
