"""Copies of guests' disks that become images: made beside the disk, sent to the image store, and removed again."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Protocol

import msgspec

from floe.agent.answers import DELETED, failure_of
from floe.agent.disks import is_copied
from floe.agent.guests import GuestBuilder
from floe.agent.image_eviction import ImageEviction
from floe.agent.ledger import Ledger
from floe.agent.power import GuestPower
from floe.agent.steps import Steps
from floe.agent.threads import Offload
from floe.core.errors import HostFailure, Invalid, Unavailable
from floe.core.guests import GuestSpec
from floe.core.image_properties import quiesces
from floe.core.image_tickets import ImageTicket
from floe.core.messages import Failed
from floe.core.snapshot_commands import SnapshotTaken, TakeSnapshot
from floe.hypervisors.protocol import GuestFiles, Hypervisor

log = logging.getLogger(__name__)

_NAME = "snapshot.qcow2"
"""Of the copy, in the guest's folder."""
_TRIES = 12
_FIRST_WAIT, _LONGEST_WAIT = 0.5, 30.0
"""Times that a copy is sent, and seconds between two of them, at first and at last."""


class SnapshotStore(Protocol):
    """Where a host sends the bytes of images that it makes."""

    async def send(self, ticket: ImageTicket, file: Path, size: int, told: Callable[[int], None]) -> None:
        """Send so many bytes of a file, and tell how many were sent; one that is there already is as good.

        Raises Gone where nobody wants it any more, Forbidden, TooLarge, Invalid; Unavailable to be tried again.
        """
        ...


class NoStore:
    """Where a host can send nothing: it sees the files of an API, and knows the address of none."""

    async def send(self, _ticket: ImageTicket, _file: Path, _size: int, _told: Callable[[int], None]) -> None:
        """See `SnapshotStore`."""
        raise HostFailure("This host knows no API to which it could send an image: set images_from.", stage="upload")


class Sending(msgspec.Struct, frozen=True):
    """A copy of a guest's disk on its way to the image store, and for which action, of which disk."""

    what: tuple[str, str]
    work: asyncio.Task[SnapshotTaken]
    steps: Steps

    async def answer(self) -> SnapshotTaken | Failed:
        """Return what becomes of it, to whoever asks and as often."""
        await asyncio.wait({self.work})
        if self.work.cancelled():
            return Failed(kind="gone", message=DELETED, steps=tuple(self.steps.done))
        failure = self.work.exception()
        return self.work.result() if failure is None else failure_of(failure, self.steps)


class GuestSnapshots(msgspec.Struct, frozen=True):
    """Takes snapshots of guests on one host: who has a disk copied holds the server's lock, but not while it is sent.

    `taken` has the latest answer of each server, with its action and disk: a command is repeated as long as it lasts;
    `sending` has what was copied and is not answered yet.
    """

    ledger: Ledger
    builder: GuestBuilder
    power: GuestPower
    hypervisor: Hypervisor
    store: SnapshotStore
    eviction: ImageEviction
    offload: Offload
    sleep: Callable[[float], Awaitable[None]]
    taken: dict[str, tuple[tuple[str, str], SnapshotTaken]] = msgspec.field(default_factory=dict)
    sending: dict[str, Sending] = msgspec.field(default_factory=dict)

    async def copy(
        self, command: TakeSnapshot, steps: Steps, _others_wait: Callable[[], bool]
    ) -> SnapshotTaken | Sending:
        """Copy a guest's disk and begin to send it; however that ends, nothing of it is left here.

        Return the answer where there is one. Raises NotFound, HostFailure.
        """
        server_id, what = command.server_id, _what(command)
        known = self.taken.get(server_id)
        if known is not None and known[0] == what:
            return known[1]
        under_way = self.sending.get(server_id)
        if under_way is not None and under_way.what == what:
            return under_way
        await self.call_off(server_id)
        guest = await self.power.known(command, steps)
        copied = await self._copied(guest, command.role, steps)
        sending = Sending(what, asyncio.ensure_future(self._sent(command, copied, steps)), steps)
        self.sending[server_id] = sending
        return sending

    async def call_off(self, server_id: str) -> None:
        """End what is being sent of a server: by the end of this nothing of it is left."""
        under_way = self.sending.get(server_id)
        if under_way is not None:
            under_way.work.cancel()
            await asyncio.wait({under_way.work})

    async def stop(self) -> None:
        """End what is being sent."""
        for server_id in list(self.sending):
            await self.call_off(server_id)

    async def _sent(self, command: TakeSnapshot, copied: tuple[Path, int], steps: Steps) -> SnapshotTaken:
        """Send a copy and remove it. Raises HostFailure, and what the store refuses."""
        server_id, (copy, size) = command.server_id, copied
        try:
            await self._send(command.ticket, copy, size, steps)
            answer = SnapshotTaken(size=size, steps=tuple(steps.done))
            self.taken[server_id] = _what(command), answer
            return answer
        finally:
            del self.sending[server_id]
            await self.offload(_remove, copy)

    async def tidy(self) -> None:
        """Remove what an agent left that died while it took a snapshot, and have guests go on that it froze."""
        for server_id in await self.offload(self._left):
            log.warning("a snapshot of guest %s was cut short by the restart, and is cleared away", server_id)
            try:
                await self.clear_away(server_id)
            except (HostFailure, OSError) as error:
                log.error("what is left of a snapshot of %s stays: %s", server_id, error)

    def forget(self, server_id: str) -> None:
        """Forget what was answered of a server that is no more."""
        self.taken.pop(server_id, None)

    def _left(self) -> list[str]:
        """Return the servers with such files, those too that the ledger has forgotten."""
        return [ident for ident in self.builder.folders() if any(self.builder.folder(ident).glob("snapshot.*"))]

    async def _copied(self, guest: GuestSpec, role: str, steps: Steps) -> tuple[Path, int]:
        """Return a copy of a guest's disk and its size in bytes; where that fails, remove it.

        Where a whole process is no more, nobody can wait for that: `tidy` does it.
        """
        copy = self.builder.folder(guest.server_id) / _NAME
        try:
            async with steps.step("copy") as step:
                await self.clear_away(guest.server_id)
                await self._copy(guest, role, copy)
                size = (await self.offload(copy.stat)).st_size
                step.remark = f"{size >> 20} MiB"
        except GeneratorExit:
            raise
        except BaseException:
            await self.clear_away(guest.server_id)
            raise
        return copy, size

    async def _copy(self, guest: GuestSpec, role: str, copy: Path) -> None:
        disk = next((disk for disk in guest.disks if disk.role == role), None)
        if disk is None or not is_copied(disk):
            raise HostFailure(f"The guest has no {role} disk that an image could be made of.", stage="snapshot")
        try:
            quiesce = quiesces(guest.image.properties)
        except Invalid as error:
            raise HostFailure(error.message, stage="snapshot", cause=error.kind) from error
        files = self.builder.files(guest)
        needed = await self.offload(_allocated, files, disk.role)
        await self.eviction.make_room(needed)
        with self.eviction.room.promise(needed):
            await self.hypervisor.copy_disk(guest, disk, files, copy, quiesce=quiesce)

    async def _send(self, ticket: ImageTicket, copy: Path, size: int, steps: Steps) -> None:
        async with steps.step("upload") as step:

            def tell(done: int) -> None:
                step.remark = f"{done >> 20} of {size >> 20} MiB"

            wait = _FIRST_WAIT
            for left in reversed(range(_TRIES)):
                try:
                    await self.store.send(ticket, copy, size, tell)
                    return
                except Unavailable as error:
                    if not left:
                        raise HostFailure(f"The image could not be sent: {error.message}", stage="upload") from error
                    log.info("sending a snapshot waits for %.1f s: %s", wait, error.message)
                    await self.sleep(wait)
                    wait = min(2 * wait, _LONGEST_WAIT)

    async def clear_away(self, server_id: str) -> None:
        """End the copy of a guest's disk, whoever began it, and remove it. Raises HostFailure."""
        copy = self.builder.folder(server_id) / _NAME
        await self.hypervisor.end_copy(server_id, copy)
        await self.offload(_remove, copy)


def _what(command: TakeSnapshot) -> tuple[str, str]:
    return command.action_id, command.role


def _remove(copy: Path) -> None:
    copy.unlink(missing_ok=True)


def _allocated(files: GuestFiles, role: str) -> int:
    """Return how many bytes a copy of a disk takes at most: what it and the image below it have on the disk."""
    found = (path for path in (files.disks[role], files.bases.get(role)) if path is not None and path.exists())
    return sum(path.stat().st_blocks * 512 for path in found)
