"""What every hypervisor does: on the fake here, on libvirt and QEMU where `tests/e2e` runs it in namespaces."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from floe.agent.disks import KINDS, bases, paths, variables
from floe.core.disks import Blank, Overlay, local_disks
from floe.core.errors import HostFailure
from floe.core.guests import GuestImage, GuestMetadata, GuestSpec, GuestState, PowerState
from floe.core.nics import Tap
from floe.hypervisors.fake import FakeHost, FakeHypervisor
from floe.hypervisors.protocol import Found, GuestFiles, Hypervisor
from floe.settings import Settings

SERVER = "bbbbbbbb-0000-4000-8000-00000000000"
KIND = os.environ.get("FLOE_TEST_HYPERVISOR", "fake")

# A boot sector for a PC: writes a text to the first serial port, then halts for ever.
CODE = bytes.fromhex("fa31c08ed8fcbe177cbaf803ac84c07403eeebf8f4ebfd")
BOOT_SECTOR = (CODE + b"a guest named login: \r\n\0").ljust(510, b"\0") + b"\x55\xaa"


@dataclass
class Host:
    """A machine and how to open a hypervisor on it, again and again."""

    directory: Path
    make: Callable[[], Hypervisor]
    hypervisor: Hypervisor | None = None
    changes: list[GuestState] = field(default_factory=list)
    machine: FakeHost | None = None

    async def open(self) -> Any:
        await self.close()
        self.hypervisor = self.make()
        self.facts = await self.hypervisor.open(self.changes.append)
        return self.hypervisor

    async def close(self) -> None:
        if self.hypervisor is not None:
            await self.hypervisor.close()
        self.hypervisor = None

    def files(self, guest: GuestSpec) -> GuestFiles:
        folder = self.directory / "guests" / guest.server_id
        folder.mkdir(parents=True, exist_ok=True)
        return GuestFiles(
            directory=folder,
            disks=paths(guest.disks, folder, KINDS),
            bases=bases(guest.disks, folder),
            console_log=folder / "console.log",
            variables=variables(guest.disks, folder),
        )

    async def base(self, files: GuestFiles) -> str:
        assert self.hypervisor is not None
        path = self.directory / "base"
        if not path.exists():
            path.write_bytes(BOOT_SECTOR + bytes(1024 * 1024))
            path.chmod(0o444)
        files.bases["root"].parent.mkdir(mode=0o700, exist_ok=True)
        if not files.bases["root"].exists():
            files.bases["root"].hardlink_to(path)
        return await self.hypervisor.adopt_image(path, "raw")

    async def run(self, guest: GuestSpec) -> PowerState:
        assert self.hypervisor is not None
        files = self.files(guest)
        base_format = await self.base(files)
        for disk in guest.disks:
            if isinstance(disk, Overlay):
                await self.hypervisor.create_overlay(guest, disk, files, base_format)
            elif isinstance(disk, Blank):
                await self.hypervisor.create_blank(guest, disk, files)
        return await self.hypervisor.start(guest, files)


def guest_number(number: int = 1, **changes: Any) -> GuestSpec:
    guest = GuestSpec(
        server_id=f"{SERVER}{number}",
        name=f"instance-{number:08x}",
        vcpus=1,
        memory_mib=64,
        disks=local_disks({}, image_id="i", root_mib=1024),
        image=GuestImage(image_id="i", checksum="", size=1, disk_format="raw", virtual_size=len(BOOT_SECTOR)),
        metadata=GuestMetadata(hostname=f"vm{number}", name="a <guest> & \x01 more", project_id="p"),
    )
    return replace(guest, **changes)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not condition():
            await asyncio.sleep(0.02)


@pytest.fixture
async def host(tmp_path: Path) -> AsyncIterator[Host]:
    if KIND == "libvirt":
        from floe.hypervisors.libvirt.driver import LibvirtHypervisor

        # An embedded libvirt has one root for the life of its process.
        root = Path(os.environ["FLOE_TEST_LIBVIRT_ROOT"])
        (tmp_path / "guests").mkdir()
        uri = f"qemu:///embed?root={root}"
        host = Host(
            tmp_path,
            lambda: LibvirtHypervisor(uri, disk_dir=tmp_path / "guests", guest_uids=Settings().guest_uids()),
        )
        for folder in (tmp_path, *tmp_path.parents[:-1]):  # pytest closes them
            folder.chmod(folder.stat().st_mode | 0o011)
    else:
        machine = FakeHost()
        host = Host(tmp_path, lambda: FakeHypervisor(machine), machine=machine)
    await host.open()
    yield host
    assert host.hypervisor is not None
    for guest in await host.hypervisor.guests():
        await host.hypervisor.destroy(guest.server_id, "x")
    await host.close()


async def test_a_host_says_what_it_has(host: Host) -> None:
    assert {item.resource_class for item in host.facts.inventories} == {"VCPU", "MEMORY_MB", "DISK_GB"}
    assert all(item.capacity > 0 for item in host.facts.inventories)
    assert "HW_ARCH_X86_64" in host.facts.traits
    assert host.facts.version > 0
    assert host.hypervisor is not None
    assert await host.hypervisor.facts() == host.facts


async def test_a_guest_starts_speaks_and_is_destroyed(host: Host) -> None:
    hypervisor = await host.open()
    guest = guest_number()
    assert await host.run(guest) is PowerState.RUNNING
    assert await hypervisor.guests() == [GuestState(server_id=guest.server_id, power_state=PowerState.RUNNING)]
    log = host.files(guest).console_log
    await until(lambda: log.exists() and b"login: " in log.read_bytes())
    await until(lambda: GuestState(server_id=guest.server_id, power_state=PowerState.RUNNING) in host.changes)
    assert await hypervisor.destroy(guest.server_id, guest.name) is True
    assert await hypervisor.destroy(guest.server_id, guest.name) is False
    assert await hypervisor.guests() == []
    if KIND == "libvirt":
        log = Path(os.environ["FLOE_TEST_LIBVIRT_ROOT"]) / "log" / "qemu" / f"{guest.name}.log"
        assert not log.exists(), "there would be one for each guest ever"


async def test_a_start_and_a_disk_may_be_repeated(host: Host) -> None:
    disks = local_disks({}, image_id="i", root_mib=1024, swap_mib=16, ephemeral_mib=1024, config_drive=True)
    guest = guest_number(disks=disks)
    files = host.files(guest)
    files.disks["config"].write_bytes(bytes(65536))
    await host.run(guest)
    inode = files.disks["root"].stat().st_ino
    assert await host.run(guest) is PowerState.RUNNING
    assert files.disks["root"].stat().st_ino == inode
    assert host.hypervisor is not None
    assert len(await host.hypervisor.guests()) == 1


async def test_a_guest_survives_its_driver_and_is_found_again(host: Host) -> None:
    guest = guest_number()
    await host.run(guest)
    hypervisor = await host.open()
    assert await hypervisor.guests() == [GuestState(server_id=guest.server_id, power_state=PowerState.RUNNING)]
    assert await hypervisor.start(guest, host.files(guest)) is PowerState.RUNNING
    assert await hypervisor.destroy(guest.server_id, guest.name) is True


async def test_a_guest_whose_name_another_one_has_starts_and_boots_again_and_goes_without_it(host: Host) -> None:
    """An older copy of the database gives numbers out again of which there are guests."""
    hypervisor = await host.open()
    first, second = guest_number(1), guest_number(2, name=guest_number(1).name)
    for guest in (first, second, second):
        assert await host.run(guest) is PowerState.RUNNING
    await hypervisor.end(second.server_id)
    assert await hypervisor.start(second, host.files(second), 2) is PowerState.RUNNING
    assert await hypervisor.destroy(first.server_id, first.name) is True
    await hypervisor.end(second.server_id)
    assert await hypervisor.start(second, host.files(second), 3) is PowerState.RUNNING
    assert await hypervisor.find(second.server_id) == Found(power_state=PowerState.RUNNING, boots=3)
    assert await hypervisor.guests() == [GuestState(server_id=second.server_id, power_state=PowerState.RUNNING)]
    assert await hypervisor.destroy(second.server_id, second.name) is True
    assert await hypervisor.guests() == []
    if KIND == "libvirt":
        assert list((Path(os.environ["FLOE_TEST_LIBVIRT_ROOT"]) / "log" / "qemu").glob("instance-*.log")) == []


async def test_what_was_never_there_is_destroyed_without_complaint(host: Host) -> None:
    assert host.hypervisor is not None
    assert await host.hypervisor.destroy(f"{SERVER}9", "instance-00000009") is False


async def test_power_a_guest_is_turned_off_and_booted_again_and_says_which_boot_it_is(host: Host) -> None:
    guest = guest_number()
    await host.run(guest)
    hypervisor = host.hypervisor
    assert hypervisor is not None
    assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.RUNNING, boots=1)
    log = host.files(guest).console_log
    await until(lambda: log.exists() and b"login: " in log.read_bytes())
    for _ in range(2):
        await hypervisor.end(guest.server_id)
        assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.SHUTDOWN)
    assert await hypervisor.start(guest, host.files(guest), 4) is PowerState.RUNNING
    hypervisor = await host.open()
    assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.RUNNING, boots=4)
    assert await hypervisor.start(guest, host.files(guest), 5) is PowerState.RUNNING
    assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.RUNNING, boots=4)
    assert await hypervisor.find(f"{SERVER}9") is None
    await until(lambda: log.read_bytes().count(b"login: ") == 2)


async def test_a_guest_that_was_turned_off_starts_from_other_disks(host: Host) -> None:
    guest = guest_number()
    await host.run(guest)
    hypervisor = host.hypervisor
    assert hypervisor is not None
    log, before = host.files(guest).console_log, host.files(guest)
    await until(lambda: log.exists() and b"login: " in log.read_bytes())
    image = replace(guest.image, image_id="other", properties={"hw_disk_bus": "ide"})
    disks = tuple(replace(disk, make=7) for disk in local_disks(image.properties, image_id="other", root_mib=1024))
    other = replace(guest, image=image, disks=disks)
    assert host.files(other).disks["root"] not in before.disks.values()
    await hypervisor.end(guest.server_id)
    assert await host.run(other) is PowerState.RUNNING
    before.disks["root"].unlink()
    await until(lambda: log.read_bytes().count(b"login: ") == 2)
    assert len(await hypervisor.guests()) == 1
    await hypervisor.end(guest.server_id)
    assert await hypervisor.start(other, host.files(other), 3) is PowerState.RUNNING


async def test_power_a_paused_guest_stands_still_until_it_goes_on(host: Host) -> None:
    guest = guest_number()
    await host.run(guest)
    hypervisor = host.hypervisor
    assert hypervisor is not None
    for _ in range(2):
        await hypervisor.pause(guest.server_id)
        assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.PAUSED, boots=1)
    await until(lambda: host.changes[-1].power_state is PowerState.PAUSED)
    assert await hypervisor.start(guest, host.files(guest), 2) is PowerState.PAUSED
    for _ in range(2):
        await hypervisor.unpause(guest.server_id)
        assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.RUNNING, boots=1)
    await until(lambda: host.changes[-1].power_state is PowerState.RUNNING)
    await hypervisor.pause(guest.server_id)
    await hypervisor.end(guest.server_id)
    assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.SHUTDOWN)


async def test_power_a_suspended_guest_goes_on_in_the_boot_that_it_was_in(host: Host) -> None:
    guest = guest_number()
    await host.run(guest)
    hypervisor = host.hypervisor
    assert hypervisor is not None
    log = host.files(guest).console_log
    await until(lambda: log.exists() and b"login: " in log.read_bytes())
    for _ in range(2):
        await hypervisor.suspend(guest.server_id)
        assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.SUSPENDED, boots=1)
    await until(lambda: host.changes[-1].power_state is PowerState.SUSPENDED)
    hypervisor = await host.open()
    assert await hypervisor.guests() == [GuestState(server_id=guest.server_id, power_state=PowerState.SUSPENDED)]
    for _ in range(2):
        await hypervisor.resume(guest, host.files(guest))
        assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.RUNNING, boots=1)
    assert log.read_bytes().count(b"login: ") == 1
    await hypervisor.suspend(guest.server_id)
    assert await hypervisor.start(guest, host.files(guest), 2) is PowerState.RUNNING
    assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.RUNNING, boots=2)
    await until(lambda: log.read_bytes().count(b"login: ") == 2)
    await hypervisor.suspend(guest.server_id)
    await hypervisor.end(guest.server_id)
    assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.SHUTDOWN)


async def test_power_a_guest_that_is_on_may_be_interrupted_and_goes_on(host: Host) -> None:
    guest = guest_number()
    await host.run(guest)
    hypervisor = host.hypervisor
    assert hypervisor is not None
    await hypervisor.interrupt(guest.server_id)
    assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.RUNNING, boots=1)
    await hypervisor.pause(guest.server_id)
    await hypervisor.interrupt(guest.server_id)
    assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.PAUSED, boots=1)
    await hypervisor.end(guest.server_id)
    with pytest.raises(HostFailure):
        await hypervisor.interrupt(guest.server_id)


async def test_a_nic_is_given_to_a_guest_that_is_on_as_often_as_it_is_said_and_none_to_one_that_is_off(
    host: Host,
) -> None:
    guest, nic = guest_number(), Tap(port_id=f"{SERVER}7", mac="fa:16:3e:00:00:07", device="tapnicseven")
    if KIND == "libvirt":
        subprocess.run(["ip", "tuntap", "add", "dev", nic.device, "mode", "tap"], check=True)
    hypervisor = host.hypervisor
    assert hypervisor is not None
    await hypervisor.attach_nic(guest, nic)  # which is not there at all
    assert await hypervisor.detach_nic(guest.server_id, nic)
    await host.run(guest)
    assert await hypervisor.detach_nic(guest.server_id, nic), "it has none such"
    for _ in range(2):
        await hypervisor.attach_nic(guest, nic)
        assert not await hypervisor.detach_nic(guest.server_id, nic, ask=False)
    await hypervisor.detach_nic(guest.server_id, nic)
    await hypervisor.detach_nic(guest.server_id, nic)  # as often as it is said
    await hypervisor.end(guest.server_id)
    assert await hypervisor.detach_nic(guest.server_id, nic)
    await hypervisor.attach_nic(guest, nic)
    assert await hypervisor.detach_nic(guest.server_id, nic)
    if host.machine is None:
        subprocess.run(["ip", "link", "del", nic.device], check=True)


async def test_the_addresses_of_devices_are_known_before_a_start_and_nothing_is_left_of_that(host: Host) -> None:
    hypervisor = await host.open()
    disks = local_disks({}, image_id="i", root_mib=1024, swap_mib=16)
    guest = guest_number(disks=disks)
    assert await hypervisor.addresses_at_start(guest, host.files(guest)) == (
        before := await hypervisor.addresses_at_start(guest, host.files(guest))
    )
    assert before.keys() == {"vda", "vdb"} and len(set(before.values())) == 2
    assert await hypervisor.find(guest.server_id) is None
    assert await hypervisor.guests() == []
    await host.run(guest)
    assert await hypervisor.addresses(guest) == before
    with_one_more = replace(guest, disks=local_disks({}, image_id="i", root_mib=1024, swap_mib=16, ephemeral_mib=16))
    assert len(await hypervisor.addresses_at_start(with_one_more, host.files(with_one_more))) == 3
    found = await hypervisor.find(guest.server_id)
    assert found is not None and found.power_state is PowerState.RUNNING


async def test_a_guest_with_uefi_and_queues_starts_again_with_the_variables_that_it_wrote(host: Host) -> None:
    properties = {"hw_firmware_type": "uefi"}
    nic = Tap(port_id=f"{SERVER}8", mac="fa:16:3e:00:00:08", device="tapniceight", queues=2)
    guest = guest_number(vcpus=2, nics=(nic,))
    guest = replace(guest, image=replace(guest.image, properties=properties))
    if KIND == "libvirt":
        several = ["ip", "tuntap", "add", "dev", nic.device, "mode", "tap", "multi_queue"]
        subprocess.run(several, check=True)
    assert await host.run(guest) is PowerState.RUNNING
    assert host.hypervisor is not None
    await host.hypervisor.end(guest.server_id)
    variables = host.files(guest).variables
    if host.machine is None:
        written = variables.read_bytes()[:-1] + b"x"
        variables.write_bytes(written)
        assert await host.hypervisor.start(guest, host.files(guest), 2) is PowerState.RUNNING
        assert variables.read_bytes()[-1:] == b"x"
        await host.hypervisor.destroy(guest.server_id, guest.name)
        subprocess.run(["ip", "link", "del", nic.device], check=True)


async def test_power_what_is_off_can_be_neither_paused_nor_suspended(host: Host) -> None:
    guest = guest_number()
    await host.run(guest)
    hypervisor = host.hypervisor
    assert hypervisor is not None
    await hypervisor.end(guest.server_id)
    for call in (hypervisor.pause, hypervisor.suspend):
        with pytest.raises(HostFailure):
            await call(guest.server_id)
    assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.SHUTDOWN)


async def test_power_a_guest_that_does_not_listen_to_its_power_button_goes_on(host: Host) -> None:
    guest = guest_number()
    await host.run(guest)
    hypervisor = host.hypervisor
    assert hypervisor is not None
    if host.machine is not None:
        host.machine.deaf.add(guest.server_id)
    await hypervisor.shut_down(guest.server_id)
    assert await hypervisor.find(guest.server_id) == Found(power_state=PowerState.RUNNING, boots=1)


async def test_two_guests_do_not_disturb_each_other(host: Host) -> None:
    first, second = guest_number(1), guest_number(2)
    await asyncio.gather(host.run(first), host.run(second))
    assert host.hypervisor is not None
    await host.hypervisor.destroy(first.server_id, first.name)
    assert [guest.server_id for guest in await host.hypervisor.guests()] == [second.server_id]


libvirt_only = pytest.mark.skipif(KIND != "libvirt", reason="the fake runs no program that could fail")


@libvirt_only
async def test_a_guest_that_cannot_start_says_why(host: Host) -> None:
    guest = guest_number()
    files = host.files(guest)
    files.disks["root"].write_bytes(b"this is no qcow2 file")
    assert host.hypervisor is not None
    with pytest.raises(HostFailure, match=r"The guest could not be run: .*qcow2") as caught:
        await host.hypervisor.start(guest, files)
    assert caught.value.stage == "guest"
    assert caught.value.detail
    await host.hypervisor.destroy(guest.server_id, guest.name)
    assert await host.hypervisor.guests() == []


@libvirt_only
async def test_a_killed_guest_is_told_within_the_second(host: Host) -> None:
    guest = guest_number()
    await host.run(guest)
    pid = next(
        int(entry.name)
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and str(host.files(guest).disks["root"]).encode() in (entry / "cmdline").read_bytes()
    )
    os.kill(pid, 9)
    await until(lambda: GuestState(server_id=guest.server_id, power_state=PowerState.SHUTDOWN) in host.changes)


@libvirt_only
async def test_images_that_lie_or_refer_elsewhere_are_refused(host: Host, tmp_path: Path) -> None:
    assert host.hypervisor is not None
    liar = tmp_path / "liar.qcow2"
    liar.write_bytes(b"not at all")
    with pytest.raises(HostFailure, match="no usable qcow2") as caught:
        await host.hypervisor.adopt_image(liar, "qcow2")
    assert caught.value.stage == "image"
    backed = tmp_path / "backed.qcow2"
    command = ("qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-u", "-b", "/etc/passwd", str(backed), "1M")
    process = await asyncio.create_subprocess_exec(*command)
    assert await process.wait() == 0
    with pytest.raises(HostFailure, match="file outside itself"):
        await host.hypervisor.adopt_image(backed, "qcow2")
    with pytest.raises(HostFailure, match="cannot boot from an image of format 'ploop'"):
        await host.hypervisor.adopt_image(backed, "ploop")


@libvirt_only
async def test_a_foreign_format_is_converted_once(host: Host, tmp_path: Path) -> None:
    assert host.hypervisor is not None
    image = tmp_path / "images" / "image"
    image.parent.mkdir()
    process = await asyncio.create_subprocess_exec("qemu-img", "create", "-q", "-f", "vmdk", str(image), "1M")
    assert await process.wait() == 0
    assert await host.hypervisor.adopt_image(image, "vmdk") == "qcow2"
    assert image.read_bytes()[:4] == b"QFI\xfb"
    assert sorted(entry.name for entry in image.parent.iterdir()) == ["image"]


SPY = """#!/bin/sh
exec >&2
echo "user $(id -u) groups $(id -G) image $(wc -c < image) devices $(($(wc -l < /proc/net/dev) - 2))"
grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status
ulimit -f -v -t
cat SECRET
echo more > image
touch beside
sleep 3600 &
exit 1
"""


@libvirt_only
async def test_what_reads_an_image_can_do_nothing_else(
    host: Host, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stand-in for a qemu-img that an image has taken over: a user of its own, without rights, network or writing."""
    assert host.hypervisor is not None
    secret = tmp_path / "images" / "of-another-project"
    secret.parent.mkdir(mode=0o700)
    secret.write_text("the secret")
    secret.chmod(0o444)  # as base images are: it is the folder that is closed
    spy = tmp_path / "tools" / "qemu-img"
    spy.parent.mkdir()
    spy.write_text(SPY.replace("SECRET", str(secret)))
    spy.chmod(0o755)
    spy.parent.chmod(0o755)
    monkeypatch.setenv("PATH", f"{spy.parent}:{os.environ['PATH']}")
    image = secret.with_name("image.part")
    image.write_bytes(b"QFI")
    with pytest.raises(HostFailure) as caught:
        await host.hypervisor.adopt_image(image, "qcow2")
    said = caught.value.detail
    told = dict(line.split(":\t") for line in said.splitlines() if ":\t" in line)
    words = said.partition("user ")[2].split()
    assert int(words[0]) in Settings().guest_uids()
    assert words[1:7] == ["groups", words[0], "image", "3", "devices", "1"]
    assert told == {"CapEff": "0" * 16, "CapBnd": "0" * 16, "NoNewPrivs": "1"}
    assert "the secret" not in said
    assert said.count("Permission denied") + said.count("cannot create") + said.count("cannot touch") >= 3
    assert image.read_bytes() == b"QFI"
    assert sorted(file.name for file in secret.parent.iterdir()) == ["image.part", "of-another-project"]
    assert not [
        entry
        for entry in Path("/proc").iterdir()
        if entry.name.isdigit() and b"sleep\x003600" in (entry / "cmdline").read_bytes()
    ]


async def copied(host: Host, guest: GuestSpec, quiesce: bool | None = False) -> Path:
    assert host.hypervisor is not None
    files, (disk, *_) = host.files(guest), guest.disks
    assert isinstance(disk, Overlay)
    copy = files.directory / "snapshot.qcow2"
    await host.hypervisor.copy_disk(guest, disk, files, copy, quiesce=quiesce)
    return copy


def facts_of(image: Path) -> dict[str, Any]:
    told = subprocess.run(["qemu-img", "info", "-f", "qcow2", "--output=json", image], capture_output=True, check=True)
    found: dict[str, Any] = json.loads(told.stdout)
    return found


@pytest.mark.parametrize("state", ["running", "paused", "off"])
async def test_a_copy_of_a_disk_stands_alone_and_the_guest_goes_on(host: Host, state: str) -> None:
    guest = guest_number(1)
    await host.run(guest)
    hypervisor = host.hypervisor
    assert hypervisor is not None
    if state == "paused":
        await hypervisor.pause(guest.server_id)
    if state == "off":
        await hypervisor.end(guest.server_id)
    before = await hypervisor.find(guest.server_id)
    copy = await copied(host, guest)
    found = facts_of(copy)
    assert (found["format"], found["virtual-size"], found.get("backing-filename")) == ("qcow2", 1024**3, None)
    if KIND == "libvirt":
        raw = copy.with_name("raw")
        subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", copy, raw], check=True)
        with raw.open("rb") as file:
            assert file.read(512) == BOOT_SECTOR
        raw.unlink()
    await hypervisor.end_copy(guest.server_id, copy)
    assert await hypervisor.find(guest.server_id) == before
    copy.unlink()
    assert await copied(host, guest) == copy  # and once more


async def test_a_copy_that_was_left_is_broken_off_by_whoever_comes(host: Host) -> None:
    guest = guest_number(1)
    await host.run(guest)
    copy = await copied(host, guest)
    (copy.with_suffix(".frozen")).touch()
    again = await host.open()
    await again.end_copy(guest.server_id, copy)
    await again.end_copy(guest.server_id, copy)
    assert (await again.find(guest.server_id)).power_state is PowerState.RUNNING


async def test_a_guest_whose_agent_says_nothing_is_not_copied_where_it_must_be_quiesced(host: Host) -> None:
    guest = guest_number(1)
    await host.run(guest)
    if host.machine is not None:
        host.machine.deaf.add(guest.server_id)
    with pytest.raises(HostFailure, match="quiesced"):
        await copied(host, guest, quiesce=True)
    assert not (host.files(guest).directory / "snapshot.frozen").exists()
    assert await copied(host, guest, quiesce=None)


async def test_a_blank_disk_is_made_elsewhere_of_a_copy_of_it_and_grown(host: Host) -> None:
    disks = local_disks({}, image_id="i", root_mib=1024, ephemeral_mib=4)
    guest, hypervisor = guest_number(1, disks=disks), host.hypervisor
    assert hypervisor is not None
    files = host.files(guest)
    await host.base(files)
    (blank,) = (disk for disk in disks if isinstance(disk, Blank))
    await hypervisor.create_blank(guest, blank, files)
    with files.disks[blank.role].open("r+b") as file:
        file.write(BOOT_SECTOR)
    copy = files.directory / "snapshot.qcow2"
    await hypervisor.copy_disk(guest, blank, files, copy, quiesce=False)
    found = facts_of(copy)
    assert (found["format"], found["virtual-size"], found.get("backing-filename")) == ("qcow2", 4 << 20, None)
    large = replace(blank, size_mib=8)
    there = guest_number(2, disks=(disks[0], large))
    other = host.files(there)
    await host.base(other)
    source = other.bases["root"].with_name("content")
    source.write_bytes(copy.read_bytes())
    source.chmod(0o444)
    for _ in range(2):
        await hypervisor.unpack_disk(there, large, other, source)
        with other.disks[blank.role].open("rb") as file:
            assert (file.read(512), other.disks[blank.role].stat().st_size) == (BOOT_SECTOR, 8 << 20)
    if KIND == "libvirt":
        small = replace(blank, size_mib=2, make=1)
        smaller = replace(there, disks=(disks[0], small))
        with pytest.raises(HostFailure, match="larger than it was made"):
            await hypervisor.unpack_disk(smaller, small, host.files(smaller), source)
