"""A private network for the data plane, and descriptions of what should be on it."""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import subprocess
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from msgspec.structs import replace

from floe.core.host_network import (
    GroupRule,
    HostAddress,
    HostFloating,
    HostForwarding,
    HostGroup,
    HostNetwork,
    HostPort,
    HostRoute,
    HostRouter,
    HostSegment,
    HostSubnet,
    RouterLeg,
)
from floe.dataplane.linux import kernel, stack
from floe.dataplane.linux.plane import LinuxPlane

_NEW_NETWORK, _NEW_MOUNTS = 0x40000000, 0x00020000
_OWN_DIRECTORIES = 0x200
_RECURSIVE_PRIVATE = 0x4000 | 0x40000


LEADING = {"public": "brpublic"}
"""The bridge of the host that leads to its physical network."""


def ident(kind: int, number: int) -> str:
    """Return a UUID that says what it stands for."""
    return f"{kind:04x}{number:04x}-0000-4000-8000-000000000000"


def call(done: int) -> None:
    if done:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))


@pytest.fixture
def private_network() -> Iterator[None]:
    """Put the test's thread, and all it starts, into network and mount namespaces of its own, with an empty /run."""
    libc = ctypes.CDLL(None, use_errno=True)
    here = Path.cwd()
    home = [os.open(f"/proc/thread-self/ns/{kind}", os.O_RDONLY | os.O_CLOEXEC) for kind in ("net", "mnt")]
    call(libc.unshare(_NEW_NETWORK | _NEW_MOUNTS))
    try:
        call(libc.mount(b"none", b"/", None, _RECURSIVE_PRIVATE, None))
        call(libc.mount(b"tmpfs", b"/run", b"tmpfs", 0, None))
        subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
        stack.spare_bridges()  # so that nothing is filtered but what Floe has filtered
        yield
    finally:
        call(libc.setns(home[0], _NEW_NETWORK))
        # A thread that has not quite ended shares root and working directory, which forbids to change them.
        call(libc.unshare(_OWN_DIRECTORIES))
        call(libc.setns(home[1], _NEW_MOUNTS))
        for descriptor in home:
            os.close(descriptor)
        os.chdir(here)


@dataclass
class World:
    """A network that grows: every change returns the whole, ready to be applied."""

    network: HostNetwork = field(default_factory=HostNetwork)

    def segment(
        self, number: int = 1, *, dhcp: bool = True, mtu: int = 1400, net: str = "10.7.0", physical: str = ""
    ) -> HostSegment:
        subnet = HostSubnet(
            subnet_id=ident(0x50, number),
            cidr=f"{net}.0/24",
            gateway=f"{net}.1",
            dhcp=dhcp,
            dhcp_address=f"{net}.2" if dhcp else None,
            nameservers=("192.0.2.53",),
            routes=(HostRoute(destination="192.168.9.0/24", nexthop="10.7.0.9"),),
        )
        made = HostSegment(
            network_id=ident(0x40, number),
            name=f"n{number}",
            tag=number,
            mtu=mtu,
            subnets=(subnet,),
            physical=physical,
        )
        self.network = replace(self.network, segments=(*self.network.segments, made))
        return made

    def port(self, number: int, segment: HostSegment, **values: object) -> HostPort:
        made = HostPort(
            port_id=ident(0x60, number),
            network_id=segment.network_id,
            server_id=ident(0x70, number),
            mac=f"fa:16:3e:00:00:{number:02x}",
            tap=f"tap{number}",
            addresses=(HostAddress(subnet_id=segment.subnets[0].subnet_id, address=_address(segment, number)),),
            hostname=f"vm-{number}",
        )
        made = replace(made, **values)  # type: ignore[arg-type]
        self.network = replace(self.network, ports=(*self.network.ports, made))
        return made

    def router(
        self, number: int, *segments: HostSegment, outside: HostSegment | None = None, **values: object
    ) -> HostRouter:
        """Add a router that is .1 on each of the segments, and has .(100 + number) outside; or give it other values."""
        legs = [_leg(number, segment, 1) for segment in segments]
        gateway = _leg(number, outside, 100 + number) if outside else None
        hop = _address(outside, 1) if outside else None
        made = HostRouter(router_id=ident(0x90, number), interfaces=tuple(legs), gateway=gateway, next_hop=hop)
        made = replace(made, **values)  # type: ignore[arg-type]
        others = tuple(router for router in self.network.routers if router.router_id != made.router_id)
        self.network = replace(self.network, routers=(*others, made))
        return made

    def changed(self, router: HostRouter, **values: object) -> HostNetwork:
        """Give a router other values."""
        made = replace(router, **values)  # type: ignore[arg-type]
        routers = tuple(made if each.router_id == made.router_id else each for each in self.network.routers)
        self.network = replace(self.network, routers=routers)
        return self.network

    def group(self, number: int, *rules: GroupRule, remote_members: tuple[str, ...] = ()) -> str:
        """Add a security group, or give it other rules."""
        made = HostGroup(group_id=ident(0x80, number), rules=rules, remote_members=remote_members)
        others = tuple(group for group in self.network.groups if group.group_id != made.group_id)
        self.network = replace(self.network, groups=(*others, made))
        return made.group_id

    def without(self, port: HostPort) -> HostNetwork:
        """Remove a port, and its segment when it was the last there."""
        ports = tuple(entry for entry in self.network.ports if entry.port_id != port.port_id)
        used = {entry.network_id for entry in ports}
        segments = tuple(entry for entry in self.network.segments if entry.network_id in used)
        self.network = replace(self.network, ports=ports, segments=segments)
        return self.network


def _address(segment: HostSegment, number: int) -> str:
    return segment.subnets[0].cidr.replace(".0/24", f".{number}")


def _leg(router: int, segment: HostSegment, number: int) -> RouterLeg:
    return RouterLeg(
        port_id=ident(0xA0 + router, segment.tag),
        network_id=segment.network_id,
        mac=f"fa:16:3e:aa:{router:02x}:{segment.tag:02x}",
        addresses=(f"{_address(segment, number)}/24",),
    )


def floating(address: str, port: HostPort, number: int = 0) -> HostFloating:
    """Return a floating IP of a port's first address."""
    fixed = port.addresses[0].address if port.addresses else ""
    return HostFloating(floating_id=f"f-{address}-{number}", address=address, fixed=fixed, port_id=port.port_id)


Ports = int | tuple[int, int]


def forwarding(
    address: str, port: HostPort, external: Ports, internal: Ports, *, protocol: str = "tcp"
) -> HostForwarding:
    """Return what leads a port of a floating IP, or a range of them, to a guest's."""
    outer, inner = [ports if isinstance(ports, tuple) else (ports, ports) for ports in (external, internal)]
    return HostForwarding(
        forwarding_id=f"{address}-{protocol}-{outer[0]}",
        address=address,
        protocol=protocol,
        external=outer,
        fixed=port.addresses[0].address,
        internal=inner,
        port_id=port.port_id,
    )


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
async def linux_plane(private_network: None, tmp_path: Path) -> AsyncIterator[LinuxPlane]:
    made = LinuxPlane(tmp_path, LEADING)
    await made.open()
    yield made
    await made.remove_all()
    await made.close()


@dataclass
class Guests:
    """Network namespaces that play guests: each is the far end of a device with its port's tap name."""

    ports: dict[str, HostPort] = field(default_factory=dict)

    def add(self, port: HostPort, *, address: bool = True, gateway: str | None = None) -> str:
        """Make the guest before its port is applied, as its hypervisor would not; returns its namespace."""
        name = f"guest-{port.tap}"
        commands = [
            f"netns add {name}",
            f"link add name {port.tap} type veth peer name eth0 address {port.mac} netns {name}",
            f"netns exec {name} ip link set eth0 addrgenmode none up",
        ]
        if address:
            commands.append(f"netns exec {name} ip addr add {port.addresses[0].address}/24 dev eth0")
        if gateway:
            commands.append(f"netns exec {name} ip route add default via {gateway}")
        subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)
        self.ports[name] = port
        return name

    async def run(self, guest: str, *argv: str) -> str:
        process = await asyncio.create_subprocess_exec(
            "ip", "netns", "exec", guest, *argv, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
        )
        out, _ = await asyncio.wait_for(process.communicate(), 30)
        assert process.returncode == 0, out.decode()
        return out.decode()

    async def wire(self, guest: str) -> socket.socket:
        """Return a raw socket on the guest's NIC."""

        def made() -> socket.socket:
            opened = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
            opened.bind(("eth0", 0))
            opened.setblocking(False)
            return opened

        return await kernel.in_namespace(guest, made)

    async def listen(self, guest: str, port: int) -> socket.socket:
        made = await kernel.in_namespace(guest, lambda: socket.create_server(("0.0.0.0", port)))
        made.setblocking(False)
        return made

    async def datagrams(self, guest: str, port: int) -> socket.socket:
        def made() -> socket.socket:
            opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            opened.bind(("0.0.0.0", port))
            opened.setblocking(False)
            return opened

        return await kernel.in_namespace(guest, made)

    async def client(self, guest: str) -> socket.socket:
        made = await kernel.in_namespace(guest, socket.socket)
        made.setblocking(False)
        return made


@pytest.fixture
def guests(private_network: None) -> Iterator[Guests]:
    made = Guests()
    yield made
    for name in made.ports:
        subprocess.run(["ip", "netns", "del", name], check=True)


@pytest.fixture
def outside(private_network: None) -> Iterator[str]:
    """Return the namespace of a machine at 172.24.4.1, beyond the host's bridge to its physical network."""
    bridge = LEADING["public"]
    commands = [
        "netns add outside",
        f"link add name {bridge} type bridge forward_delay 0 mcast_snooping 0",
        f"link set dev {bridge} up",
        "link add name beyond type veth peer name eth0 netns outside",
        f"link set dev beyond master {bridge} up",
        "netns exec outside ip link set dev lo up",
        "netns exec outside ip link set dev eth0 addrgenmode none up",
        "netns exec outside ip addr add 172.24.4.1/24 dev eth0",
    ]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(commands), text=True, check=True)
    yield "outside"
    subprocess.run(["ip", "netns", "del", "outside"], check=True)


@dataclass
class Town:
    """Two networks, each with guests that may send and receive anything; a router between them and the outside."""

    world: World
    plane: LinuxPlane
    guests: Guests
    outside: str
    first: HostSegment
    second: HostSegment
    public: HostSegment
    router: HostRouter
    group: str

    def guest(self, number: int, segment: HostSegment | None = None, **values: object) -> HostPort:
        """Add a guest whose default route is the router."""
        segment = segment or self.first
        port = self.world.port(number, segment, **{"groups": (self.group,), **values})
        self.guests.add(port, gateway=segment.subnets[0].gateway)
        return port

    async def apply(self, **values: object) -> None:
        """Make it so, and the router otherwise."""
        [router] = [each for each in self.world.network.routers if each.router_id == self.router.router_id]
        await self.plane.apply(self.world.changed(router, **values) if values else self.world.network)


@pytest.fixture
def town(linux_plane: LinuxPlane, world: World, guests: Guests, outside: str) -> Town:
    anything = tuple(GroupRule(direction=direction) for direction in ("ingress", "egress"))
    first = world.segment(1, dhcp=False)
    second = world.segment(2, dhcp=False, net="10.8.0")
    public = world.segment(3, dhcp=False, mtu=1500, net="172.24.4", physical="public")
    return Town(
        world=world,
        plane=linux_plane,
        guests=guests,
        outside=outside,
        first=first,
        second=second,
        public=public,
        router=world.router(1, first, second, outside=public),
        group=world.group(1, *anything),
    )
