"""Making guests do what they should: on command, and after the machine itself was started anew."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path

import msgspec
from msgspec.structs import replace

from floe.agent.disks import needed
from floe.agent.guests import GuestBuilder
from floe.agent.ledger import Ledger
from floe.agent.steps import Steps
from floe.core.errors import Conflict, HostFailure, NotFound
from floe.core.guests import GuestSpec, GuestState, PowerState
from floe.core.messages import ChangeNics, ChangePower, PowerChanged
from floe.core.power import Deed, Power, Wanted, deeds
from floe.core.server_rebuild import Rebuild
from floe.core.server_resize import Resize
from floe.core.snapshot_commands import TakeSnapshot
from floe.hypervisors.protocol import Found, Hypervisor

log = logging.getLogger(__name__)

_ABSENT = Found(power_state=PowerState.SHUTDOWN)
_LOOK_EVERY = 0.5
_PRESS_EVERY = 10.0
"""Seconds between looks whether a guest is off, and after which its power button is pressed again: it may have been
too early in its boot to listen."""
_STARTS = frozenset({Deed.START, Deed.RESUME})
_DAMAGED = (
    "The machine lost its power just after the guest was made, so its disks may be damaged, and it is not started. "
    "Rebuild the server, or delete it and create it again."
)
LATER = "Something else was asked for later."
_AT_ONCE = 8
"""How many guests are started side by side after a start of the machine."""

_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


@functools.cache
def kernel_boot_id() -> str:
    """Return what names this boot of the machine; "" where its kernel does not say."""
    try:
        return _BOOT_ID.read_text().strip()
    except OSError:
        return ""


def flush(files: Iterable[Path]) -> bool:
    """Bring files to the disk; one that is gone is no more to be. Return whether all were there."""
    there = True
    for path in files:
        try:
            file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            there = False
            continue
        try:
            os.fsync(file)
        finally:
            os.close(file)
    return there


def flush_guests(files: Mapping[str, Iterable[Path]]) -> set[str]:
    """Bring files of guests to the disk; return the guests of whom all files were there.

    What is being removed may come back if the power fails, as it was on the disk.
    """
    return {server_id for server_id, paths in files.items() if flush(paths)}


def flush_folders(folders: Iterable[Path]) -> None:
    """Bring all files of folders to the disk; what is there besides files, such as pipes, is left alone."""
    for folder in folders:
        with contextlib.suppress(FileNotFoundError):
            flush(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())


class GuestPower(msgspec.Struct, frozen=True):
    """Changes what guests on one host do; whoever calls holds the server's lock."""

    ledger: Ledger
    builder: GuestBuilder
    hypervisor: Hypervisor
    sleep: Callable[[float], Awaitable[None]]
    unplugged: set[str] = msgspec.field(default_factory=set)
    """Guests that are known again, and whose ports are still to be had."""

    async def change(self, command: ChangePower, steps: Steps) -> PowerChanged:
        """Do what is between what a guest does and what it should.

        Raises NotFound and HostFailure where that cannot be, or where something later was said.
        """
        guest = await self.known(command, steps)
        kept = self.kept(command)
        if command.guest is not None and command.network is not None:
            guest = await self._wired(guest, command, steps)
        self.ledger.wishes.want(command)
        await self.reach(guest, command, steps)
        if command.wanted.interrupt:
            async with steps.step("interrupt") as step:
                step.remark = await self._interrupt(command, again=command.wanted.generation == kept.generation)
        found = await self._find(guest)
        return PowerChanged(power_state=found.power_state, steps=tuple(steps.done))

    def kept(self, command: ChangePower | Rebuild | Resize) -> Wanted:
        """Return what the guest of a command was to be so far. Raises HostFailure where something later was said."""
        kept = self.ledger.wishes.of(command.server_id)
        if command.wanted.generation < kept.generation:
            raise HostFailure(LATER, cause=Conflict.kind, heard=kept.generation)
        return kept

    async def reach(self, guest: GuestSpec, command: ChangePower | Rebuild | Resize, steps: Steps) -> None:
        """Do what is between what a guest does and what a command wants. Raises HostFailure."""
        found = await self._find(guest)
        todo = deeds(found.power_state, found.boots, command.wanted, self.ledger.wishes.booted(command.server_id))
        if todo is None:
            raise HostFailure(f"The guest is off, so it cannot be {command.wanted.power}.", stage="guest")
        if command.server_id in self.ledger.wishes.damaged and not _STARTS.isdisjoint(todo):
            raise HostFailure(_DAMAGED, stage="disk")
        if not _STARTS.isdisjoint(todo):
            self._check_disks(guest)
        for deed in todo:
            async with steps.step(deed.value) as step:
                step.remark = await self._do(deed, guest, command)

    async def known(self, command: ChangePower | ChangeNics | TakeSnapshot, steps: Steps) -> GuestSpec:
        """Return the guest of a command. Raises NotFound and HostFailure where it is not here."""
        guest = self.ledger.guests.get(command.server_id) or self._adopt(command)
        await self.plug_again(guest, steps)
        return guest

    async def plug_again(self, guest: GuestSpec, steps: Steps) -> None:
        """Have the ports of a guest that is known again. Raises HostFailure; then the next command tries that again."""
        if guest.server_id in self.unplugged:
            async with steps.step("ports"):
                await self.builder.plug(guest)
            self.unplugged.discard(guest.server_id)

    async def _wired(self, guest: GuestSpec, command: ChangePower, steps: Steps) -> GuestSpec:
        """Have a guest have the NICs again that it is said to have: its ports may have been on another host."""
        assert command.guest is not None
        assert command.network is not None
        told = ChangeNics(action_id=command.action_id, server_id=command.server_id, network=command.network)
        self.ledger.rewire(told, command.guest.nics)
        async with steps.step("ports"):
            await self.builder.plug(command.guest)
        return replace(guest, nics=command.guest.nics)

    def _adopt(self, command: ChangePower | ChangeNics | TakeSnapshot) -> GuestSpec:
        """Know a guest again whose disks are here: the ledger was lost, or is older than the guest.

        Raises NotFound where nothing is said of it but its id, and HostFailure where a disk is not here either.
        """
        guest = command.guest
        if guest is None:
            raise NotFound("guest", command.server_id, message="The guest is not known on this host.")
        self._check_disks(guest)
        log.warning("guest %s is not in the ledger, and its disks are here: it is known again", command.server_id)
        self.ledger.adopt(guest, command.network)
        self.unplugged.add(guest.server_id)
        return guest

    def _check_disks(self, guest: GuestSpec) -> None:
        """Raise HostFailure where a disk of a guest is not here, or an image under it: made anew it would be empty.

        Files go one by one, so of a guest that was removed just before the power failed some may be back.
        """
        for what, path in needed(self.builder.files(guest)):
            if not path.exists():
                raise HostFailure(f"{what} is not on this host any more.", stage="disk", detail=f"no {path}")

    async def bring_back(self, guests: Iterable[GuestState]) -> list[GuestState]:
        """Start the guests that ran when the machine went down, and return how all guests are now.

        What was in memory is lost: a guest that was paused is off, as one is that was stopped. A suspended one has its
        memory on the disk, and stays suspended.
        """
        wishes, limit = self.ledger.wishes, asyncio.Semaphore(_AT_ONCE)

        async def look(guest: GuestState) -> GuestState:
            spec = self.ledger.guests.get(guest.server_id)
            ran = wishes.of(guest.server_id).power is Power.RUNNING
            if spec is None or not ran or not guest.power_state.off or not self.ledger.is_built(guest.server_id):
                return guest
            if guest.server_id in wishes.damaged:
                log.error(
                    "guest %s was made just before the machine went down: its disks may be damaged, so it stays off",
                    guest.server_id,
                )
                return guest
            async with limit:
                return await self._bring_back(spec, guest)

        return list(await asyncio.gather(*(look(guest) for guest in guests)))

    async def _bring_back(self, spec: GuestSpec, guest: GuestState) -> GuestState:
        files = self.builder.files(spec)
        try:
            self._check_disks(spec)
            state = await self.hypervisor.start(spec, files, self.ledger.wishes.of(guest.server_id).boots)
        except (HostFailure, OSError) as error:
            log.error("guest %s cannot be started again: %s", guest.server_id, getattr(error, "detail", "") or error)
            return guest
        log.info("guest %s ran when the machine went down, and does so again", guest.server_id)
        return GuestState(server_id=guest.server_id, power_state=state)

    async def _do(self, deed: Deed, guest: GuestSpec, command: ChangePower | Rebuild | Resize) -> str:
        """Do one thing, and return what there is to say of it."""
        if deed is Deed.END:
            return await self.end(guest, command.patience)
        if deed is Deed.START:
            await self.hypervisor.start(guest, self.builder.files(guest), command.wanted.boots)
        elif deed is Deed.RESUME:
            await self.hypervisor.resume(guest, self.builder.files(guest))
        else:
            calls = {
                Deed.PAUSE: self.hypervisor.pause,
                Deed.UNPAUSE: self.hypervisor.unpause,
                Deed.SUSPEND: self.hypervisor.suspend,
            }
            await calls[deed](guest.server_id)
        return ""

    async def _interrupt(self, command: ChangePower, *, again: bool) -> str:
        """Interrupt a guest once: one that was about to be when the agent died may have been, and is not again."""
        if again:
            return "it may have been sent before the agent died, and is not sent twice"
        await self.hypervisor.interrupt(command.server_id)
        return ""

    async def end(self, guest: GuestSpec, patience: float) -> str:
        """Turn a guest off: let it shut down by itself as long as there is patience; then turn it off."""
        waited = 0.0
        while waited < patience:
            state = (await self._find(guest)).power_state
            if state.off:
                return "it shut down by itself"
            if state is not PowerState.RUNNING:
                break  # what stands still does not listen
            if waited % _PRESS_EVERY == 0:
                await self.hypervisor.shut_down(guest.server_id)
            await self.sleep(_LOOK_EVERY)
            waited += _LOOK_EVERY
        gently = (await self._find(guest)).power_state.off
        await self.hypervisor.end(guest.server_id)
        if gently:
            return "it shut down by itself"
        return f"it did not shut down by itself in {waited:g} s" if waited else ""

    async def _find(self, guest: GuestSpec) -> Found:
        """Return what a guest is doing: one that the hypervisor does not have (any more) is off, and may be started."""
        return await self.hypervisor.find(guest.server_id) or _ABSENT
