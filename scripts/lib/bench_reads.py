"""What reads cost: CPU of the `floe up` process for one request of each kind, in ms."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import bench_scale
from bench_client import Client, Floe

TENS = 20
"""Things of each kind that there are for a list of tens of rows."""
PAGE = 1000
_HOSTS = 8
"""Fake hosts that have room for so many servers."""

Ask = Callable[[], Awaitable[Any]]


async def lists(client: Client, admin: Client, times: int = 500) -> dict[str, float]:
    """Return what lists of twenty and documents cost; there are no servers yet, which would have ports."""
    provider = (await admin.ask("GET", "/placement/resource_providers"))["resource_providers"][0]["uuid"]
    found: dict[str, float] = {}
    async with _stock(client, admin):
        for name, path in (
            ("ports", "/network/v2.0/ports"),
            ("networks", "/network/v2.0/networks"),
            ("images", "/image/v2/images"),
            ("flavors", "/compute/v2.1/flavors/detail"),
        ):
            listed = await client.ask("GET", path)
            assert len(listed[name]) == TENS, (name, len(listed[name]))
            found[f"list_{name}_cpu_ms"] = await cost(client, lambda path=path: client.ask("GET", path), times)
    place = {"openstack_api_version": "placement 1.39"}
    inventories = f"/placement/resource_providers/{provider}/inventories"
    found["placement_cpu_ms"] = await cost(client, lambda: admin.ask("GET", inventories, **place), times)
    found["versions_cpu_ms"] = await cost(client, lambda: client.ask("GET", "/compute/v2.1"), times)
    return found


async def servers(client: Client, made: list[str], times: int = 1000) -> dict[str, float]:
    """Return what one server costs, and a hundred in detail."""
    asked = iter(range(times + 1))

    async def one() -> None:
        await client.ask("GET", f"/compute/v2.1/servers/{made[next(asked) % len(made)]}")

    return {
        "get_cpu_ms": await cost(client, one, times),
        "detail_100_cpu_ms": await _detail(client, 100, times // 20),
    }


def thousand(folder: Path, times: int = 5) -> dict[str, float]:
    """Return what a page of a thousand servers with a port each costs, on a cloud of their own."""
    state = folder / "thousand"
    asyncio.run(bench_scale.grow(state, PAGE, _HOSTS))
    print(file=sys.stderr)
    floe = Floe(state, *bench_scale.flags(_HOSTS))
    try:
        return {"detail_1000_cpu_ms": asyncio.run(_one_page(Client(floe, state, "demo"), times))}
    finally:
        floe.stop()


async def _one_page(client: Client, times: int) -> float:
    await client.login()
    return await _detail(client, PAGE, times)


async def _detail(client: Client, many: int, times: int) -> float:
    async def page() -> None:
        listed = await client.ask("GET", f"/compute/v2.1/servers/detail?limit={many}")
        assert len(listed["servers"]) == many, len(listed["servers"])

    return await cost(client, page, times)


async def cost(client: Client, ask: Ask, times: int) -> float:
    """Return the CPU of one such request in ms, after one to get warm."""
    await ask()
    before = client.floe.cpu()
    for _ in range(times):
        await ask()
    return (client.floe.cpu() - before) / times * 1000


@asynccontextmanager
async def _stock(client: Client, admin: Client) -> AsyncIterator[None]:
    """Have twenty of each kind; what was made for it goes again."""
    await admin.ask("PUT", f"/network/v2.0/quotas/{client.project}", {"quota": {"network": -1, "port": -1}})
    image = {"disk_format": "raw", "container_format": "bare"}
    flavor = {"ram": 64, "vcpus": 1, "disk": 1}
    made: list[tuple[Client, str, int]] = []

    async def fill(who: Client, path: str, body: Callable[[str], Any], status: int, gone: int) -> None:
        plural = path.rsplit("/", 1)[1]
        for index in range(TENS - len((await who.ask("GET", path))[plural])):
            new = await who.ask("POST", path, body(f"read-{index}"), status)
            made.append((who, f"{path}/{new.get('id') or new[plural[:-1]]['id']}", gone))

    try:
        await fill(client, "/network/v2.0/networks", lambda name: {"network": {"name": name}}, 201, 204)
        network = made[-1][1].rsplit("/", 1)[1]
        subnet = {"network_id": network, "ip_version": 4, "cidr": "10.99.0.0/24"}
        await client.ask("POST", "/network/v2.0/subnets", {"subnet": subnet}, 201)
        port = {"network_id": network}
        await fill(client, "/network/v2.0/ports", lambda name: {"port": {**port, "name": name}}, 201, 204)
        await fill(client, "/image/v2/images", lambda name: {**image, "name": name}, 201, 204)
        await fill(admin, "/compute/v2.1/flavors", lambda name: {"flavor": {**flavor, "name": name}}, 200, 202)
        yield
    finally:
        for who, path, status in reversed(made):
            await who.ask("DELETE", path, expect=status)
