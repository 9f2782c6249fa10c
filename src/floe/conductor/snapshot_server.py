"""Workflows that make an image of a server's root disk: its host copies the disk and sends the copy to the image store.

The image is there from the request on. Where it fails, the image is gone and the server is what it was; so it is when
the server is deleted, or the image. Nothing of it stays on the host, whatever dies.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from floe.cloud import snapshots, unmade_images
from floe.cloud.cloud import Cloud
from floe.conductor.failures import Failure
from floe.conductor.fleet import ConductorSettings
from floe.conductor.flow import Flow, Outcome, Work
from floe.conductor.forgotten import told_anew
from floe.conductor.saga import OnHost, Saga, Write
from floe.core.actions import CREATE_BACKUP, CREATE_IMAGE, Begins
from floe.core.given import SnapshotGiven
from floe.core.servers import ServerFault
from floe.core.snapshot_commands import SnapshotTaken, TakeSnapshot
from floe.store import servers as rows
from floe.store.engine import Connection

_MOST_ROTATED = 100
"""Backups that one more makes too many, at most: as many as a project has images, unless it is given more."""


class ServerImages(msgspec.Struct, frozen=True):
    """Both workflows, with what they work on."""

    cloud: Cloud
    settings: ConductorSettings

    def sagas(self) -> Iterator[Saga]:
        """Return their plans."""
        yield self._saga(CREATE_IMAGE)
        yield self._saga(CREATE_BACKUP)

    def _saga(self, begins: Begins) -> Saga:
        return Saga(
            begins=begins,
            steps=(
                OnHost(
                    name="snapshot",
                    at=lambda flow: flow.given(SnapshotGiven).host,
                    command=self.command,
                    returns=SnapshotTaken,
                    seconds=self.settings.snapshot,
                    waits=self.settings.host_wait,
                    anew=self.anew,
                ),
                Write(name="settled", do=self.settle, last=True),
            ),
            fails=self.leave,
        )

    async def command(self, flow: Flow) -> TakeSnapshot:
        """Return what the host is told."""
        action, host = flow.action, flow.given(SnapshotGiven).host
        return TakeSnapshot(
            action_id=action.id,
            server_id=action.subject_id,
            ticket=snapshots.ticket(self.cloud, host, action.id, seconds=self.settings.snapshot),
        )

    async def anew(self, flow: Flow) -> TakeSnapshot:
        """Return the same for a host that has forgotten the guest: with all of it, as its create has it."""
        return await told_anew(self.cloud, flow.given(SnapshotGiven).host, await self.command(flow))

    def settle(self, flow: Flow) -> Work:
        """Say that the image is there; of a backup, delete the oldest of its kind that are too many."""
        action, size, now = flow.action, flow.result(SnapshotTaken).size, self.cloud.clock.now()
        is_backup = bool(flow.given(SnapshotGiven).backup)
        new_ids = [self.cloud.new_id() for _ in range(_MOST_ROTATED if is_backup else 0)]

        def work(conn: Connection) -> Outcome:
            snapshots.finish(conn, action, now)
            gone = snapshots.rotate(conn, action, now, new_ids) if is_backup else 0
            return Outcome(remark=f"{size} bytes" + (f"; {gone} older backups deleted" if gone else ""))

        return work

    def leave(self, flow: Flow, failure: Failure) -> Work:
        """Delete the image, leave the server what it was, and say why."""
        action, now, removal_id = flow.action, self.cloud.clock.now(), self.cloud.new_id()
        details = "\n".join(text for text in (f"host {flow.given(SnapshotGiven).host}", failure.detail) if text)
        fault = ServerFault(code=500, message=failure.message, details=details, created_at=now)

        def work(conn: Connection) -> None:
            unmade_images.give_up(conn, action, now, (removal_id,))
            unmade_images.settle(conn, action.subject_id, now)
            rows.change(conn, action.subject_id, fault=fault)

        return work
