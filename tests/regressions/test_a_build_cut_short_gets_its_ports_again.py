"""A host whose agent died in a build, after the host's whole network had come, built the guest anew without its port.

The restart forgot the port at the generation of the whole; the repeated spawn brought it at the older generation of
its own fragment, which was taken for out of date. The spawn succeeded, and the guest ran unplugged for ever.
Found by simulation: two creates on a host, a rule about their group, a crash.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from floe.agent.ledger import Ledger
from floe.agent.ports import Ports
from floe.core.clock import FixedClock
from floe.core.disks import local_disks
from floe.core.errors import HostFailure
from floe.core.guests import GuestImage, GuestMetadata, GuestSpec
from floe.core.host_network import HostNetwork, HostPort, HostSegment
from floe.core.host_network_state import HostNetworkState
from floe.core.messages import Spawn
from floe.core.nics import Tap
from floe.dataplane.fake import FakePlane

SERVER = "bbbbbbbb-0000-4000-8000-000000000001"
SEGMENT = HostSegment(network_id="net", name="private", tag=1)
PORT = HostPort(port_id="port", network_id="net", server_id=SERVER, mac="fa:16:3e:00:00:01", tap="tap1")


def network(generation: int) -> HostNetwork:
    return HostNetwork(generation=generation, segments=(SEGMENT,), ports=(PORT,))


def spawn() -> Spawn:
    guest = GuestSpec(
        server_id=SERVER,
        name="instance-00000001",
        vcpus=1,
        memory_mib=128,
        disks=local_disks({}, image_id="i", root_mib=1024),
        image=GuestImage(image_id="i", checksum="0" * 128, size=1, disk_format="raw", virtual_size=1),
        nics=(Tap(port_id="port", mac=PORT.mac, device=PORT.tap),),
        metadata=GuestMetadata(hostname="vm", name="vm", project_id="p"),
    )
    return Spawn(action_id="create", guest=guest, network=network(5))


def test_a_spawn_repeated_after_a_crash_brings_its_ports_although_a_newer_network_came_between(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", FixedClock())
    ledger.begin(spawn())
    ledger.replace_network(network(9))
    ledger.drop()

    ledger = Ledger(tmp_path / "ledger", FixedClock())
    ledger.abandon(SERVER)
    assert ledger.network.ports == {}
    assert ledger.network.generation == 0, "the host must ask for its whole network: rules may have changed since"
    ledger.begin(spawn())
    assert ledger.network.ports == {"port": PORT}
    assert ledger.network.segments == {"net": SEGMENT}
    ledger.close()


async def test_a_port_that_the_host_does_not_know_is_not_plugged() -> None:
    async def follow() -> None:
        return

    state = HostNetworkState()
    state.merge(network(5))
    state.remove_ports(("port",), 6)
    state.merge(network(5))
    ports = Ports(state.snapshot, FakePlane(), follow)
    with pytest.raises(HostFailure, match="taken away"):
        await asyncio.wait_for(ports.plug(frozenset({"port"})), 5)
