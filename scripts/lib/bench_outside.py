"""What routers and floating IPs cost: the API with fake guests, a host's data plane, packets, a guest's first ping.

scripts/bench --outside      as root; with GUEST_IMAGE=FILE the first ping of a real guest too
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import ctypes
import json
import os
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench_client import ROOT, Client, Floe, active, create, prepare, upload

_ECHO = struct.Struct("!BBHHH")  # type, code, checksum, identifier, sequence
_CYCLES, _PINGS = 200, 15
_NEW_NETWORK = 0x40000000
_PINGED_SECONDS = 20.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flag."""
    parser.add_argument("--outside", action="store_true", help="routers and floating IPs, and nothing else; needs root")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    with tempfile.TemporaryDirectory(prefix="floe-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        (Path(folder) / "fake").mkdir()
        result = asyncio.run(_api(Path(folder) / "fake"))
        for name in ("bench_routers.py", "bench_paths.py"):
            words = ["unshare", "--net", "--mount", ROOT / ".venv/bin/python", ROOT / "scripts/lib" / name]
            done = subprocess.run(words, capture_output=True, text=True, check=True)
            result |= json.loads(done.stdout.splitlines()[-1])
        if image := os.environ.get("GUEST_IMAGE"):
            result |= _first_pings(Path(folder) / "real", Path(image))
    for key, value in result.items():
        print(f"{key:44} {value:>10.2f}")
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


# -- the API --------------------------------------------------------------------------------------------


async def _api(folder: Path) -> dict[str, float]:
    """Return the CPU of Floe for a floating IP that is made, led to a port and given back."""
    floe = Floe(folder / "state", "--hypervisor", "fake", "--log-level", "warning")
    try:
        client, admin = Client(floe, folder / "state", "demo"), Client(floe, folder / "state", "admin")
        await client.login()
        await admin.login()
        image, flavor = await prepare(client, admin)
        server, _ = await create(client, image, flavor, "one")
        await active(client, server)
        port, public = await _port_and_public(client, server)
        for cycles in (20, _CYCLES):  # the first to get warm
            before = floe.cpu()
            for _ in range(cycles):
                made = await _floating(client, public)
                await _lead(client, made["id"], port)
                await client.ask("DELETE", f"/network/v2.0/floatingips/{made['id']}", expect=204)
        return {"floating_ip_cpu_ms": (floe.cpu() - before) / _CYCLES * 1000}
    finally:
        floe.stop()


async def _port_and_public(client: Client, server: str) -> tuple[str, str]:
    (port,) = (await client.ask("GET", f"/network/v2.0/ports?device_id={server}"))["ports"]
    (public,) = (await client.ask("GET", "/network/v2.0/networks?router:external=true"))["networks"]
    return port["id"], public["id"]


async def _floating(client: Client, public: str) -> Any:
    body = {"floatingip": {"floating_network_id": public}}
    return (await client.ask("POST", "/network/v2.0/floatingips", body, 201))["floatingip"]


async def _lead(client: Client, floating: str, port: str | None) -> None:
    await client.ask("PUT", f"/network/v2.0/floatingips/{floating}", {"floatingip": {"port_id": port}})


# -- a real guest ---------------------------------------------------------------------------------------


def _first_pings(folder: Path, image: Path) -> dict[str, float]:
    """Return how long after it is led to a guest a floating IP answers: the median, and the slowest."""
    folder.mkdir(mode=0o711)
    state = folder / "state"
    floe = Floe(state, "--sandbox", "--hypervisor", "libvirt", "--log-level", "warning")
    try:
        took = asyncio.run(_pinged(floe, state, image.read_bytes()))
    finally:
        floe.stop()
        subprocess.run([ROOT / ".venv/bin/floe", "sandbox", "remove", "--state", state], check=True)
    return {"first_ping_ms": statistics.median(took) * 1000, "first_ping_slowest_ms": max(took) * 1000}


async def _pinged(floe: Floe, state: Path, image: bytes) -> list[float]:
    client, admin = Client(floe, state, "demo"), Client(floe, state, "admin")
    await client.login()
    await admin.login()
    _, flavor = await prepare(client, admin)
    booted = await upload(client, image)
    groups = (await client.ask("GET", "/network/v2.0/security-groups"))["security_groups"]
    group = next(each["id"] for each in groups if each["name"] == "default")
    rule = {"security_group_id": group, "direction": "ingress", "protocol": "icmp"}
    await client.ask("POST", "/network/v2.0/security-group-rules", {"security_group_rule": rule}, 201)
    server, _ = await create(client, booted, flavor, "guest")
    await active(client, server, pause=0.2)
    port, public = await _port_and_public(client, server)
    floating = await _floating(client, public)
    took = []
    with _icmp(state) as wire:
        for number in range(_PINGS + 1):
            began = time.perf_counter()
            await _lead(client, floating["id"], port)
            await _answers(wire, floating["floating_ip_address"], 300.0 if not number else _PINGED_SECONDS)
            if number:  # the first waits for the guest to boot
                took.append(time.perf_counter() - began)
            await _lead(client, floating["id"], None)
            await asyncio.sleep(0.3)
    return took


@contextlib.contextmanager
def _icmp(state: Path) -> Iterator[socket.socket]:
    """Give a raw socket for ICMP in the sandbox of a cloud."""
    holder = json.loads((state / "sandbox/holder.json").read_text())["pid"]
    inside, home = (os.open(f"/proc/{who}/ns/net", os.O_RDONLY) for who in (holder, "self"))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(inside, _NEW_NETWORK):
        raise SystemExit(f"bench: the sandbox cannot be entered: {os.strerror(ctypes.get_errno())}")
    try:
        made = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    finally:
        libc.setns(home, _NEW_NETWORK)
        os.close(inside)
        os.close(home)
    with made:
        made.setblocking(False)
        yield made


async def _answers(wire: socket.socket, address: str, seconds: float) -> None:
    """Send an echo request each 5 ms until one is answered."""
    async with asyncio.timeout(seconds):
        for number in range(1, 1 << 16):
            head = _ECHO.pack(8, 0, 0, os.getpid() & 0xFFFF, number)
            with contextlib.suppress(OSError):  # no way there yet
                wire.sendto(_ECHO.pack(8, 0, _sum(head), os.getpid() & 0xFFFF, number), (address, 0))
            await asyncio.sleep(0.005)
            with contextlib.suppress(BlockingIOError):
                while True:
                    data, sender = wire.recvfrom(2000)
                    if sender[0] == address and data[20] == 0:
                        return


def _sum(data: bytes) -> int:
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    return ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
