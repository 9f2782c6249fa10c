"""Delete a server: end its guest on every host that may have one, then give back all that its rows hold.

A delete wins over a build: the request cancelled the build's action, so nothing that the build does from then on
is written, and a host that was told to destroy refuses a spawn that comes late. A host that is down cannot be asked:
the server is gone at once, and the host is told when it comes back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

import msgspec
from msgspec.structs import replace

from floe.cloud import server_ports, server_removal
from floe.cloud.cloud import Cloud
from floe.cloud.server_removal import BEGIN, DESTROY, Target, Targets
from floe.conductor.failures import Failure
from floe.conductor.fleet import Fleet
from floe.conductor.flow import Begin, Flow, Outcome, Work
from floe.conductor.saga import Each, Remove, Saga, Write
from floe.core.actions import DELETE
from floe.core.errors import FloeError
from floe.core.messages import Destroy
from floe.core.servers import ERROR, ServerFault
from floe.store import allocations
from floe.store import servers as rows
from floe.store.engine import Connection

_PATIENCE = 60.0
"""Seconds after which a delete that its host cannot do is shown as an error; it goes on trying all the same."""


@dataclass(slots=True)
class _Shown:
    """Whether it was shown that the delete takes long."""

    host: str = ""


class DeleteServer(msgspec.Struct, frozen=True):
    """The workflow `delete`, with what it works on."""

    cloud: Cloud
    fleet: Fleet

    def saga(self) -> Saga:
        """Return its plan; a server that no host ever had takes the first step alone."""
        return Saga(
            begins=DELETE,
            steps=(
                Write(name=BEGIN, do=self.unplug, returns=Targets, after=self.tell_members),
                Each(
                    over=lambda flow: flow.result(Targets).hosts,
                    steps=(
                        Remove(
                            name=DESTROY,
                            at=lambda flow: flow.result(Target).host,
                            command=self.destroy,
                            shown=self.show,
                        ),
                    ),
                ),
                Write(name="gone", do=self.remove, last=True),
            ),
            fails=self.leave,
            after=self.forget,
            renamed={1: {}},
        )

    def unplug(self, flow: Flow) -> Work:
        """Take the ports off their hosts, and note where the guest has to go; without a host, remove it at once.

        It was done with the request already where that was one of this process: see `server_removal.begin`.
        """
        server_id, now = flow.action.subject_id, self.cloud.clock.now()

        def work(conn: Connection) -> Outcome:
            targets = server_removal.unplug(conn, server_id, now)
            if not targets.hosts:
                return replace(_remove(conn, server_id, now), output=targets, last=True)
            host = targets.hosts[0].host
            return Outcome(output=targets, host=host, begins=Begin(name=DESTROY, host=host))

        return work

    async def tell_members(self, _flow: Flow, targets: Targets) -> None:
        """Have hosts told whose rules name its groups."""
        if targets.ports:
            await self.cloud.network_nudge(members=True)

    def destroy(self, flow: Flow) -> Destroy:
        """Return what a host is told."""
        targets = flow.result(Targets)
        return Destroy(
            action_id=flow.action.id,
            server_id=flow.action.subject_id,
            guest_name=targets.guest_name,
            port_ids=targets.ports,
            generation=flow.result(Target).generation,
            attempt=flow.attempt,
        )

    async def show(self, flow: Flow, error: FloeError, waited: float) -> None:
        """Show, once for each host, that it takes longer than it should."""
        host, shown = flow.result(Target).host, flow.known.setdefault(_Shown, _Shown())
        if waited < _PATIENCE or shown.host == host:
            return
        shown.host, now = host, self.cloud.clock.now()
        message = f"Deleting takes longer than it should, and is being tried again: {error}"
        detail = getattr(error, "detail", "")
        fault = ServerFault(code=500, message=message, details=f"host {host}\n{detail}".strip(), created_at=now)
        await flow.alongside(
            lambda conn: rows.change(conn, flow.action.subject_id, vm_state=ERROR, fault=fault, updated_at=now)
        )

    def remove(self, flow: Flow) -> Work:
        """Give back what the rows hold, and make the server gone."""
        server_id, now = flow.action.subject_id, self.cloud.clock.now()
        return lambda conn: _remove(conn, server_id, now)

    def leave(self, flow: Flow, failure: Failure) -> Work:
        """Leave the server in ERROR, to be deleted once more; nothing of it is given back, for it may still run."""
        server_id, now = flow.action.subject_id, self.cloud.clock.now()
        fault = ServerFault(code=500, message=failure.message, details=failure.detail, created_at=now)
        return lambda conn: rows.change(conn, server_id, vm_state=ERROR, task_state=None, fault=fault, updated_at=now)

    def forget(self, flow: Flow) -> None:
        """Forget what was said of its guest; something was given back."""
        self.fleet.power.pop(flow.action.subject_id, None)
        self.fleet.dirty = True


def _remove(conn: Connection, server_id: str, now: datetime) -> Outcome:
    server_ports.release(conn, server_id, now)
    held = allocations.release(conn, server_id, now)
    rows.mark_deleted(conn, server_id, now)
    given = ", ".join(f"{amount} {name}" for item in held for name, amount in item.resources.by_class().items())
    return Outcome(host=held[0].host if held else None, remark=f"given back: {given}" if given else "")
