"""What changes of a real guest cost it: how soon it sees a NIC, how long an image of it has it stand still.

GUEST_IMAGE=FILE scripts/bench --guests      as root

The guest says on its console how many NICs it has, whenever that changes, and ticks there; both are read as they come.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import os
import statistics
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Any

from bench_client import ROOT, Client, Floe, active, create, prepare, upload

_ROUNDS = 15
_BOOT, _LONGEST = 300.0, 120.0
_WRITTEN_MIB = 100
_LOOK, _POLL = 0.002, 0.05
MARKS = {"nic_seen_p50_ms": 1000.0, "image_longest_pause_ms": 200.0, "image_read_ratio": 1.1}
_SCRIPT = f"""#!/bin/sh
dd if=/dev/urandom of=/root/written bs=1M count={_WRITTEN_MIB} 2>/dev/null; sync; echo written > /dev/console
(before=0; while :; do
    set -- /sys/class/net/*; [ $# = $before ] || {{ before=$#; echo "nics $#" > /dev/console; }}; usleep 20000
done) &
while :; do echo tick; usleep 20000; done > /dev/console
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the flag."""
    parser.add_argument("--guests", action="store_true", help="changes of a real guest, and nothing else; needs root")


def run(args: argparse.Namespace) -> int:
    """Measure and print."""
    image = os.environ.get("GUEST_IMAGE")
    if not image:
        raise SystemExit("bench: --guests wants GUEST_IMAGE=FILE: scripts/build-guest-image prints one")
    with tempfile.TemporaryDirectory(prefix="floe-bench-", dir="/var/tmp") as folder:
        Path(folder).chmod(0o711)
        state = Path(folder) / "state"
        floe = Floe(state, "--sandbox", "--hypervisor", "libvirt", "--log-level", "warning")
        try:
            result = asyncio.run(_measure(floe, state, Path(image).read_bytes()))
        finally:
            floe.stop()
            subprocess.run([ROOT / ".venv/bin/floe", "sandbox", "remove", "--state", state], check=True)
    for key, value in result.items():
        print(f"{key:32} {value:>10.2f}" + (f"   at most {MARKS[key]:g}" if key in MARKS else ""))
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


async def _measure(floe: Floe, state: Path, image: bytes) -> dict[str, float]:
    client, admin = Client(floe, state, "demo"), Client(floe, state, "admin")
    await client.login()
    await admin.login()
    _, flavor = await prepare(client, admin)
    booted = await upload(client, image)
    told = {"user_data": base64.b64encode(_SCRIPT.encode()).decode()}
    server, _ = await create(client, booted, flavor, "guest", **told)
    await active(client, server, pause=0.2)
    folder = _folder(state, server)
    console = folder / "console.log"
    await _said(console, "nics", 0, _BOOT)
    return {**await _nics(client, server, console), **await _image(client, server, console, folder)}


async def _nics(client: Client, server: str, console: Path) -> dict[str, float]:
    """Return how long after the request a guest sees another NIC: the median, and the slowest."""
    path, took = f"/compute/v2.1/servers/{server}/os-interface", []
    network = (await client.ask("GET", "/network/v2.0/networks?name=private"))["networks"][0]["id"]
    for _ in range(_ROUNDS):
        where, began = _size(console), time.perf_counter()
        made = await client.ask("POST", path, {"interfaceAttachment": {"net_id": network}})
        await _said(console, "nics", where, _LONGEST)
        took.append(time.perf_counter() - began)
        where = _size(console)
        await client.ask("DELETE", f"{path}/{made['interfaceAttachment']['port_id']}", expect=202)
        await _said(console, "nics", where, _LONGEST)
    return {"nic_seen_p50_ms": statistics.median(took) * 1000, "nic_seen_slowest_ms": max(took) * 1000}


async def _image(client: Client, server: str, console: Path, folder: Path) -> dict[str, float]:
    """Return how long at a time a guest stood still while it became an image, and before; what was read of its disks.

    It is read with the image that it stands on, for what comes of it stands alone.
    """
    before = await _ticks(console, asyncio.sleep(3))
    own, below = _there(folder / "disk.qcow2"), sum(map(_there, _bases(folder)))
    process = _process(server)
    read = _read(process)

    async def become() -> None:
        path = f"/compute/v2.1/servers/{server}"
        await client.ask("POST", f"{path}/action", {"createImage": {"name": "of the guest"}}, 202)
        for _ in range(int(_LONGEST / _POLL)):
            if (await client.ask("GET", path))["server"]["OS-EXT-STS:task_state"] is None:
                return
            await asyncio.sleep(_POLL)
        raise SystemExit(f"bench: the guest is no image after {_LONGEST:g} s")

    began = time.perf_counter()
    longest = await _ticks(console, become())
    took = time.perf_counter() - began
    return {
        "image_longest_pause_ms": longest * 1000,
        "longest_pause_before_ms": before * 1000,
        "image_read_ratio": (_read(process) - read) / (own + below),
        "image_own_layer_mib": own / 2**20,
        "image_took_s": took,
    }


async def _ticks(console: Path, meanwhile: Any) -> float:
    """Return the longest time for which a guest said nothing while something was done."""
    task, size, since, longest = asyncio.ensure_future(meanwhile), _size(console), time.perf_counter(), 0.0
    while not task.done():
        await asyncio.sleep(_LOOK)
        now = _size(console)
        if now != size:
            size, since, longest = now, time.perf_counter(), max(longest, time.perf_counter() - since)
    await task
    return max(longest, time.perf_counter() - since)


async def _said(console: Path, what: str, since: int, seconds: float) -> None:
    """Wait until a guest says something on its console after that many bytes."""
    async with asyncio.timeout(seconds):
        while True:
            if f"{what} ".encode() in _tail(console, since):
                return
            await asyncio.sleep(_LOOK)


def _folder(state: Path, server: str) -> Path:
    (folder,) = state.glob(f"hosts/*/guests/{server}")
    return folder


def _bases(folder: Path) -> list[Path]:
    return list(folder.glob("images/base*.img"))


def _size(path: Path) -> int:
    return path.stat().st_size


def _there(path: Path) -> int:
    """Return how many bytes of a file are on the disk."""
    return path.stat().st_blocks * 512


def _tail(path: Path, since: int) -> bytes:
    try:
        with path.open("rb") as file:
            file.seek(since)
            return file.read()
    except FileNotFoundError:  # it has said nothing yet
        return b""


def _process(server: str) -> Path:
    (process,) = [each for each in Path("/proc").glob("[0-9]*") if _is_guest(each, server)]
    return process


def _is_guest(process: Path, server: str) -> bool:
    try:
        words = (process / "cmdline").read_bytes()
    except OSError:
        return False
    return b"qemu-system" in words.split(b"\0")[0] and server.encode() in words


def _read(process: Path) -> int:
    """Return how many bytes a process has read so far, of files and all else."""
    lines = (process / "io").read_text().splitlines()
    return int(next(line.split()[1] for line in lines if line.startswith("rchar:")))
