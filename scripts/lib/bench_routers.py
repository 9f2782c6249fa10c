"""What routers cost the data plane of a host: run by `scripts/bench --outside` in namespaces that it makes.

Prints one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from msgspec.structs import replace

from floe.cli.sandbox import kernel
from floe.core.host_network import (
    HostAddress,
    HostFloating,
    HostNetwork,
    HostPort,
    HostRouter,
    HostSegment,
    HostSubnet,
    RouterLeg,
)
from floe.dataplane.linux.machine import Machine
from floe.dataplane.linux.plane import LinuxPlane

_CHANGES = 40


def _routed(networks: int, floating: int) -> HostNetwork:
    """Return a router with so many networks, and so many floating IPs of the ports on them."""
    inner = [_segment(number, f"10.{number}.0", 16) for number in range(1, networks + 1)]
    outer = _segment(200, "172.24.0", 16, physical="public")
    ports = [_port(number, inner[number % networks]) for number in range(floating)]
    router = HostRouter(
        router_id="r",
        interfaces=tuple(_leg(segment, "0.1") for segment in inner),
        gateway=_leg(outer, "0.9"),
        next_hop="172.24.0.1",
        floating=tuple(_leads(number, port) for number, port in enumerate(ports)),
    )
    return HostNetwork(generation=1, segments=(*inner, outer), ports=tuple(ports), routers=(router,))


def _segment(number: int, net: str, length: int, physical: str = "") -> HostSegment:
    cidr = f"{net}.0/{length}"
    subnet = HostSubnet(subnet_id=f"s{number}", cidr=cidr, gateway=f"{net}.1", dhcp=False)
    return HostSegment(network_id=f"n{number}", name="n", tag=number, subnets=(subnet,), physical=physical)


def _leg(segment: HostSegment, host: str) -> RouterLeg:
    net = ".".join(segment.subnets[0].cidr.split(".")[:2])
    mac = f"fa:16:3e:00:00:{segment.tag:02x}"
    return RouterLeg(
        port_id=f"leg{segment.tag}", network_id=segment.network_id, mac=mac, addresses=(f"{net}.{host}/16",)
    )


def _port(number: int, segment: HostSegment) -> HostPort:
    net = ".".join(segment.subnets[0].cidr.split(".")[:2])
    address = HostAddress(subnet_id=segment.subnets[0].subnet_id, address=f"{net}.{1 + number // 250}.{number % 250}")
    return HostPort(
        port_id=f"p{number}", network_id=segment.network_id, server_id=f"v{number}", tap=f"tap{number}",
        mac=f"fa:16:3e:01:{number // 256:02x}:{number % 256:02x}", addresses=(address,),
    )  # fmt: skip


def _leads(number: int, port: HostPort) -> HostFloating:
    outer = f"172.24.{4 + number // 250}.{number % 250}"
    return HostFloating(floating_id=f"f{number}", address=outer, fixed=port.addresses[0].address, port_id=port.port_id)


def _cpu() -> float:
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return sum(used.ru_utime + used.ru_stime for used in map(resource.getrusage, kinds))


async def _change(floating: int, folder: Path) -> tuple[float, float]:
    """Return milliseconds of CPU and of time for one floating IP that goes, or comes, on a router with so many."""
    with_all = _routed(1, max(floating, 1))
    (router,) = with_all.routers
    without = replace(with_all, routers=(replace(router, floating=router.floating[:-1]),))
    plane = LinuxPlane(folder, machine=Machine(addresses={"public": "172.24.0.1/16"}))
    await plane.open()
    await plane.remove_all()  # what was measured before; the last goes with the namespace: 500 ports take a while
    await plane.apply(with_all)
    took, before = [], _cpu()
    for number in range(_CHANGES):
        began = time.perf_counter()
        await plane.apply(with_all if number % 2 else without)
        took.append(time.perf_counter() - began)
    spent = (_cpu() - before) / _CHANGES
    await plane.close()
    return spent * 1000, statistics.median(took) * 1000


async def _plane(folder: Path) -> dict[str, float]:
    """Return what changes cost on a host, and how long a router takes that a host knows nothing of."""
    plane = LinuxPlane(folder, machine=Machine(addresses={"public": "172.24.0.1/16"}))
    await plane.open()
    began = time.perf_counter()
    await plane.apply(_routed(10, 100))
    cold = time.perf_counter() - began
    await plane.close()
    one, many = await _change(1, folder), await _change(500, folder)
    return {
        "floating_ip_changed_of_1_ms": one[1],
        "floating_ip_changed_of_500_ms": many[1],
        "floating_ip_changed_500_over_1_cpu": many[0] / one[0],
        "floating_ip_changed_500_over_1": many[1] / one[1],
        "router_10_networks_100_floating_cold_s": cold,
    }


def _within() -> int:
    """Measure a host in the namespaces that this process has got for itself; print it as JSON."""
    kernel.mount("none", Path("/"), flags=kernel.MS_REC | kernel.MS_PRIVATE)
    kernel.mount("floe-run", Path("/run"), "tmpfs")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    with tempfile.TemporaryDirectory() as folder:
        print(json.dumps(asyncio.run(_plane(Path(folder)))))
    return 0


if __name__ == "__main__":
    sys.exit(_within())
