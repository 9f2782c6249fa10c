"""Making a guest of other disks, beside those that it has: up to the last moment it can be had back as it was.

A disk that is made anew has a file of its own, so that nothing is ever overwritten. Which files are the guest's, the
ledger says in one entry; those that it does not name are removed once the guest is as it is wanted.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec.structs import replace

from floe.agent import console
from floe.agent.guests import GuestBuilder
from floe.agent.ledger import Ledger
from floe.agent.nics import queued
from floe.agent.power import GuestPower, flush_folders
from floe.agent.steps import Steps
from floe.agent.threads import Offload
from floe.core.disks import ROOT
from floe.core.errors import HostFailure, Unavailable
from floe.core.guests import GuestSpec, PowerState
from floe.core.messages import PowerChanged
from floe.core.nic_limits import limits_of
from floe.core.power import Power, Wanted
from floe.core.server_rebuild import Rebuild
from floe.core.server_resize import KEEP, Resize
from floe.hypervisors.protocol import Hypervisor

log = logging.getLogger(__name__)

_KEPT = (
    "The machine lost its power just after the guest was made, so that the {role} disk, which is to be kept, may be"
    " damaged: rebuild the server without keeping it."
)
_STUCK = "The guest was made anew, and cannot be started; what it was is gone. Rebuild the server, or reboot it."
_FORGOTTEN = "The host had forgotten the guest, and could not look which of both it is."


class GuestRebuild(msgspec.Struct, frozen=True):
    """Rebuilds guests on one host; whoever calls holds the server's lock."""

    ledger: Ledger
    builder: GuestBuilder
    power: GuestPower
    hypervisor: Hypervisor
    offload: Offload

    async def change(self, command: Rebuild, steps: Steps) -> PowerChanged:
        """Make the disks, end the guest, have it be the other one from then on, and start that as it is wanted.

        Raises HostFailure where that cannot be. Then the guest is what it was, unless the cause is that it cannot be.
        """
        self.builder.take(command.tickets)
        known = self.ledger.guests.get(command.server_id) or await self.adopt(command)
        guest = _with_files(command.guest, known)
        kept, damaged = self.power.kept(command), command.server_id in self.ledger.wishes.damaged
        switched = makes(known) == makes(guest)
        before = command.before if switched else known
        try:
            await self.power.plug_again(guest, steps)
            if damaged or not switched:
                doubtful = max(makes(known).values()) if damaged and not switched else None
                await self._make(guest, before, steps, doubtful)
                await self.switch(guest, before, command, steps)
            await self.power.reach(guest, command, steps)
            power_state = await self.power_state(command.server_id)
        except Exception as error:
            if await self.go_back(before, command, kept, damaged=damaged and not switched):
                raise
            raise HostFailure(
                _STUCK, cause=Unavailable.kind, stage="guest", detail=getattr(error, "detail", "") or str(error)
            ) from error
        self.builder.first_passwords.keep(guest)
        await self.tidy(guest)
        return PowerChanged(power_state=power_state, steps=tuple(steps.done))

    async def adopt(self, command: Rebuild | Resize) -> GuestSpec:
        """Know a guest again that the ledger does not, as the one whose disks are here; where none are, as before.

        Raises HostFailure with the cause that it cannot be where the guest cannot be looked at: it may be either.
        """
        done, before = (self.builder.all_files(guest) for guest in (command.guest, command.before))
        try:
            found, wanted = await self.hypervisor.find(command.server_id), command.wanted
        except HostFailure as error:
            raise HostFailure(
                _FORGOTTEN, cause=Unavailable.kind, stage="guest", detail=error.detail or error.message
            ) from error
        if isinstance(command, Resize) and command.do == KEEP:  # it was resized, unless it still runs as it was before
            newer = found is None or found.power_state.off or found.boots >= max(makes(command.guest).values())
        else:
            newer = found is not None and found.boots == wanted.boots and wanted.power is Power.RUNNING
        there = await self.offload(all_there, done) and (newer or not await self.offload(all_there, before))
        guest = command.guest if there else command.before
        log.warning("guest %s is not in the ledger, and is to be rebuilt: it is known again", command.server_id)
        self.ledger.adopt(guest, command.network)
        self.power.unplugged.add(guest.server_id)
        return guest

    async def _make(self, guest: GuestSpec, before: GuestSpec, steps: Steps, doubtful: int | None) -> None:
        """Make the disks that are to be another make; what an earlier attempt left of those may be damaged.

        So may be one of the `doubtful` make, which is not kept.
        """
        files, own, old = self.builder.files(guest), self.builder.own_files(guest), self.builder.own_files(before)
        async with steps.step("disk"):
            for disk in guest.disks:
                path = files.disks[disk.role]
                if path in old and not path.exists():
                    raise HostFailure(f"The {disk.role} disk of the guest is not on this host any more.", stage="disk")
                if path in old and disk.make == doubtful:
                    raise HostFailure(_KEPT.format(role=disk.role), stage="disk")
            await self.offload(remove, own - old)
        kept = own & old
        if kept:
            await self.flush(guest)
        await self.builder.make_disks(guest, steps, kept)

    async def flush(self, guest: GuestSpec) -> None:
        """Have all that a guest has on the disk for certain: the power may fail just after more was made of it."""
        if guest.server_id in self.ledger.wishes.unflushed:
            await self.offload(flush_folders, (self.builder.folder(guest.server_id),))
            self.ledger.wishes.flushed((guest.server_id,))

    async def switch(self, guest: GuestSpec, before: GuestSpec, command: Rebuild, steps: Steps) -> None:
        """End the guest; from then on it is the other one."""
        async with steps.step("end") as step:
            if await self.hypervisor.find(command.server_id) is not None:
                step.remark = await self.power.end(guest, command.patience)
        async with steps.step("guest"):
            self.ledger.wishes.want(command)
            self.ledger.remake(guest, command.network)
            await self.plug_otherwise(guest, before)
            await self.offload(console.begin_anew, self.builder.files(guest).console_log)

    async def plug_otherwise(self, guest: GuestSpec, before: GuestSpec) -> None:
        """Have taps of another kind, with several queues or one, once nobody holds them; and other limits of NICs."""
        limits, former = limits_of(guest.extra_specs), limits_of(before.extra_specs)
        if queued([guest]) != queued([before]) or limits != former:
            await self.builder.plug(guest)

    async def tidy(self, guest: GuestSpec) -> None:
        """Remove what the guest was, once it is on the disk that it is another one; what is left is removed later."""
        try:
            await self.offload(self.ledger.sync)
            await self.builder.tidy(guest)
        except OSError as error:
            log.warning("files of what guest %s was are left: %s", guest.server_id, error)

    async def go_back(
        self, before: GuestSpec, command: Rebuild | Resize, kept: Wanted, *, damaged: bool = False, tidy: bool = True
    ) -> bool:
        """Have the guest that was there, as it was: it runs again if it did. False where its disks are not there.

        One whose disks may be damaged is not started from them. With `tidy` all files go that are not its own.
        """
        server_id, now = command.server_id, self.ledger.guests[command.server_id]
        try:
            if makes(now) != makes(before):
                if not await self.offload(all_there, self.builder.all_files(before)):
                    return False
                if await self.hypervisor.find(server_id) is not None:
                    await self.hypervisor.end(server_id)
                self.ledger.remake(before)
                if damaged:
                    self.ledger.wishes.damage(server_id)
            boots = max(kept.boots, command.wanted.boots)  # once more, if it boots again
            back = replace(kept, boots=boots, generation=command.wanted.generation)
            self.ledger.wishes.want(replace(command, wanted=back))
            if tidy:
                await self.tidy(before)
            if makes(now) != makes(before):
                await self.plug_otherwise(before, now)
            if back.power is Power.RUNNING and not damaged and (await self.power_state(server_id)).off:
                await self.hypervisor.start(before, self.builder.files(before), back.boots)
        except (HostFailure, OSError) as error:
            log.error("guest %s could not be had back: %s", server_id, getattr(error, "detail", "") or error)
        return makes(self.ledger.guests[server_id]) == makes(before)

    async def power_state(self, server_id: str) -> PowerState:
        """Return what a guest is doing."""
        found = await self.hypervisor.find(server_id)
        return PowerState.SHUTDOWN if found is None else found.power_state


def _with_files(guest: GuestSpec, known: GuestSpec) -> GuestSpec:
    """Return a guest with the files that its create brought, as long as it keeps its root disk: no row has them."""
    if makes(guest).get(ROOT) != makes(known).get(ROOT):
        return guest
    return replace(guest, metadata=replace(guest.metadata, files=known.metadata.files))


def makes(guest: GuestSpec) -> dict[str, int]:
    """Return which makes of its disks a guest has."""
    return {disk.role: disk.make for disk in guest.disks}


def all_there(files: Iterable[Path]) -> bool:
    """Say whether there are all of some files."""
    return all(path.exists() for path in files)


def remove(files: Iterable[Path]) -> None:
    """Remove those files that are there."""
    for path in files:
        path.unlink(missing_ok=True)
