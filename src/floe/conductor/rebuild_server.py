"""Rebuild a server: its host makes it other disks and starts it from them, or leaves it as it was.

The row is what was asked for since the request. Where the host could not do it, the row is what it was again; where
nobody knows whether it did, the server is in ERROR, to be rebuilt once more.
"""

from __future__ import annotations

import contextlib
from typing import Any

import msgspec
from msgspec.structs import replace

from floe.cloud import guest_metadata, host_images, image_proofs, sealing, server_rebuild
from floe.cloud.cloud import Cloud
from floe.cloud.new_servers import made_of
from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.flow import Begin, Flow, Outcome, Work
from floe.conductor.forgotten import catch_up, surroundings
from floe.conductor.guest_spec import guest_spec
from floe.conductor.saga import Choice, OnHost, Saga, Write
from floe.core import server_states
from floe.core.actions import REBUILD
from floe.core.errors import NotFound, NoValidHost, StoreUnavailable, Unavailable
from floe.core.given import CreateSecrets, RebuildGiven
from floe.core.hosts import Host
from floe.core.messages import PowerChanged
from floe.core.server_rebuild import Rebuild
from floe.core.servers import ERROR, Server, ServerFault
from floe.scheduler.select import unfit
from floe.scheduler.spec import spec_of
from floe.store import hosts
from floe.store import servers as rows
from floe.store.engine import Connection

_UNKNOWN = "Nobody knows whether the guest was made anew; rebuild the server once more. "


class Fits(msgspec.Struct, frozen=True):
    """The host that the server is on can run it."""

    host: str


class RebuildServer(msgspec.Struct, frozen=True):
    """The workflow `rebuild`, with what it works on."""

    cloud: Cloud
    fleet: Fleet
    settings: ConductorSettings

    def saga(self) -> Saga:
        """Return its plan."""
        return Saga(
            begins=REBUILD,
            steps=(
                Choice(name="fits", by=self.fits, returns=Fits),
                OnHost(
                    name="rebuild",
                    at=lambda flow: flow.given(RebuildGiven).host,
                    command=self.command,
                    returns=PowerChanged,
                    seconds=self.settings.spawn,
                    waits=self.settings.host_wait,
                    behind=catch_up,
                ),
                Write(name="rebuilt", do=self.settle, last=True),
            ),
            fails=self.leave,
            after=lambda flow: self.tell(flow) if flow.failure() is not None else None,
        )

    async def fits(self, flow: Flow) -> Any:
        """See that the server's host has what the image asks for; room it has taken already. Raises NoValidHost."""
        host, server_id = flow.given(RebuildGiven).host, flow.action.subject_id
        server = await self.cloud.db.read(lambda conn: rows.get(conn, server_id))
        if server is None:
            raise NotFound("server", server_id)
        await self.fleet.refresh((host,))
        why = unfit(spec_of(server), self.fleet.table, host)
        if why is not None:
            raise NoValidHost(f"No valid host: the server stays on its host, and that does not do: {why}.", {host: why})
        outcome = Outcome(output={"host": host}, host=host, begins=Begin(name="rebuild", host=host))
        return await flow.transaction("fits", lambda _conn: outcome)

    async def command(self, flow: Flow) -> Rebuild:
        """Return what the host is told: all that the guest is to be, and all that it was."""
        given, server_id = flow.given(RebuildGiven), flow.action.subject_id
        secrets = sealing.opened(self.cloud, flow.action, CreateSecrets)
        now, domain = self.cloud.clock.now(), self.cloud.settings.dns_domain

        def read(conn: Connection) -> tuple[Rebuild, Server]:
            server = rows.get(conn, server_id)
            if server is None:
                raise NotFound("server", server_id)
            network, zone = surroundings(conn, server_id, given.host, domain, now)
            guest = guest_spec(replace(server, rescue=None), given.makes, made_of(conn, server), secrets, network, zone)
            former = server_rebuild.former(server, given)
            before = guest_spec(former, given.disks, made_of(conn, former), CreateSecrets(), network, zone)
            command = Rebuild(
                action_id=flow.action.id,
                server_id=server_id,
                wanted=given.wanted,
                patience=given.patience,
                guest=guest,
                before=before,
                network=network,
            )
            return command, server

        command, server = await self.cloud.db.read(read)
        trusted = server.trusted_certificates
        guest = await image_proofs.proven(self.cloud, command.guest, trusted, "image", "kernel", "ramdisk")
        tickets = host_images.tickets(self.cloud, given.host, guest, seconds=self.settings.spawn)
        return replace(command, guest=guest, tickets=tickets)

    def settle(self, flow: Flow) -> Work:
        """Say what the guest is now; that the server was in ERROR is over."""
        server_id, now, power = flow.action.subject_id, self.cloud.clock.now(), flow.result(PowerChanged).power_state

        def work(conn: Connection) -> Outcome:
            rows.change(
                conn,
                server_id,
                vm_state=server_states.state_of(power),
                task_state=None,
                power_state=int(power),
                rescue=None,
                fault=None,  # and `launched_at` stays: the project has used it since then
                updated_at=now,
            )
            return Outcome(remark=f"the guest is {power.name.lower()}")

        return work

    async def tell(self, flow: Flow) -> None:
        """Have the guest read what its row says again: while this waited, its host was told what it was to be."""
        host, server_id = flow.given(RebuildGiven).host, flow.action.subject_id

        def read(conn: Connection) -> tuple[Server | None, Host | None]:
            return rows.get(conn, server_id), hosts.get(conn, host)

        with contextlib.suppress(StoreUnavailable):  # the host is compared with the rows later
            server, on = await self.cloud.db.read(read)
            if server is not None:
                await guest_metadata.tell(self.cloud, server, on.zone if on is not None else "")

    def leave(self, flow: Flow, failure: Failure) -> Work:
        """Leave the server what it was, and say why; or in ERROR, where its host may have made it anew."""
        given, server_id, now = flow.given(RebuildGiven), flow.action.subject_id, self.cloud.clock.now()
        unknown = Unavailable.kind in {failure.kind, failure.cause}
        details = "\n".join(text for text in (f"host {failure.host or given.host}", failure.detail) if text)
        message = (_UNKNOWN if failure.kind == Unavailable.kind else "") + failure.message
        fault = ServerFault(code=500, message=message, details=details, created_at=now)

        def work(conn: Connection) -> None:
            server = rows.get(conn, server_id)
            if server is None:
                return
            if unknown:
                rows.change(conn, server_id, vm_state=ERROR, task_state=None, fault=fault, updated_at=now)
            else:
                server_rebuild.restore(conn, server, given, now, task_state=None, fault=fault)

        return work
