"""A further kind of disk, added as `docs/howto/add-a-disk-kind.md` says: a network block device, behind a socket."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path
from typing import Any, TypeAlias

import msgspec
import pytest
from msgspec.structs import replace

from floe.agent.agent import Agent
from floe.agent.disks import KINDS, Kind, Workshop
from floe.agent.folders import version_of
from floe.agent.guests import GuestBuilder
from floe.agent.steps import Steps
from floe.agent.threads import in_thread
from floe.core.disks import Disk
from floe.core.errors import HostFailure
from floe.core.messages import Destroy
from floe.hypervisors.libvirt import devices


# 1. The kind.
class Nbd(msgspec.Struct, frozen=True, kw_only=True, tag="nbd"):
    role: str
    device: str
    bus: str
    boot_index: int | None = None
    server: str
    export: str
    serial: str
    make: int = 0


AnyDisk: TypeAlias = Disk | Nbd
VOLUME = Nbd(role="vol-1", device="vdb", bus="virtio", server="10.0.0.9:10809", export="v1", serial="v1")


# 2. On the host: connected by one function, let go of by another.
class Connector:
    def __init__(self) -> None:
        self.connected: dict[str, str] = {}
        self.broken = False

    async def connect(self, disk: Nbd, at: Workshop) -> None:
        path = at.files.disks[disk.role]
        self.connected[str(path)] = f"{disk.server}/{disk.export}"
        path.write_text(disk.server)

    async def release(self, folder: Path) -> None:
        if self.broken:
            raise HostFailure("The volume's server does not answer.", stage="disk")
        for path in folder.glob("*.nbd"):
            self.connected.pop(str(path), None)

    def kind(self) -> Kind:
        return Kind("nbd", self.connect, self.release)


# 3. At the hypervisor: its element.
def nbd_xml(disk: Nbd, source: Path) -> ET.Element:
    made = ET.Element("disk", type="network", device="disk")
    ET.SubElement(made, "driver", name="qemu", type="raw")
    origin = ET.SubElement(made, "source", protocol="nbd", name=disk.export)
    ET.SubElement(origin, "host", transport="unix", socket=str(source))
    ET.SubElement(made, "target", dev=disk.device, bus=disk.bus)
    ET.SubElement(made, "serial").text = disk.serial
    return made


def test_it_travels_beside_the_kinds_that_there_are(spawn: Any) -> None:
    disks = (*spawn().guest.disks, VOLUME)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(disks), type=tuple[AnyDisk, ...]) == disks
    assert msgspec.convert(msgspec.to_builtins(VOLUME), AnyDisk) == VOLUME


def test_it_has_an_element_of_its_own_in_the_place_that_any_disk_has() -> None:
    table = {**devices.DISKS, Nbd: nbd_xml}
    made = devices.disk_xml(VOLUME, Path("/state/s/vol-1.nbd"), table)
    assert (made.get("type"), made.findtext("serial")) == ("network", "v1")
    with pytest.raises(HostFailure, match="fdc"):
        devices.disk_xml(msgspec.structs.replace(VOLUME, bus="fdc"), Path("/x"), table)


def builder_of(world: Any, agent: Agent, connector: Connector) -> GuestBuilder:
    assert agent._ledger is not None
    assert agent._ports is not None
    return GuestBuilder(
        directory=agent._guests_dir,
        ledger=agent._ledger,
        images=agent._images,
        ports=agent._ports,
        hypervisor=world.hypervisor,
        offload=in_thread,
        seed=bytes,
        version=version_of,
        first_passwords=agent._first_passwords,
        kinds={**KINDS, Nbd: connector.kind()},
    )


async def test_it_is_made_with_a_guest_and_let_go_of_with_it(world: Any, spawn: Any) -> None:
    agent = await world.start()
    connector = Connector()
    builder = builder_of(world, agent, connector)
    command = spawn()
    guest = replace(command.guest, disks=(*command.guest.disks, VOLUME), nics=())
    command = replace(command, guest=guest)
    steps = Steps(host="h1", action_id="a", clock=agent._clock, publish=lambda _: None, patience=9)

    await builder.spawn(command, steps, present=False)
    socket = world.folder(guest.server_id) / "vol-1.nbd"
    assert connector.connected == {str(socket): "10.0.0.9:10809/v1"}

    connector.broken = True
    destroy = Destroy(action_id="d", server_id=guest.server_id, guest_name=guest.name)
    with pytest.raises(HostFailure, match="does not answer"):
        await builder.destroy(destroy, steps)
    assert socket.exists(), "what tells of the connection stays until it is gone"

    connector.broken = False
    await builder.destroy(destroy, steps)
    assert connector.connected == {}
    assert not world.folder(guest.server_id).exists()


async def test_a_build_that_fails_lets_go_of_it_too(world: Any, spawn: Any) -> None:
    agent = await world.start()
    connector = Connector()
    builder = builder_of(world, agent, connector)
    command = spawn()
    guest = replace(command.guest, disks=(*command.guest.disks, VOLUME), nics=())
    steps = Steps(host="h1", action_id="a", clock=agent._clock, publish=lambda _: None, patience=9)
    world.machine.fail("start")
    with pytest.raises(HostFailure):
        await builder.spawn(replace(command, guest=guest), steps, present=False)
    assert connector.connected == {}
    assert not world.folder(guest.server_id).exists()
