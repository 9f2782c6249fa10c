"""Copies of guests' disks: of those that are on by QEMU's backup, of others by qemu-img."""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

from floe.core.disks import Blank, Overlay
from floe.core.errors import Conflict, HostFailure, Unavailable
from floe.core.guests import GuestSpec
from floe.hypervisors.libvirt import copies, disks
from floe.hypervisors.libvirt.connection import LibvirtConnection
from floe.hypervisors.libvirt.talks import Talks

_FROZEN = ".frozen"
"""Of the name of a file beside a copy that says that the guest may be frozen."""
_FIRST_LOOK, _LAST_LOOK = 0.05, 1.0
"""Seconds between two looks how far a copy is, at first and at last."""
_LONGEST_COPY, _LONGEST_ABORT = 3600.0, 30.0


class DiskCopies(msgspec.Struct, frozen=True):
    """Makes them and breaks them off. What a guest's agent has to do for it is asked as all of agents is."""

    connection: LibvirtConnection
    talks: Talks

    async def copy(
        self,
        guest: GuestSpec,
        disk: Overlay | Blank,
        source: Path,
        copy: Path,
        user: int | None,
        *,
        quiesce: bool | None,
    ) -> None:
        """See `Hypervisor.copy_disk`. The formats are those that Floe made the files with, whatever is in them."""
        uuid, ask = guest.server_id, self.connection.ask
        size, made_as = disk.size_mib * disks.MIB, "raw"
        if isinstance(disk, Overlay):
            made = size or guest.image.virtual_size or guest.image.size
            size, made_as = await disks.virtual_size(source, made, user), "qcow2"
        if not await ask(lambda conn: copies.is_on(conn, uuid)):
            await disks.flatten(source, made_as, copy, size, user)
            return
        await disks.create_empty(copy, size, user)
        await self._begin(guest, disk, copy, quiesce=quiesce)
        waited, wait = 0.0, _FIRST_LOOK
        while (found := await ask(lambda conn: copies.look(conn, uuid))).goes_on:
            if waited > _LONGEST_COPY:
                raise HostFailure(f"The disk was not copied in {waited:.0f} s.", stage="snapshot")
            await asyncio.sleep(wait)
            waited, wait = waited + wait, min(1.5 * wait, _LAST_LOOK)
        if found.error:
            raise HostFailure(f"The disk could not be copied: {found.error}.", stage="snapshot")

    async def end(self, server_id: str, copy: Path) -> None:
        """See `Hypervisor.end_copy`."""
        frozen = copy.with_suffix(_FROZEN)
        if not copy.exists() and not frozen.exists():  # noqa: ASYNC240  # two stats
            return
        if frozen.exists():
            await self.talks.ask(lambda conn: copies.thaw(conn, server_id, frozen), project="", guest=server_id)
        await self.connection.ask(lambda conn: copies.abort(conn, server_id))
        waited = 0.0
        while await self.connection.ask(lambda conn: copies.is_under_way(conn, server_id)):
            if waited > _LONGEST_ABORT:
                raise HostFailure("QEMU does not let go of the copy of a disk.", stage="snapshot")
            await asyncio.sleep(_FIRST_LOOK)
            waited += _FIRST_LOOK

    async def _begin(self, guest: GuestSpec, disk: Overlay | Blank, copy: Path, *, quiesce: bool | None) -> None:
        """Begin, with the guest's agent where it is to be asked; where it need not be, its turn is not waited for."""
        uuid, frozen, device = guest.server_id, copy.with_suffix(_FROZEN), disk.device
        if quiesce is not False:
            try:
                await self.talks.ask(
                    lambda conn: copies.begin(conn, uuid, device, copy, frozen, quiesce=quiesce),
                    project=guest.metadata.project_id,
                    guest=uuid,
                )
            except HostFailure as error:
                if quiesce or error.cause not in {Conflict.kind, Unavailable.kind}:
                    raise
            else:
                return
        await self.connection.ask(lambda conn: copies.begin(conn, uuid, device, copy, frozen, quiesce=False))
