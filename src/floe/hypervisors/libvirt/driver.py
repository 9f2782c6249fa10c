"""Guests run by libvirt and QEMU: under KVM where the CPU allows it, else emulated."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import xml.etree.ElementTree as ET
from collections.abc import Callable, Mapping
from pathlib import Path

from msgspec.structs import replace

from floe.core.disks import MIB_PER_GIB, Blank, Overlay
from floe.core.errors import HostFailure
from floe.core.guest_questions import Diagnostics
from floe.core.guests import GuestSpec, GuestState, PowerState
from floe.core.nics import Nic
from floe.core.resources import Inventory
from floe.hypervisors.libvirt import addresses, capabilities, disks, domains, firmware, guest_agent, nics, statistics
from floe.hypervisors.libvirt.connection import (
    LibvirtConnection,
    embed_root,
    forget_log,
    gives_guests_users,
    let_guests_through,
)
from floe.hypervisors.libvirt.consoles import Consoles
from floe.hypervisors.libvirt.devices import nic_xml
from floe.hypervisors.libvirt.disk_copies import DiskCopies
from floe.hypervisors.libvirt.events import state_after, state_of
from floe.hypervisors.libvirt.talks import Talks
from floe.hypervisors.libvirt.users import GuestUsers, closed, group_for, nobody
from floe.hypervisors.libvirt.xml import BOOTS, NAMESPACE, domain_xml, told
from floe.hypervisors.protocol import Found, GuestFiles, HypervisorFacts

log = logging.getLogger(__name__)

_AGENT_TURN = 5.0
"""Seconds that it takes at most to ask an agent to shut its guest down, the wait for a thread included."""
_POWER = ""
"""As whom agents are asked for that: no project, and so a turn of its own."""


class LibvirtHypervisor:
    """See `Hypervisor`. `uri`: `qemu:///embed?root=DIR` (no daemon), `qemu:///system`, `qemu+unix:///system?socket=PATH`.

    `disk_dir` has a folder for each guest's files (its file system is the host's DISK_GB); `owner` marks our guests
    on a libvirt shared with others; `version` is what guests read of Floe's own in their SMBIOS. For root each guest is
    a user of its own, one of `guest_uids`; for another user all are that one.
    """

    def __init__(
        self,
        uri: str,
        *,
        disk_dir: Path,
        guest_uids: range,
        owner: str = "floe",
        version: str = "",
        cpu_ratio: float = 4.0,
        memory_ratio: float = 1.0,
        disk_ratio: float = 1.0,
        reserved_memory_mib: int = 512,
        proc: Path = Path("/proc"),
        kvm_device: Path = Path("/dev/kvm"),
    ) -> None:
        self._connection = LibvirtConnection(uri)
        self._talks = Talks(self._connection)
        self._copies = DiskCopies(self._connection, self._talks)
        self._uri = uri
        self._disk_dir = disk_dir
        self._users = GuestUsers(disk_dir, guest_uids) if gives_guests_users(uri) else None
        # A libvirtd has virtlogd for this, which bounds the log that it is given.
        self._root = embed_root(uri)
        self._consoles = Consoles(disk_dir) if self._root is not None else None
        self._save_dir = (self._root / "lib" / "qemu" if self._root is not None else domains.SAVE_DIR) / "save"
        self._owner = owner
        self._version = version
        self._ratios = (cpu_ratio, memory_ratio, disk_ratio)
        self._reserved_memory_mib = reserved_memory_mib
        self._cpuinfo = proc / "cpuinfo"
        self._meminfo = proc / "meminfo"
        self._kvm_device = kvm_device
        self._kvm = False
        self._kvm_group: int | None = None
        """Whose member a guest must be to use KVM, unless everybody may."""
        self._ours: set[str] = set()

    async def open(
        self, on_change: Callable[[GuestState], None], on_speak: Callable[[str], None] = lambda _server_id: None
    ) -> HypervisorFacts:
        """See `Hypervisor.open`. Raises ImportError with both remedies where the bindings are missing."""
        loop = asyncio.get_running_loop()

        def tell(uuid: str, event: int) -> None:
            state = state_after(event)
            if state is not None and uuid in self._ours:
                on_change(GuestState(server_id=uuid, power_state=state))

        def heard(uuid: str, event: int) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(tell, uuid, event)

        def spoke(uuid: str) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(on_speak, uuid)

        def back() -> None:
            if not loop.is_closed():
                asyncio.run_coroutine_threadsafe(self._look_again(on_change), loop)

        if self._users is not None and (place := closed(self._disk_dir)) is not None:
            raise HostFailure(
                f"Guests are users of their own, who cannot reach their disks in {self._disk_dir}: {place} is closed to"
                f" them; chmod o+x {place}"
            )
        await self._connection.open(heard, back, spoke)
        facts = await self.facts()
        await self.guests()
        return facts

    async def close(self) -> None:
        """See `Hypervisor.close`."""
        self._talks.close()
        if self._consoles is not None:
            self._consoles.close()
        await self._connection.close()

    async def facts(self) -> HypervisorFacts:
        """See `Hypervisor.facts`."""
        host = capabilities.parse(await self._connection.capabilities())
        flags = capabilities.cpu_flags(self._cpuinfo.read_text())
        self._kvm = capabilities.kvm_usable(flags, self._kvm_device.exists(), host.domain_types) and self._may_use_kvm()
        if not host.domain_types:
            raise HostFailure("libvirt finds no QEMU for x86_64 on this host; install qemu-system-x86.")
        cpus = await self._connection.cpus()
        memory = capabilities.memory_mib(self._meminfo.read_text())
        disk = shutil.disk_usage(self._disk_dir).total // disks.GIB
        cpu_ratio, memory_ratio, disk_ratio = self._ratios
        sockets, cores, threads = host.topology
        return HypervisorFacts(
            type="KVM" if self._kvm else "QEMU",
            version=await self._connection.version(),
            inventories=(
                Inventory(resource_class="VCPU", total=cpus, allocation_ratio=cpu_ratio, max_unit=cpus),
                Inventory(
                    resource_class="MEMORY_MB",
                    total=memory,
                    reserved=min(self._reserved_memory_mib, memory),
                    allocation_ratio=memory_ratio,
                    max_unit=memory,
                ),
                Inventory(resource_class="DISK_GB", total=disk, allocation_ratio=disk_ratio, max_unit=max(disk, 1)),
            ),
            traits=capabilities.traits(flags, kvm=self._kvm, uefi=firmware.there()),
            cpu_info={
                "arch": host.arch or "x86_64",
                "model": host.model,
                "vendor": host.vendor,
                "sockets": str(sockets),
                "cores": str(cores),
                "threads": str(threads),
                "features": " ".join(sorted(flags)),
            },
        )

    async def adopt_image(self, path: Path, disk_format: str) -> str:
        """See `Hypervisor.adopt_image`."""
        if disk_format == "raw":
            return "raw"  # any bytes are a raw image, and only ever opened as one
        if disk_format not in ("qcow2", *disks.CONVERTED):
            known = ", ".join((*disks.BASE_FORMATS, *disks.CONVERTED))
            raise HostFailure(
                f"This host cannot boot from an image of format {disk_format!r}; it can from {known}.",
                stage="image",
            )
        with disks.apart(path) as folder, nobody() if self._users is None else self._users.lend() as user:
            size = await disks.inspect(folder, "image", disk_format, user)
            if disk_format != "qcow2":
                result = await disks.convert(folder, disk_format, size, user)
                disks.take_back(result)
                result.replace(path)
        return "qcow2"

    async def create_overlay(self, guest: GuestSpec, disk: Overlay, files: GuestFiles, base_format: str) -> None:
        """See `Hypervisor.create_overlay`."""
        size, needed = disk.size_mib * disks.MIB or None, guest.image_of(disk).virtual_size
        if size is not None and needed > size:
            raise HostFailure(
                f"The image needs a disk of {-(-needed // disks.GIB)} GiB;"
                f" the flavor gives {disk.size_mib / MIB_PER_GIB:g} GiB.",
                stage="disk",
            )
        user = await self._user_of(files)
        await disks.create_overlay(files.bases[disk.role], base_format, files.disks[disk.role], size, user)

    async def create_blank(self, guest: GuestSpec, disk: Blank, files: GuestFiles) -> None:
        """See `Hypervisor.create_blank`."""
        await disks.create_blank(files.disks[disk.role], disk, await self._user_of(files))

    async def clone_disk(self, guest: GuestSpec, disk: Overlay | Blank, files: GuestFiles, source: Path) -> None:
        """See `Hypervisor.clone_disk`."""
        size, user = disk.size_mib * disks.MIB, await self._user_of(files)
        if isinstance(disk, Blank):
            await disks.clone_raw(source, files.disks[disk.role], size, user)
        else:
            of_image = guest.image.virtual_size
            await disks.clone_overlay(source, files.disks[disk.role], size or of_image, user)

    async def unpack_disk(self, guest: GuestSpec, disk: Blank, files: GuestFiles, source: Path) -> None:
        """See `Hypervisor.unpack_disk`."""
        user = await self._user_of(files)
        await disks.unpack(source, files.disks[disk.role], disk.size_mib * disks.MIB, user)

    async def start(self, guest: GuestSpec, files: GuestFiles, boots: int = 1) -> PowerState:
        """See `Hypervisor.start`."""
        uuid = guest.server_id
        state = await self._connection.state(uuid)
        self._ours.add(uuid)
        if state is not None and state_of(state) in (PowerState.RUNNING, PowerState.PAUSED):
            return state_of(state)
        if self._consoles is not None:
            files = replace(files, console_log=await self._consoles.pipe(files.directory))
        account = await self._connection.run(self._hand_over, files)
        if guest.image.properties.get("hw_firmware_type") == "uefi":
            await self._connection.run(firmware.have_variables, files.variables, account and account[0])
        marks = {"owner": self._owner, "version": self._version}

        def xml(name: str) -> str:
            named = replace(guest, name=name)
            return domain_xml(named, files, kvm=self._kvm, **marks, account=account, boots=boots)

        return state_of(await self._connection.ask(lambda conn: domains.start(conn, uuid, guest.name, xml)))

    async def find(self, server_id: str) -> Found | None:
        """See `Hypervisor.find`."""
        found = await self._connection.ask(lambda conn: domains.find(conn, server_id, NAMESPACE))
        if found is None:
            return None
        state = state_of(found[0])
        return Found(power_state=state, boots=0 if state.off else int(told(found[1], BOOTS) or 1))

    async def shut_down(self, server_id: str) -> None:
        """See `Hypervisor.shut_down`: through ACPI, and the guest agent where one speaks soon."""
        await self._connection.ask(lambda conn: domains.press_button(conn, server_id))
        with contextlib.suppress(HostFailure, TimeoutError):
            async with asyncio.timeout(_AGENT_TURN):
                await self._talks.ask(lambda conn: domains.tell_agent(conn, server_id), project=_POWER, guest=server_id)

    async def end(self, server_id: str) -> None:
        """See `Hypervisor.end`."""
        await self._connection.ask(lambda conn: domains.end(conn, server_id))

    async def pause(self, server_id: str) -> None:
        """See `Hypervisor.pause`."""
        await self._connection.ask(lambda conn: domains.pause(conn, server_id))

    async def unpause(self, server_id: str) -> None:
        """See `Hypervisor.unpause`."""
        await self._connection.ask(lambda conn: domains.unpause(conn, server_id))

    async def attach_nic(self, guest: GuestSpec, nic: Nic) -> None:
        """See `Hypervisor.attach_nic`."""
        xml = ET.tostring(nic_xml(nic), encoding="unicode")
        await self._connection.ask(lambda conn: nics.attach(conn, guest.server_id, nic.device, xml))

    async def detach_nic(self, server_id: str, nic: Nic, *, ask: bool = True) -> bool:
        """See `Hypervisor.detach_nic`."""
        return await self._connection.ask(lambda conn: nics.detach(conn, server_id, nic.device, ask=ask))

    async def addresses(self, guest: GuestSpec) -> Mapping[str, str]:
        """See `Hypervisor.addresses`."""
        return await self._connection.ask(lambda conn: addresses.now(conn, guest.server_id))

    async def addresses_at_start(self, guest: GuestSpec, files: GuestFiles) -> Mapping[str, str]:
        """See `Hypervisor.addresses_at_start`."""
        xml = domain_xml(addresses.imagined(guest), files, kvm=self._kvm, owner="", version=self._version)
        return await self._connection.ask(lambda conn: addresses.at_start(conn, xml))

    async def set_password(self, guest: GuestSpec, user: str, password: str) -> None:
        """See `Hypervisor.set_password`."""
        await self._talks.ask(
            lambda conn: guest_agent.set_password(conn, guest.server_id, user, password),
            project=guest.metadata.project_id,
            guest=guest.server_id,
        )

    async def diagnostics(self, guest: GuestSpec) -> Diagnostics:
        """See `Hypervisor.diagnostics`."""
        return await self._connection.ask(lambda conn: statistics.diagnostics(conn, guest.server_id))

    async def copy_disk(
        self, guest: GuestSpec, disk: Overlay | Blank, files: GuestFiles, copy: Path, *, quiesce: bool | None
    ) -> None:
        """See `Hypervisor.copy_disk`."""
        user = await self._user_of(files)
        await self._copies.copy(guest, disk, files.disks[disk.role], copy, user, quiesce=quiesce)

    async def end_copy(self, server_id: str, copy: Path) -> None:
        """See `Hypervisor.end_copy`."""
        await self._copies.end(server_id, copy)

    async def interrupt(self, server_id: str) -> None:
        """See `Hypervisor.interrupt`."""
        await self._connection.ask(lambda conn: domains.interrupt(conn, server_id))

    async def suspend(self, server_id: str) -> None:
        """See `Hypervisor.suspend`; the memory is libvirt's managed save, which goes with the domain."""
        await self._connection.ask(lambda conn: domains.suspend(conn, server_id, self._save_dir))

    async def resume(self, guest: GuestSpec, files: GuestFiles) -> None:
        """See `Hypervisor.resume`."""
        if self._consoles is not None:
            await self._consoles.pipe(files.directory)
        await self._connection.ask(lambda conn: domains.resume(conn, guest.server_id))

    async def destroy(self, server_id: str, guest_name: str) -> bool:
        """See `Hypervisor.destroy`. A domain of another owner under that id is left alone and fails the call."""
        await self._connection.ask(lambda conn: addresses.forget(conn, server_id))
        if server_id not in self._ours:
            await self.guests()
        if server_id not in self._ours:
            if await self._connection.state(server_id) is None:
                self._forget_log(guest_name)
                return False
            raise HostFailure(
                f"The guest {guest_name} on this host was not made by this cloud, so it was left alone.",
                stage="guest",
                detail=f"domain {server_id} has no metadata of owner {self._owner!r}",
            )
        name = await self._connection.ask(lambda conn: domains.remove(conn, server_id))
        self._forget_log(name or guest_name)
        self._ours.discard(server_id)
        return name is not None

    async def guests(self) -> list[GuestState]:
        """See `Hypervisor.guests`."""
        if self._consoles is not None:
            await self._consoles.look_after()
        found = []
        for uuid, number, metadata in await self._connection.guests(NAMESPACE):
            if told(metadata, "owner") == self._owner:
                found.append(GuestState(server_id=uuid, power_state=state_of(number)))
        self._ours |= {state.server_id for state in found}
        return found

    async def _user_of(self, files: GuestFiles) -> int | None:
        return None if self._users is None else await self._connection.run(self._users.give, files.directory)

    def _hand_over(self, files: GuestFiles) -> tuple[int, int] | None:
        """Make a guest's files its own and return the user and group that it runs as, None if those are ours."""
        if self._users is None:
            return None
        let_guests_through(self._uri)
        user = self._users.give(files.directory)
        for file in files.disks.values():
            disks.hand_over(file, user)
        return user, self._kvm_group if self._kvm and self._kvm_group is not None else user

    def _may_use_kvm(self) -> bool:
        """Say whether guests may open the device, and note what for they must be members of which group."""
        if self._users is None:
            return os.access(self._kvm_device, os.R_OK | os.W_OK)
        try:
            found = self._kvm_device.stat()
            self._kvm_group = group_for(found.st_mode, found.st_gid)
        except PermissionError as error:
            log.warning(
                "guests are emulated, as they may not use %s: %s; chgrp kvm %s && chmod 660 %s",
                *(self._kvm_device, error, self._kvm_device, self._kvm_device),
            )
            return False
        return True

    def _forget_log(self, guest_name: str) -> None:
        if self._root is not None:  # a libvirtd's logs are its own, and rotated
            forget_log(self._root, guest_name)

    async def _look_again(self, on_change: Callable[[GuestState], None]) -> None:
        """Tell of all guests as they are now, after a time in which nobody told of changes."""
        try:
            found = await self.guests()
        except HostFailure as error:
            log.warning("libvirt is there, but does not list its guests: %s", error.detail or error.message)
            return
        for guest in found:
            on_change(guest)
