"""The machine itself as the outside: guests are reached from it and reach on by it, and it is as it was afterwards."""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from floe.core.host_network import GroupRule
from floe.dataplane.linux import kernel
from floe.dataplane.linux.machine import Machine
from floe.dataplane.linux.names import machine_bridge
from floe.dataplane.linux.plane import LinuxPlane
from floe.dataplane.protocol import PortsFailure

from .conftest import Guests, Town, floating
from .test_routers import FLOATING, own, ping, place, sees

pytestmark = pytest.mark.e2e

MACHINE = "172.24.4.1"
BRIDGE = machine_bridge("public")
FORWARD = Path("/proc/sys/net/ipv4/ip_forward")
UPSTREAM, ELSEWHERE = "198.51.100.1", "198.51.100.9"


@pytest.fixture
def elsewhere(private_network: None) -> Iterator[str]:
    """Return the namespace of another machine, that this one is connected to and that knows nothing of guests."""
    commands = [
        "netns add elsewhere",
        "link add name uplink type veth peer name eth0 netns elsewhere",
        f"addr add {UPSTREAM}/24 dev uplink",
        "link set dev uplink up",
        f"netns exec elsewhere ip addr add {ELSEWHERE}/24 dev eth0",
        "netns exec elsewhere ip link set dev eth0 up",
        "netns exec elsewhere ip link set dev lo up",
    ]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)
    yield "elsewhere"
    subprocess.run(["ip", "netns", "del", "elsewhere"], check=True)


@pytest.fixture
def machine() -> Machine:
    return Machine(addresses={"public": f"{MACHINE}/24"}, forwards=True)


@pytest.fixture
async def town(private_network: None, machine: Machine, world, guests: Guests, tmp_path: Path):
    """Give the town of the routers' tests, whose outside is the machine."""
    FORWARD.write_text("0")
    plane = LinuxPlane(tmp_path, machine=machine)
    await plane.open()
    anything = tuple(GroupRule(direction=direction) for direction in ("ingress", "egress"))
    first = world.segment(1, dhcp=False)
    second = world.segment(2, dhcp=False, net="10.8.0")
    public = world.segment(3, dhcp=False, mtu=1450, net="172.24.4", physical="public")
    yield Town(
        world=world,
        plane=plane,
        guests=guests,
        outside="",
        first=first,
        second=second,
        public=public,
        router=world.router(1, first, second, outside=public),
        group=world.group(1, *anything),
    )
    await plane.remove_all()
    await plane.close()


def addresses() -> list[str]:
    return kernel.addresses().get(BRIDGE, [])


async def test_a_guest_is_reached_from_the_machine_by_its_floating_ip(town: Town) -> None:
    a = town.guest(11)
    await town.apply(floating=(floating(FLOATING, a),))
    await from_machine(FLOATING)
    assert addresses() == [f"{MACHINE}/24"]
    assert await town.plane.drift(town.world.network) == []


async def from_machine(address: str) -> None:
    """Wait until an echo comes back to the machine."""
    words = ["busybox", "ping", "-c", "1", "-W", "1", address]
    for _ in range(20):
        if subprocess.run(words, capture_output=True, check=False).returncode == 0:
            return
    raise AssertionError(f"{address} does not answer")


async def test_guests_reach_what_the_machine_is_connected_to_from_its_own_address(town: Town, elsewhere: str) -> None:
    a = town.guest(11)
    await town.apply(floating=(floating(FLOATING, a),))
    await ping(town.guests, place(a), ELSEWHERE)
    assert await sees(town.guests, place(a), elsewhere, ELSEWHERE) == UPSTREAM
    assert FORWARD.read_text().strip() == "1"


async def test_guests_reach_nothing_of_the_machines_own_where_it_leads_on(town: Town, elsewhere: str) -> None:
    a = town.guest(11)
    await town.apply()
    await ping(town.guests, place(a), MACHINE)  # it answers that, to show that it is there
    with socket.create_server(("0.0.0.0", 0)) as listener:
        port = listener.getsockname()[1]
        for address in (MACHINE, UPSTREAM):
            assert not await connects(town.guests, place(a), address, port)


async def connects(guests: Guests, source: str, address: str, port: int) -> bool:
    """Say whether a connection is taken within a time that is long for one machine."""
    with await guests.client(source) as client:
        try:
            async with asyncio.timeout(2):
                await asyncio.get_running_loop().sock_connect(client, (address, port))
        except (OSError, TimeoutError):
            return False
    return True


async def test_in_a_sandbox_nothing_is_led_on_and_the_machine_is_reached(town: Town, tmp_path: Path) -> None:
    plane = LinuxPlane(tmp_path, machine=Machine(addresses={"public": f"{MACHINE}/24"}))
    await plane.open()
    a = town.guest(11)
    await plane.apply(town.world.network)
    await ping(town.guests, place(a), MACHINE)
    assert FORWARD.read_text().strip() == "0"
    with socket.create_server(("0.0.0.0", 0)) as listener:
        assert await connects(town.guests, place(a), MACHINE, listener.getsockname()[1])
    await plane.close()


async def test_it_is_there_before_any_guest_and_follows_the_gateways_of_the_network(town: Town) -> None:
    await town.plane.apply(replace(town.world.network, ports=(), routers=(), segments=()))
    assert addresses() == [f"{MACHINE}/24"]
    town.guest(11)
    subnet = replace(town.public.subnets[0], cidr="10.99.0.0/16", gateway="10.99.0.1")
    segments = tuple(
        replace(each, subnets=(subnet,)) if each.physical else each for each in town.world.network.segments
    )
    await town.plane.apply(replace(town.world.network, segments=segments))
    assert addresses() == ["10.99.0.1/16"]


@pytest.mark.parametrize(
    "deed",
    [
        f"ip link del dev {BRIDGE}",
        f"ip addr del {MACHINE}/24 dev {BRIDGE}",
        f"ip link set dev {BRIDGE} down",
        "nft delete table ip floe_outside",
        "echo 0 > /proc/sys/net/ipv4/ip_forward",
        f"echo 1 > /proc/sys/net/ipv4/conf/{BRIDGE}/accept_source_route",
    ],
)
async def test_what_is_changed_behind_its_back_is_mended(town: Town, elsewhere: str, deed: str) -> None:
    a = town.guest(11)
    await town.apply(floating=(floating(FLOATING, a),))
    await from_machine(FLOATING)
    subprocess.run(["sh", "-c", deed], check=True)
    assert await town.plane.drift(town.world.network)
    await town.apply()
    assert await town.plane.drift(town.world.network) == []
    await from_machine(FLOATING)
    await ping(town.guests, place(a), ELSEWHERE)


async def test_the_machine_is_as_it_was_when_it_is_the_outside_no_more(town: Town, tmp_path: Path) -> None:
    town.guest(11)
    await town.apply()
    rules = subprocess.run(["nft", "list", "table", "ip", "floe_outside"], capture_output=True, check=False)
    assert rules.returncode == 0
    without = LinuxPlane(tmp_path)
    await without.open()
    await without.apply(town.world.network)
    assert BRIDGE not in kernel.devices()
    assert FORWARD.read_text().strip() == "0"
    rules = subprocess.run(["nft", "list", "table", "ip", "floe_outside"], capture_output=True, check=False)
    assert rules.returncode != 0
    await without.close()


async def test_a_machine_that_forwarded_before_still_does_afterwards(town: Town, tmp_path: Path) -> None:
    FORWARD.write_text("1")
    town.guest(11)
    await town.apply()
    without = LinuxPlane(tmp_path)
    await without.open()
    await without.apply(town.world.network)
    assert FORWARD.read_text().strip() == "1"
    await without.close()


async def test_a_range_that_the_machine_has_elsewhere_is_told_and_left_alone(town: Town) -> None:
    lines = ["link add name theirs type veth peer name ends", "addr add 172.24.0.5/16 dev theirs"]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(lines), text=True, check=True)
    a, b = town.guest(11), town.guest(21, town.second)
    with pytest.raises(PortsFailure, match=r"172\.24\.0\.5/16 on theirs") as caught:
        await town.apply()
    assert set(caught.value.networks) == {town.public.network_id}
    assert addresses() == []
    await ping(town.guests, place(a), own(b))
    subprocess.run(["ip", "link", "del", "theirs"], check=True)
    await town.apply()
    await ping(town.guests, place(a), MACHINE)
