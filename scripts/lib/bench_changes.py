"""What is done with servers costs: power, rebuilds, resizes, images of them; and many made in one call."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any

from bench_client import Client, gone

_LOOK_EVERY = 0.25
_SNAPSHOTS = 40
"""Fewer than a project may have images."""
_TOGETHER = 100


async def measure(client: Client, admin: Client, image: str, flavor: str, made: list[str]) -> dict[str, float]:
    """Return figures of what is done with these servers, which are ACTIVE before and after it."""
    return {
        "power_action_cpu_ms": await _power(client, made),
        "rebuild_cpu_ms": await _rebuilds(client, image, made),
        "resize_and_confirm_cpu_ms": await _resizes(client, admin, made),
        "snapshot_cpu_ms": await _snapshots(client, made[:_SNAPSHOTS]),
        "create_100_s": await _together(client, image, flavor, "none"),
        "create_100_with_port_s": await _together(client, image, flavor, "auto"),
    }


async def _power(client: Client, made: list[str]) -> float:
    """Return the CPU of one change of power, of servers that stop, start, stand still and go on; waiting is in it."""
    rounds = (("os-stop", "SHUTOFF"), ("os-start", "ACTIVE"), ("pause", "PAUSED"), ("unpause", "ACTIVE"))
    cpu = client.floe.cpu()
    for action, status in rounds:
        await _act(client, made, {action: None}, 202)
        await _all_are(client, status, made)
    return (client.floe.cpu() - cpu) / (len(rounds) * len(made)) * 1000


async def _rebuilds(client: Client, image: str, made: list[str]) -> float:
    """Return the CPU of one rebuild; waiting is in it."""
    cpu = client.floe.cpu()
    await _act(client, made, {"rebuild": {"imageRef": image}}, 202)
    await _all_are(client, "ACTIVE", made)
    return (client.floe.cpu() - cpu) / len(made) * 1000


async def _resizes(client: Client, admin: Client, made: list[str]) -> float:
    """Return the CPU of one resize and its confirmation; waiting is in it."""
    fields = {"name": "bench-resized", "ram": 64, "vcpus": 1, "disk": 1}
    larger = (await admin.ask("POST", "/compute/v2.1/flavors", {"flavor": fields}))["flavor"]["id"]
    cpu = client.floe.cpu()
    await _act(client, made, {"resize": {"flavorRef": larger}}, 202)
    await _all_are(client, "VERIFY_RESIZE", made)
    await _act(client, made, {"confirmResize": None}, 204)
    await _all_are(client, "ACTIVE", made)
    return (client.floe.cpu() - cpu) / len(made) * 1000


async def _snapshots(client: Client, made: list[str]) -> float:
    """Return the CPU of one image of a server; waiting is in it."""
    path = "/image/v2/images?image_type=snapshot&status=active&limit=100"
    cpu = client.floe.cpu()
    await _act(client, made, {"createImage": {"name": "bench-snapshot"}}, 202)

    async def there() -> bool:
        return len((await client.ask("GET", path))["images"]) == len(made)

    await _until("every server has an image", there)
    used = client.floe.cpu() - cpu
    for image in (await client.ask("GET", path))["images"]:
        await client.ask("DELETE", f"/image/v2/images/{image['id']}", expect=204)
    return used / len(made) * 1000


async def _together(client: Client, image: str, flavor: str, networks: str) -> float:
    """Return the seconds from one call that makes a hundred servers until all are ACTIVE."""
    body = {
        "name": "bench-together", "imageRef": image, "flavorRef": flavor, "networks": networks,
        "min_count": _TOGETHER, "max_count": _TOGETHER,
    }  # fmt: skip
    path, began = "/compute/v2.1/servers?name=bench-together&status=ACTIVE", time.perf_counter()
    await client.ask("POST", "/compute/v2.1/servers", {"server": body}, expect=202)

    async def active() -> bool:
        return len((await client.ask("GET", path))["servers"]) == _TOGETHER

    await _until("all of a hundred are ACTIVE", active, pause=0.02)
    seconds = time.perf_counter() - began
    made = [each["id"] for each in (await client.ask("GET", path))["servers"]]
    for ident in made:
        await client.ask("DELETE", f"/compute/v2.1/servers/{ident}", expect=204)
    for ident in made:
        await gone(client, ident)
    return seconds


async def _act(client: Client, made: list[str], body: dict[str, Any], expect: int) -> None:
    for ident in made:
        await client.ask("POST", f"/compute/v2.1/servers/{ident}/action", body, expect=expect)


async def _all_are(client: Client, status: str, made: list[str]) -> None:
    async def are() -> bool:
        return len((await client.ask("GET", f"/compute/v2.1/servers?status={status}"))["servers"]) == len(made)

    await _until(f"all servers are {status}", are)


async def _until(what: str, done: Callable[[], Awaitable[bool]], pause: float = _LOOK_EVERY) -> None:
    for _ in range(int(100 / pause)):
        await asyncio.sleep(pause)
        if await done():
            return
    raise SystemExit(f"bench: waited 100 s in vain until {what}")
