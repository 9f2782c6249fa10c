"""Users of a running cloud, and what has to be true of it in the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest

from floe.agent.agent import Agent
from floe.cloud import host_networks
from floe.cloud.audit import HostView, check_host, check_rows
from floe.dataplane.fake import FakePlane
from floe.hypervisors.fake import FakeHypervisor
from floe.store import audit
from floe.store.engine import Connection
from floe.testing import EmbeddedCloud

SERVERS = "/compute/v2.1/servers"


class User:
    """Somebody who is logged in, with an image; and who may look behind the scenes."""

    def __init__(self, cloud: EmbeddedCloud, name: str = "demo") -> None:
        self.cloud, self.name = cloud, name
        self.http = httpx.AsyncClient(base_url=cloud.url, timeout=60)
        self.image = self.project = ""

    async def login(self) -> User:
        domain = {"name": "Default"}
        user = {"name": self.name, "password": self.cloud.passwords[self.name], "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": {"name": self.name, "domain": domain}}}}
        reply = await self.http.post("/identity/v3/auth/tokens", json=body)
        self.project = reply.json()["token"]["project"]["id"]
        self.http.headers["X-Auth-Token"] = reply.headers["x-subject-token"]
        self.http.headers["OpenStack-API-Version"] = "compute 2.96"
        return self

    async def upload(self) -> User:
        body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        self.image = (await self.http.post("/image/v2/images", json=body)).json()["id"]
        octets = {"Content-Type": "application/octet-stream"}
        await self.http.put(f"/image/v2/images/{self.image}/file", content=b"\0" * 4096, headers=octets)
        return self

    async def ask(self, name: str = "a", hints: dict[str, Any] | None = None, **more: Any) -> httpx.Response:
        server = {"name": name, "imageRef": self.image, "flavorRef": "0", "networks": "auto", **more}
        body = {"server": server} | ({"os:scheduler_hints": hints} if hints else {})
        return await self.http.post(SERVERS, json=body)

    async def create(self, **more: Any) -> str:
        """Create a server and return its id, whatever becomes of it."""
        reply = await self.ask(**more)
        assert reply.status_code == 202, reply.text
        return str(reply.json()["server"]["id"])

    async def built(self, **more: Any) -> str:
        """Create a server, wait until nothing goes on, and return its id; it is ACTIVE."""
        ident = await self.create(**more)
        await self.cloud.settled()
        server = await self.server(ident)
        assert server["status"] == "ACTIVE", server.get("fault")
        return ident

    async def server(self, ident: str) -> dict[str, Any]:
        return dict((await self.http.get(f"{SERVERS}/{ident}")).json()["server"])

    async def delete(self, ident: str) -> None:
        assert (await self.http.delete(f"{SERVERS}/{ident}")).status_code == 204

    async def gone(self, ident: str) -> bool:
        return (await self.http.get(f"{SERVERS}/{ident}")).status_code == 404


def agent_of(
    cloud: EmbeddedCloud, host: str, *, name: str | None = None, plane: FakePlane | None = None, old: str | None = None
) -> Agent:
    """Return an agent that takes over the machine of a host of the cloud, perhaps under another name."""
    node = cloud.node
    return Agent(
        name or host,
        bus=node.cloud.bus,
        hypervisor=FakeHypervisor(node.fake_hosts[host]),
        plane=plane or FakePlane(),
        images=node.cloud.blobs,
        state_dir=cloud.folder / "hosts" / host,
        clock=node.cloud.clock,
    )


def violations(cloud: EmbeddedCloud) -> list[str]:
    """Return what is not as it must be, in the rows and on the hosts."""

    def look(conn: Connection) -> list[str]:
        rows = audit.rows(conn)
        found = [str(item) for item in check_rows(rows, quiet=True)]
        for agent in cloud.node.agents:
            folder = cloud.folder / "hosts" / agent.host / "guests"
            plane = agent._plane
            assert isinstance(plane, FakePlane)
            view = HostView(
                guests=dict(cloud.node.fake_hosts[agent.host].guests),
                network=plane.applied,
                folders=frozenset(entry.name for entry in folder.iterdir()),
            )
            whole = host_networks.whole(conn, agent.host, cloud.node.cloud.settings.dns_domain)
            found += [str(item) for item in check_host(agent.host, rows, whole, view)]
        return found

    return cloud.node.cloud.db.read_now(look)


async def until(condition: Callable[[], Any | Awaitable[Any]]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(30):
        while True:
            found = condition()
            if asyncio.iscoroutine(found):
                found = await found
            if found:
                return
            await asyncio.sleep(0.005)


class Kit:
    """What tests of this folder are given besides a cloud."""

    agent_of = staticmethod(agent_of)
    violations = staticmethod(violations)
    until = staticmethod(until)
    user = User


@pytest.fixture
def kit() -> type[Kit]:
    """Give functions that look behind the scenes."""
    return Kit


@pytest.fixture
async def start(first_start: Path, tmp_path: Path) -> AsyncIterator[Callable[..., Awaitable[User]]]:
    """Start a cloud and log in; the cloud stops with the test."""
    async with AsyncExitStack() as stack:

        async def begin(**settings: Any) -> User:
            folder = tmp_path / "state"
            cloud = await stack.enter_async_context(EmbeddedCloud(folder, template=first_start, **settings))
            user = User(cloud)
            stack.push_async_callback(user.http.aclose)
            await user.login()
            return await user.upload()

        yield begin
