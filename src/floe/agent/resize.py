"""Making a guest of another size beside what it was, keeping that, or taking it back.

Its disks are copies of those that it had, whose files stay. One entry of the ledger says which of both the guest is.
"""

from __future__ import annotations

import logging

import msgspec
from msgspec.structs import replace

from floe.agent.disks import all_files, is_copied, own_files
from floe.agent.guest_files import copy_variables
from floe.agent.rebuild import GuestRebuild, all_there, makes, remove
from floe.agent.steps import Steps
from floe.core.disks import Disk
from floe.core.errors import HostFailure, Unavailable
from floe.core.guests import GuestSpec
from floe.core.messages import PowerChanged
from floe.core.server_resize import KEEP, MAKE, Resize

log = logging.getLogger(__name__)

_STUCK = "The guest could not be made what it was asked to be, and cannot be started as what it was."
_DAMAGED = "The machine lost its power just after the guest was made, so its disks may be damaged. Rebuild the server."


class GuestResize(msgspec.Struct, frozen=True):
    """Resizes guests on one host, in the ways of `rebuild`; whoever calls holds the server's lock."""

    rebuild: GuestRebuild

    async def change(self, command: Resize, steps: Steps) -> PowerChanged:
        """Have the guest be what a command says. Raises HostFailure where that cannot be.

        Then the guest is what it was, unless the cause is that it cannot be.
        """
        rebuild, guest, server_id = self.rebuild, command.guest, command.server_id
        ledger = rebuild.ledger
        known = ledger.guests.get(server_id) or await rebuild.adopt(command)
        kept, switched = rebuild.power.kept(command), makes(known) == makes(guest)
        if command.do == MAKE:  # it ran if it is to run, though an agent that died may have turned it off
            kept = replace(kept, power=command.wanted.power)
        if command.do == KEEP:
            await rebuild.power.plug_again(guest, steps)
            return await self._keep(command, steps, switched=switched)
        before = command.before if switched else known
        doubtful = not switched and server_id in ledger.wishes.damaged
        try:
            await rebuild.power.plug_again(guest, steps)
            await self._make(command, before, steps, switched=switched)
            await rebuild.power.reach(guest, command, steps)
            power_state = await rebuild.power_state(server_id)
        except Exception as error:
            if await rebuild.go_back(before, command, kept, damaged=doubtful, tidy=command.do == MAKE):
                self._tell_flavor(command.before)
                raise
            detail = getattr(error, "detail", "") or str(error)
            raise HostFailure(_STUCK, cause=Unavailable.kind, stage="guest", detail=detail) from error
        self._tell_flavor(guest)
        await self._synced(guest)
        if command.do != MAKE:
            await rebuild.tidy(guest)
        return PowerChanged(power_state=power_state, steps=tuple(steps.done))

    async def _keep(self, command: Resize, steps: Steps, *, switched: bool) -> PowerChanged:
        """Remove what the guest was."""
        files = self.rebuild.builder.files(command.guest)
        if not switched or not await self.rebuild.offload(all_there, all_files(files)):
            raise HostFailure("The guest is not what it was resized to.", cause=Unavailable.kind, stage="disk")
        power_state = await self.rebuild.power_state(command.server_id)
        async with steps.step("tidy"):  # last, as there is no way back from it
            await self.rebuild.tidy(command.guest)
        return PowerChanged(power_state=power_state, steps=tuple(steps.done))

    async def _make(self, command: Resize, before: GuestSpec, steps: Steps, *, switched: bool) -> None:
        """Have the disks of the guest that is wanted, and have it be that one from then on."""
        rebuild, guest = self.rebuild, command.guest
        damaged = command.server_id in rebuild.ledger.wishes.damaged
        if damaged and not switched and command.do == MAKE:
            raise HostFailure(_DAMAGED, stage="disk")
        if switched and not (damaged and command.do == MAKE):
            return
        own, old = rebuild.builder.files(guest), rebuild.builder.files(before)
        needed = old if command.do == MAKE else own
        if not await rebuild.offload(all_there, all_files(needed)):
            raise HostFailure("A disk of the guest is not on this host any more.", stage="disk")
        async with steps.step("end") as step:
            if await rebuild.hypervisor.find(command.server_id) is not None:
                step.remark = await rebuild.power.end(before, command.patience)
        if command.do == MAKE:
            await self._copy(guest, before, steps)
        async with steps.step("guest"):
            rebuild.ledger.wishes.want(command)
            rebuild.ledger.remake(guest, command.network)
            await rebuild.plug_otherwise(guest, before)

    async def _copy(self, guest: GuestSpec, before: GuestSpec, steps: Steps) -> None:
        """Copy what the guest has on its disks, now that it is off; what an earlier attempt left may be damaged."""
        builder, had = self.rebuild.builder, {disk.role: disk for disk in before.disks}
        own, old = builder.files(guest), builder.files(before)
        async with steps.step("disk"):
            await self.rebuild.offload(remove, own_files(own) - own_files(old))
            await self.rebuild.flush(guest)
        others = list[Disk]()
        async with steps.step("copy") as step:
            for disk in guest.disks:
                if is_copied(disk) and disk.role in had:
                    await self.rebuild.hypervisor.clone_disk(guest, disk, own, old.disks[disk.role])
                else:
                    others.append(disk)
            await self.rebuild.offload(copy_variables, old.variables, own.variables)
            step.remark = ", ".join(disk.role for disk in guest.disks if disk not in others)
        await builder.make_files(guest, others, steps)

    def _tell_flavor(self, guest: GuestSpec) -> None:
        """Have a guest read which flavor it is of: while that changed it may have been told of the other one."""
        ledger, name = self.rebuild.ledger, guest.metadata.flavor_name
        known = ledger.guests[guest.server_id].metadata
        if known.flavor_name != name:
            ledger.tell(guest.server_id, replace(known, flavor_name=name))

    async def _synced(self, guest: GuestSpec) -> None:
        """Have it on the disk which of both the guest is."""
        try:
            await self.rebuild.offload(self.rebuild.ledger.sync)
        except OSError as error:
            log.warning("what guest %s is now is not on the disk yet: %s", guest.server_id, error)
