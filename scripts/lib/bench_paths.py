"""What a packet's way by a router and a floating IP carries, relative to the same way made by hand.

Run by `scripts/bench --outside` in namespaces that it makes. Prints one line of JSON. Both ways have the same devices:
outside, a bridge, a veth pair, the external network's bridge, a veth pair, the router's namespace, a veth pair, the
guest's bridge and a veth pair in the place of a tap. One has Floe's rules; the other what it takes by hand to let one
guest send what is its own, to ask one security group, and to translate one floating IP.

By hand all bridges have their packets pass the inet tables, as the kernel begins with. Floe's machine is one on which
nobody else needs that, as a sandbox is: Floe's own bridges ask for it where guests are. `--every-bridge` leaves it at
what the kernel begins with there too, as a machine has it where others need it.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from floe.cli.sandbox import kernel as mounts
from floe.core.host_network import (
    GroupRule,
    HostAddress,
    HostFloating,
    HostGroup,
    HostNetwork,
    HostPort,
    HostRouter,
    HostSegment,
    HostSubnet,
    RouterLeg,
)
from floe.dataplane.linux import kernel, stack
from floe.dataplane.linux.plane import LinuxPlane

_ROUNDS, _SECONDS = 15, 0.5
_COSTS, _PIECES = 60, 40
_MAC, _FIXED, _FLOATING = "fa:16:3e:01:00:05", "10.1.0.5", "172.24.4.9"
_PORT, _SMALL = 5001, bytes(64)

_BY_HAND = f"""
table bridge byhand {{
    chain own {{
        ether saddr {_MAC} ip saddr {_FIXED} return
        ether saddr {_MAC} arp saddr ether {_MAC} arp saddr ip {_FIXED} return
        drop
    }}
    chain prerouting {{ type filter hook prerouting priority -350; policy accept; iifname "tap1" jump own; }}
}}
table inet byhand {{
    chain group {{
        meta l4proto tcp accept
        meta l4proto udp accept
        meta l4proto icmp accept
    }}
    chain forward {{
        type filter hook forward priority filter; policy accept;
        iifname != "inner" return
        ct state related accept
        ct direction reply ct state established accept
        ct state invalid drop
        ip daddr {_FIXED} jump group
        ip saddr {_FIXED} accept
        drop
    }}
}}
"""
_ROUTED_BY_HAND = f"""
table ip byhand {{
    chain prerouting {{
        type nat hook prerouting priority dstnat; policy accept;
        dnat to ip daddr map {{ {_FLOATING} : {_FIXED} }}
    }}
    chain postrouting {{
        type nat hook postrouting priority srcnat; policy accept;
        oifname "out" snat to ip saddr map {{ {_FIXED} : {_FLOATING} }}
    }}
    chain forward {{
        type filter hook forward priority filter; policy drop;
        ct state invalid drop
        ct state established,related accept
        iifname "in" oifname "out" accept
        iifname "out" ct status dnat accept
    }}
}}
"""


def _run(text: str, where: str | None = None) -> None:
    """Run lines of `ip`, in a namespace."""
    words = ["ip", *(["-n", where] if where else []), "-batch", "-"]
    subprocess.run(words, input=text, text=True, check=True)


def _write(value: str, setting: str, where: str) -> None:
    subprocess.run(["ip", "netns", "exec", where, "sh", "-c", f"echo {value} > /proc/sys/net/{setting}"], check=True)


def _ends(name: str, host: str | None) -> None:
    """Make the guest and the outside of a way: namespaces, each with a device, whose other end is in the host's."""
    of = f" netns {host}" if host else ""
    _run(f"netns add guest{name}\nnetns add outside{name}")
    _run(
        f"link add name eth0 address {_MAC} mtu 1450 netns guest{name} type veth peer name tap1 mtu 1450{of}\n"
        f"link add name eth0 netns outside{name} type veth peer name world{of}"
    )
    _run(
        "link add name brout type bridge forward_delay 0\nlink set dev brout up\n"
        "link set dev world master brout\nlink set dev world up",
        host,
    )
    _run(f"addr add {_FIXED}/24 dev eth0\nlink set dev eth0 up\nroute add default via 10.1.0.1", f"guest{name}")
    _run("addr add 172.24.4.1/24 dev eth0\nlink set dev eth0 up", f"outside{name}")


def _network() -> HostNetwork:
    """Return what Floe is told: the guest's port, and a router with a floating IP to it."""
    inner = HostSubnet(subnet_id="s1", cidr="10.1.0.0/24", gateway="10.1.0.1", dhcp=False)
    outer = HostSubnet(subnet_id="s2", cidr="172.24.4.0/24", gateway="172.24.4.1", dhcp=False)
    rules = [GroupRule(direction="ingress", protocol=name) for name in ("tcp", "udp", "icmp")]
    return HostNetwork(
        generation=1,
        segments=(
            HostSegment(network_id="n1", name="n", tag=1, subnets=(inner,)),
            HostSegment(network_id="n2", name="n", tag=2, mtu=1500, subnets=(outer,), physical="public"),
        ),
        ports=(
            HostPort(
                port_id="p1", network_id="n1", server_id="v1", mac=_MAC, tap="tap1", groups=("g1",),
                addresses=(HostAddress(subnet_id="s1", address=_FIXED),),
            ),
        ),
        groups=(HostGroup(group_id="g1", rules=(*rules, GroupRule(direction="egress"))),),
        routers=(
            HostRouter(
                router_id="r1",
                interfaces=(
                    RouterLeg(port_id="leg1", network_id="n1", mac="fa:16:3e:00:00:01", addresses=("10.1.0.1/24",)),
                ),
                gateway=RouterLeg(
                    port_id="leg2", network_id="n2", mac="fa:16:3e:00:00:02", addresses=("172.24.4.8/24",)
                ),
                next_hop="172.24.4.1",
                floating=(HostFloating(floating_id="f1", address=_FLOATING, fixed=_FIXED, port_id="p1"),),
            ),
        ),
    )  # fmt: skip


def _by_hand() -> None:
    """Make the other way."""
    host, router = "byhand", "router"
    _run(f"netns add {host}\nnetns add {router}")
    _ends("H", host)
    _run(
        "link add name inner type bridge forward_delay 0\nlink add name outer type bridge forward_delay 0\n"
        "link add name ours type veth peer name theirs\n"
        f"link add name rin mtu 1450 type veth peer name in mtu 1450 netns {router}\n"
        f"link add name rout type veth peer name out netns {router}\n"
        "link set dev tap1 master inner\nlink set dev rin master inner\n"
        "link set dev rout master outer\nlink set dev ours master outer\nlink set dev theirs master brout\n"
        + "".join(f"link set dev {name} up\n" for name in ("inner", "outer", "tap1", "rin", "rout", "ours", "theirs")),
        host,
    )
    _run(
        "addr add 10.1.0.1/24 dev in\naddr add 172.24.4.8/24 dev out\n"
        f"addr add {_FLOATING}/32 dev out\nlink set dev in up\nlink set dev out up\nroute add default via 172.24.4.1",
        router,
    )
    _write("1", "ipv4/ip_forward", router)
    _write("1", "bridge/bridge-nf-call-iptables", host)
    for where, rules in ((host, _BY_HAND), (router, _ROUTED_BY_HAND)):
        subprocess.run(["ip", "netns", "exec", where, "nft", "-f", "-"], input=rules, text=True, check=True)


async def _sockets(name: str, kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
    """Return a socket in the guest that others come to, and one outside that has come to it."""

    def heard() -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("", _PORT))
        if kind is socket.SOCK_STREAM:
            made.listen()
        return made

    def come() -> socket.socket:
        made = socket.socket(socket.AF_INET, kind)
        made.settimeout(10)
        made.connect((_FLOATING, _PORT))
        made.settimeout(None)
        return made

    guest = await kernel.in_namespace(f"guest{name}", heard)
    return guest, await kernel.in_namespace(f"outside{name}", come)


def _sending(from_outside: socket.socket, data: bytes) -> int:
    """Send for a while in a process of its own; return its id."""
    child = os.fork()
    if child:
        return child
    try:
        until = time.perf_counter() + _SECONDS
        while time.perf_counter() < until:
            for _ in range(16):
                from_outside.send(data)
    finally:
        os._exit(0)


def _bytes(guest: socket.socket, outside: socket.socket) -> tuple[int, float]:
    """Return how many bytes a TCP connection to the floating IP carried, and the time that took."""
    with guest.accept()[0] as taken:
        child, began, count, room = _sending(outside, bytes(1 << 20)), time.perf_counter(), 0, bytearray(1 << 20)
        outside.close()
        while got := taken.recv_into(room):
            count += got
        took = time.perf_counter() - began
    os.waitpid(child, 0)
    return count, took


def _packets(guest: socket.socket, outside: socket.socket) -> tuple[int, float]:
    """Return how many small packets arrived of those that were sent to the floating IP as fast as can be, and when."""
    guest.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 22)
    guest.settimeout(0.3)
    child, began, last, count = _sending(outside, _SMALL), time.perf_counter(), 0.0, 0
    with contextlib.suppress(TimeoutError):
        while True:
            guest.recv(2048)
            count, last = count + 1, time.perf_counter()
    os.waitpid(child, 0)
    return count, last - began


async def _carried(name: str, kind: socket.SocketKind) -> float:
    """Return what a way carries in a second, with a process at each end."""
    guest, outside = await _sockets(name, kind)
    with guest, outside:
        count, took = (_bytes if kind is socket.SOCK_STREAM else _packets)(guest, outside)
        return count / took


async def _ends_here(name: str, kind: socket.SocketKind) -> tuple[socket.socket, socket.socket]:
    """Return both ends of a way, for one thread to send and receive in turn."""
    guest, outside = await _sockets(name, kind)
    if kind is socket.SOCK_STREAM:
        with guest:
            guest, _ = guest.accept()
    guest.setblocking(False)
    outside.setblocking(False)
    return guest, outside


def _cost(guest: socket.socket, outside: socket.socket) -> float:
    """Return the CPU that a byte, or a small packet, takes: with the kernel's, which does its work as they are sent."""
    is_stream = outside.type is socket.SOCK_STREAM
    data, room, count, began = bytes(1 << 16) if is_stream else _SMALL, bytearray(1 << 20), 0, time.thread_time()
    for _ in range(_PIECES):
        for _ in range(1 if is_stream else 20):
            with contextlib.suppress(BlockingIOError):
                outside.send(data)
        with contextlib.suppress(BlockingIOError):
            while got := guest.recv_into(room):
                count += got if is_stream else 1
    return (time.thread_time() - began) / count


async def _paths(folder: Path) -> dict[str, float]:
    """Return what each way carries, and the medians of what Floe's does relative to the other, both in turn.

    By CPU says most: one thread's own, which hardly differs however busy the machine is.
    """
    _ends("F", None)
    plane = LinuxPlane(folder, leading={"public": "brout"})
    await plane.open()
    await plane.apply(_network())
    _by_hand()
    result = {}
    for what, kind, unit in (("tcp_mbit", socket.SOCK_STREAM, 1e6 / 8), ("small_kpps", socket.SOCK_DGRAM, 1e3)):
        for name in "FH":
            await _carried(name, kind)  # to get warm
        pairs, costs = [], []
        for number in range(_ROUNDS):
            found = {name: await _carried(name, kind) for name in ("FH" if number % 2 else "HF")}
            pairs.append((found["F"], found["H"]))
        ends = {name: await _ends_here(name, kind) for name in "FH"}
        for number in range(_COSTS + 1):
            spent = {name: _cost(*ends[name]) for name in ("FH" if number % 2 else "HF")}
            costs += [(spent["F"], spent["H"])] if number else []
        result[f"path_{what}_by_floe"] = statistics.median(ours for ours, _ in pairs) / unit
        result[f"path_{what}_by_hand"] = statistics.median(theirs for _, theirs in pairs) / unit
        result[f"path_{what}_ratio"] = statistics.median(ours / theirs for ours, theirs in pairs)
        result[f"path_{what}_ratio_by_cpu"] = statistics.median(theirs / ours for ours, theirs in costs)
        for each in (end for pair in ends.values() for end in pair):
            each.close()
    await plane.remove_all()
    await plane.close()
    return result


def _within() -> int:
    """Measure in the namespaces that this process has got for itself; print it as JSON."""
    mounts.mount("none", Path("/"), flags=mounts.MS_REC | mounts.MS_PRIVATE)
    mounts.mount("floe-run", Path("/run"), "tmpfs")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    if "--every-bridge" not in sys.argv:
        stack.spare_bridges()
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(_paths(Path(folder)))))
    return 0


if __name__ == "__main__":
    sys.exit(_within())
