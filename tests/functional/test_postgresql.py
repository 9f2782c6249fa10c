"""The whole cloud on PostgreSQL, as `floe up --database` starts it: what users do, a process that is killed, a server
that is stopped under it."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from bench_client import Client, Floe, active, create, gone, prepare
from postgres_server import PostgresServer

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning")  # the client's sockets end with its process

Start = Callable[..., Any]


@pytest.fixture
def up(tmp_path: Path) -> Start:
    """Start `floe up` with fake hosts on a database, and give it with a user and an operator."""
    state = tmp_path / "cloud" / "state"
    state.parent.mkdir()

    @asynccontextmanager
    async def start(url: str, *flags: str) -> AsyncIterator[tuple[Floe, Client, Client]]:
        known = ("--database", url, "--hypervisor", "fake", "--fake-hosts", "2", *flags)
        floe = await asyncio.to_thread(Floe, state, *known)
        try:
            users = [Client(floe, state, name) for name in ("demo", "admin")]
            for each in users:
                await each.login()
            yield floe, *users
            for each in users:
                each.http.close()
        finally:
            if floe.process.poll() is None:
                await asyncio.to_thread(floe.stop)

    return start


async def audit(admin: Client) -> list[Any]:
    found: list[Any] = (await admin.ask("GET", "/floe/v1/audit"))["violations"]
    return found


async def test_servers_come_are_listed_and_go(postgres_url: str, up: Start, tmp_path: Path) -> None:
    async with up(postgres_url) as (_, user, admin):
        image, flavor = await prepare(user, admin)
        others = [user.another() for _ in range(4)]
        made = await asyncio.gather(*(create(each, image, flavor, f"web-{n}") for n, each in enumerate(others)))
        for server, _ in made:
            await active(user, server)
        listed = await user.ask("GET", "/compute/v2.1/servers/detail?sort_key=display_name&sort_dir=asc&name=WEB")
        assert [each["name"] for each in listed["servers"]] == [f"web-{n}" for n in range(4)]
        page = await user.ask("GET", f"/compute/v2.1/servers?limit=2&marker={listed['servers'][1]['id']}&sort_key=uuid")
        assert len(page["servers"]) <= 2
        assert await audit(admin) == []
        limits = (await user.ask("GET", "/compute/v2.1/limits"))["limits"]["absolute"]
        assert limits["totalInstancesUsed"] == 4
        for server, _ in made:
            await user.ask("DELETE", f"/compute/v2.1/servers/{server}", expect=204)
        for server, _ in made:
            await gone(user, server)
        assert (await user.ask("GET", "/network/v2.0/ports?device_owner=compute:nova"))["ports"] == []
        assert await audit(admin) == []
        for each in others:
            each.http.close()
    assert list(tmp_path.rglob("floe.db*")) == []


async def test_after_a_kill_in_mid_build_all_servers_become_active(postgres_url: str, up: Start) -> None:
    async with up(postgres_url, "--fake-delay", "0.5") as (floe, user, admin):
        image, flavor = await prepare(user, admin)
        made = [await create(user, image, flavor, f"s{n}") for n in range(6)]
        await asyncio.to_thread(floe.stop, signal.SIGKILL)
    async with up(postgres_url) as (_, user, admin):
        for server, _ in made:
            await active(user, server, 0.05)
        assert await audit(admin) == []


async def test_a_server_that_is_restarted_under_load_loses_nothing_that_was_accepted(up: Start) -> None:
    server = PostgresServer(durable=True)
    server.start()
    server.execute("CREATE DATABASE floe TEMPLATE template0")
    accepted: list[str] = []
    try:
        async with up(server.url("floe")) as (_, user, admin):
            image, flavor = await prepare(user, admin)
            stopping = asyncio.Event()

            async def load(client: Client) -> None:
                body = {"name": "s", "imageRef": image, "flavorRef": flavor, "networks": "none"}
                while not stopping.is_set():
                    status, _, data = await client.http.call(
                        "POST", "/compute/v2.1/servers", {"server": body},
                        x_auth_token=client.token, x_openstack_nova_api_version="2.96",
                    )  # fmt: skip
                    if status == 202:
                        accepted.append(data.decode().split('"id":"', 1)[1].split('"', 1)[0])
                    else:
                        assert status == 503, data
                        await asyncio.sleep(0.1)

            others = [user.another() for _ in range(3)]
            loads = [asyncio.ensure_future(load(each)) for each in others]
            for immediately in (True, False):
                before = len(accepted)
                while len(accepted) < before + 4:
                    await asyncio.sleep(0.02)
                await asyncio.to_thread(server.stop, immediately=immediately)
                await asyncio.sleep(0.5)
                await asyncio.to_thread(server.start)
            before = len(accepted)
            while len(accepted) < before + 4:
                await asyncio.sleep(0.02)
            stopping.set()
            await asyncio.gather(*loads)
            for each in accepted:
                await active(user, each, 0.05)
            listed = await user.ask("GET", "/compute/v2.1/servers")
            assert sorted(each["id"] for each in listed["servers"]) == sorted(accepted)
            assert await audit(admin) == []
            for each in others:
                each.http.close()
    finally:
        server.remove()
