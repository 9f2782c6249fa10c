"""Making a guest, step by step, each undone when a later one fails; and removing one."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, Set
from contextlib import AsyncExitStack
from pathlib import Path
from types import MappingProxyType

from msgspec import structs
from msgspec.structs import replace

from floe.agent import config_drive, documents, guest_files
from floe.agent.disks import (
    KINDS,
    VARIABLES,
    Kind,
    Workshop,
    all_files,
    bases,
    boot_file,
    image_of,
    own_files,
    paths,
    variables,
)
from floe.agent.first_passwords import FirstPasswords
from floe.agent.folders import Versions, remove_folder
from floe.agent.images import CachedImage, ImageCache
from floe.agent.ledger import Ledger
from floe.agent.ports import Ports
from floe.agent.steps import Steps
from floe.agent.threads import Offload
from floe.core.disks import Blank, ConfigDrive, Disk, Overlay
from floe.core.errors import HostFailure
from floe.core.guests import GuestImage, GuestSpec, GuestState, PowerState
from floe.core.ids import is_uuid
from floe.core.image_tickets import ImageTicket
from floe.core.messages import Destroy, Destroyed, Spawn, Spawned
from floe.core.power import Power
from floe.hypervisors.protocol import GuestFiles, Hypervisor

log = logging.getLogger(__name__)


class GuestBuilder:
    """Builds and removes guests on one host; whoever calls holds the server's lock.

    All files of a guest are in `directory`/<server id>; `seed` gives random bytes for the guest's own entropy; `kinds`
    makes and removes its disks.
    """

    def __init__(
        self,
        *,
        directory: Path,
        ledger: Ledger,
        images: ImageCache,
        ports: Ports,
        hypervisor: Hypervisor,
        offload: Offload,
        seed: Callable[[int], bytes],
        version: Versions,
        first_passwords: FirstPasswords,
        kinds: Mapping[type, Kind] = KINDS,
    ) -> None:
        self._directory = directory
        self._ledger = ledger
        self._images = images
        self._ports = ports
        self._hypervisor = hypervisor
        self._offload = offload
        self._seed = seed
        self._kinds = kinds
        self._version = version
        self.first_passwords = first_passwords
        self._listed: tuple[tuple[int, ...] | None, tuple[str, ...]] = (None, ())
        """The servers that there are files of, and the version of the folder that says so."""

    def take(self, tickets: Sequence[ImageTicket]) -> None:
        """Keep what images can be fetched with."""
        self._images.take(tickets)

    async def spawn(self, command: Spawn, steps: Steps, *, present: bool) -> Spawned:
        """Make the guest and start it. Raises HostFailure when it cannot, with nothing of it left.

        With `present` the guest runs: what is missing is made, and nothing is undone. Else nothing of an earlier
        attempt is built upon: after a power loss its disks may be damaged. A cancelled spawn undoes nothing either:
        whoever cancelled it cleans up, as after a crash.
        """
        guest = command.guest
        if command.off:
            self._ledger.wishes.follow(guest.server_id, Power.STOPPED)
        async with AsyncExitStack() as undo:
            try:
                if not present:
                    await self._clear(guest, steps)
                await self._build(command, steps, undo)
                async with steps.step("guest"):
                    undo.push_async_callback(self._end, guest)
                    state = await self._hypervisor.start(guest, self.files(guest))
                    if command.off:
                        await self._hypervisor.end(guest.server_id)
                        state = PowerState.SHUTDOWN
            except asyncio.CancelledError:
                undo.pop_all()
                raise
            except BaseException:
                if present:
                    undo.pop_all()
                raise
            undo.pop_all()
        self.first_passwords.keep(guest)
        return Spawned(power_state=state, steps=tuple(steps.done))

    async def destroy(self, command: Destroy, steps: Steps) -> Destroyed:
        """End the guest and remove all that is here of it. Raises HostFailure; what is left is then tried again."""
        folder = self.folder(command.server_id)
        self.first_passwords.forget(command.server_id)
        async with steps.step("guest") as step:
            existed = await self._hypervisor.destroy(command.server_id, command.guest_name)
            step.remark = "" if existed else "there was none"
        async with steps.step("ports"):
            await self._ports.plug()
        async with steps.step("disk") as step:
            if folder.exists():
                await self._remove(folder)
            else:
                step.remark = "there was none"
        return Destroyed(steps=tuple(steps.done))

    def folder(self, server_id: str) -> Path:
        """Return where a server's files are. Raises HostFailure for what is no id."""
        return self._directory / checked(server_id)

    async def leftovers(self, guests: Iterable[GuestState]) -> tuple[str, ...]:
        """Return the servers that there are files of, and none of these guests."""
        there = {guest.server_id for guest in guests}
        version = self._version(self._directory)
        if version is None or version != self._listed[0]:
            self._listed = version, await self._offload(self.folders)
        return tuple(ident for ident in self._listed[1] if ident not in there)

    def folders(self) -> tuple[str, ...]:
        """Return the servers that there are files of; what is not named by a server's id is not Floe's."""
        return tuple(sorted(filter(is_uuid, os.listdir(self._directory))))  # noqa: PTH208  # names alone, of thousands

    def files(self, guest: GuestSpec) -> GuestFiles:
        """Return the names of all files of a guest, kernel and ramdisk in the image cache apart."""
        folder = self.folder(guest.server_id)
        return GuestFiles(
            directory=folder,
            disks=paths(guest.disks, folder, self._kinds),
            bases=bases(guest.disks, folder),
            kernel=boot_file(guest.disks, folder, "kernel") if guest.kernel else None,
            ramdisk=boot_file(guest.disks, folder, "ramdisk") if guest.ramdisk else None,
            console_log=folder / "console.log",
            variables=variables(guest.disks, folder),
        )

    def all_files(self, guest: GuestSpec) -> frozenset[Path]:
        """Return the files that a guest's disks are made of, those that are kept aside too."""
        return frozenset().union(*map(all_files, self._files_of(guest)))

    def own_files(self, guest: GuestSpec) -> frozenset[Path]:
        """Return those, and the ones that not every guest has."""
        return frozenset().union(*map(own_files, self._files_of(guest)))

    def _files_of(self, guest: GuestSpec) -> Iterator[GuestFiles]:
        yield self.files(guest)
        if guest.aside is not None:
            yield self.files(replace(guest, **structs.asdict(guest.aside), aside=None))

    async def _build(self, command: Spawn, steps: Steps, undo: AsyncExitStack) -> None:
        """Make disks and ports, which know nothing of each other, side by side; the first failure ends both."""
        guest = command.guest
        undo.push_async_callback(self._quietly, self._remove_if_there, self.folder(guest.server_id))
        undo.push_async_callback(self._quietly, self._unplug, guest.server_id)
        loop = asyncio.get_running_loop()
        both = (
            loop.create_task(self.make_disks(guest, steps, contents=command.contents), name=f"disks-{guest.server_id}"),
            loop.create_task(self._make_ports(guest, steps), name=f"ports-{guest.server_id}"),
        )
        try:
            await asyncio.wait(both, return_when=asyncio.FIRST_EXCEPTION)
        finally:
            for task in both:
                task.cancel()
            await asyncio.wait(both)
        for task in sorted(both, key=asyncio.Task.cancelled):  # the failure itself, not what it ended
            task.result()

    async def _clear(self, guest: GuestSpec, steps: Steps) -> None:
        folder = self.folder(guest.server_id)
        if folder.exists():
            async with steps.step("clear") as step:
                step.remark = "an earlier attempt"
                await self._hypervisor.destroy(guest.server_id, guest.name)
                await self._remove(folder)

    async def make_disks(
        self,
        guest: GuestSpec,
        steps: Steps,
        kept: Set[Path] = frozenset(),
        contents: Mapping[str, GuestImage] = MappingProxyType({}),
    ) -> None:
        """Make those disks of a guest that are not there; the `kept` ones are. Raises HostFailure.

        `contents` says by their roles what blank disks begin as.
        """
        files = self.files(guest)
        async with AsyncExitStack() as holds:  # until the guest has links to them
            async with steps.step("image") as step:

                def tell(text: str) -> None:
                    step.remark = text

                held = {
                    disk.role: await holds.enter_async_context(self._images.hold(image_of(guest, disk), tell=tell))
                    for disk in guest.disks
                    if isinstance(disk, Overlay) and files.disks[disk.role] not in kept
                }
                shared = [(files.bases[role], base) for role, base in held.items()] + [
                    (target, await holds.enter_async_context(self._images.hold(image, bootable=False, tell=tell)))
                    for target, image in ((files.kernel, guest.kernel), (files.ramdisk, guest.ramdisk))
                    if target is not None and image is not None and target not in kept
                ]
                filled = {
                    role: await holds.enter_async_context(self._images.hold(image, tell=tell))
                    for role, image in contents.items()
                    if role in files.disks
                }
                shared += [(guest_files.content(files, role), image) for role, image in filled.items()]
                step.remark = (
                    "fetched" if any(base.fetched for base in (*held.values(), *filled.values())) else "in the cache"
                )
            await self.make_files(guest, guest.disks, steps, held, shared, filled.keys())

    async def make_files(
        self,
        guest: GuestSpec,
        disks: Iterable[Disk],
        steps: Steps,
        held: Mapping[str, CachedImage] = MappingProxyType({}),
        shared: Sequence[tuple[Path, CachedImage]] = (),
        filled: Set[str] = frozenset(),
    ) -> None:
        """Make those of some disks of a guest that are not there, on images that are `held`, or `filled` with one."""
        files = self.files(guest)
        async with steps.step("disk") as step:
            await self._offload(guest_files.prepare, files, shared)
            workshop = Workshop(
                guest=guest,
                files=files,
                hypervisor=self._hypervisor,
                offload=self._offload,
                bases=held,
                documents=lambda: self._drive(guest, files),
            )
            for disk in disks:
                if isinstance(disk, Blank) and disk.role in filled:
                    source = guest_files.content(files, disk.role)
                    await self._hypervisor.unpack_disk(guest, disk, files, source)
                    await self._offload(source.unlink)
                elif not isinstance(disk, Overlay) or disk.role in held:
                    await self._kinds[type(disk)].make(disk, workshop)
            if any(isinstance(disk, ConfigDrive) for disk in guest.disks):
                step.remark = "with config drive"

    async def tidy(self, guest: GuestSpec) -> None:
        """Remove all files of disks from a guest's folder that are none of its own: of an earlier or a later make."""
        await self._offload(
            guest_files.tidy,
            self.folder(guest.server_id),
            self.own_files(guest),
            {f".{VARIABLES}", *(f".{kind.ending}" for kind in self._kinds.values())},
        )

    async def plug(self, guest: GuestSpec) -> None:
        """Have the ports of a guest. Raises HostFailure."""
        await self._ports.plug(frozenset(nic.port_id for nic in guest.nics))

    async def _make_ports(self, guest: GuestSpec, steps: Steps) -> None:
        async with steps.step("ports") as step:
            await self.plug(guest)
            step.remark = f"{len(guest.nics)}"

    async def _drive(self, guest: GuestSpec, files: GuestFiles) -> dict[str, bytes]:
        network, addresses = self._ledger.network, documents.NOWHERE
        if documents.tells_addresses(guest, network):
            addresses = await self._hypervisor.addresses_at_start(guest, files)
        return config_drive.contents(documents.view_of(guest, network, self._seed(512), addresses))

    async def _remove(self, folder: Path) -> None:
        """Take away all disks of a guest: first what is not in its folder, then the folder."""
        for kind in self._kinds.values():
            if kind.remove is not None:
                await kind.remove(folder)
        await self._offload(remove_folder, folder)

    async def _remove_if_there(self, folder: Path) -> None:
        if folder.exists():  # noqa: ASYNC240  # one stat
            await self._remove(folder)

    async def _unplug(self, server_id: str) -> None:
        self._ledger.unplug(server_id)
        await self._ports.plug()

    async def _end(self, guest: GuestSpec) -> None:
        await self._quietly(self._hypervisor.destroy, guest.server_id, guest.name)

    async def _quietly(self, call: Callable[..., Awaitable[object]], *args: object) -> None:
        """Undo a step; that it fails is noted, and the other undos go on."""
        try:
            await call(*args)
        except Exception as error:
            log.error("cleaning up after a failed build went wrong: %s", getattr(error, "detail", "") or error)


def checked(server_id: str) -> str:
    """Return a server's id if it is one: names of files are made of it."""
    if not is_uuid(server_id):
        raise HostFailure(f"{server_id!r} is not the id of a server.")
    return server_id
