"""Passwords that guests post, from the guest to the user's client: a whole cloud with fake hosts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from floe.agent.agent import Agent
from floe.core.errors import Conflict
from floe.testing import EmbeddedCloud

from .test_compute_clients import connect


def made(cloud: EmbeddedCloud) -> Any:
    with connect(cloud, "demo") as demo:
        image = demo.image.create_image(name="tiny", disk_format="raw", container_format="bare", data=b"\0" * 4096)
        flavor = demo.compute.find_flavor("m1.nano")
        server = demo.compute.create_server(name="web", image_id=image.id, flavor_id=flavor.id, networks="none")
        return demo.compute.wait_for_server(server, interval=0.02, wait=30).id


def password(cloud: EmbeddedCloud, ident: str) -> str:
    with connect(cloud, "demo") as demo:
        return str(demo.compute.get_server_password(ident))


def cleared(cloud: EmbeddedCloud, ident: str) -> None:
    with connect(cloud, "demo") as demo:
        demo.compute.clear_server_password(ident)


def rebooted(cloud: EmbeddedCloud, ident: str) -> None:
    with connect(cloud, "demo") as demo:
        demo.compute.reboot_server(ident, "HARD")


def deleted(cloud: EmbeddedCloud, ident: str) -> None:
    with connect(cloud, "demo") as demo:
        demo.compute.delete_server(ident)


def status(cloud: EmbeddedCloud, user: str, ident: str, method: str) -> int:
    with connect(cloud, user) as someone:
        return int(someone.compute.request(f"/servers/{ident}/os-server-password", method).status_code)


def home(cloud: EmbeddedCloud, ident: str) -> Agent:
    (agent,) = (agent for agent in cloud.node.agents if ident in agent.told())
    return agent


async def until(condition: Callable[[], Any]) -> None:
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(condition):
            await asyncio.sleep(0.01)


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
async def test_what_a_guest_posts_is_read_and_cleared_by_its_users(embedded: EmbeddedCloud) -> None:
    ident = await asyncio.to_thread(made, embedded)
    agent = home(embedded, ident)
    assert await asyncio.to_thread(password, embedded, ident) == ""
    await agent.post_password(ident, "one\0 ☃ \x01")
    with pytest.raises(Conflict):
        await agent.post_password(ident, "another")
    await until(lambda: password(embedded, ident) == "one\0 ☃ \x01")
    await asyncio.to_thread(cleared, embedded, ident)
    assert await asyncio.to_thread(password, embedded, ident) == ""
    await agent.post_password(ident, "two")
    await until(lambda: password(embedded, ident) == "two")
    assert await asyncio.to_thread(status, embedded, "admin", ident, "GET") == 200
    await asyncio.to_thread(deleted, embedded, ident)
    await embedded.settled()
    for method in ("GET", "DELETE"):
        assert await asyncio.to_thread(status, embedded, "demo", ident, method) == 404


@pytest.mark.filterwarnings("ignore::PendingDeprecationWarning")
async def test_it_outlives_a_restart_and_power(first_start: Path, started_database: str, tmp_path: Path) -> None:
    cloud = EmbeddedCloud(tmp_path / "state", template=first_start, database=started_database)
    async with cloud:
        ident = await asyncio.to_thread(made, cloud)
        agent = home(cloud, ident)
        agent._publish_soon = lambda _event: None  # nobody hears of it before the restart
        await agent.post_password(ident, "kept")
    async with cloud:
        await asyncio.to_thread(rebooted, cloud, ident)
        await cloud.settled()
        await home(cloud, ident)._beat()
        await until(lambda: password(cloud, ident) == "kept")
        with pytest.raises(Conflict):
            await home(cloud, ident).post_password(ident, "another")
