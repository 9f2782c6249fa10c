"""A create that carries an `Idempotency-Key` and is sent again happens once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from floe.cloud import idempotency
from floe.core.clock import FixedClock
from floe.core.idempotency import Once
from floe.store import idempotency as rows
from floe.testing import EmbeddedCloud

HEADERS = {"OpenStack-API-Version": "compute 2.96"}


class User:
    """The user `demo`, logged in, with an image."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        self.cloud = cloud
        self.http = httpx.AsyncClient(base_url=cloud.url, timeout=60)
        self.image = ""

    async def login(self, name: str = "demo") -> None:
        domain = {"name": "Default"}
        user = {"name": name, "password": self.cloud.passwords[name], "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": {"name": name, "domain": domain}}}}
        reply = await self.http.post("/identity/v3/auth/tokens", json=body)
        self.http.headers = httpx.Headers(HEADERS | {"X-Auth-Token": reply.headers["x-subject-token"]})

    async def upload(self, name: str = "i") -> None:
        body = {"name": name, "disk_format": "raw", "container_format": "bare"}
        self.image = (await self.http.post("/image/v2/images", json=body)).json()["id"]
        await self.http.put(
            f"/image/v2/images/{self.image}/file",
            content=b"\0" * 4096,
            headers={"Content-Type": "application/octet-stream"},
        )

    async def create(self, key: str | None, name: str = "a", **more: Any) -> httpx.Response:
        server = {"name": name, "imageRef": self.image, "flavorRef": "0", "networks": "auto", **more}
        headers = {} if key is None else {"Idempotency-Key": key}
        return await self.http.post("/compute/v2.1/servers", json={"server": server}, headers=headers)

    async def servers(self) -> list[str]:
        return [each["id"] for each in (await self.http.get("/compute/v2.1/servers")).json()["servers"]]


@pytest.fixture
async def user(embedded: EmbeddedCloud) -> AsyncIterator[User]:
    someone = User(embedded)
    await someone.login()
    await someone.upload()
    yield someone
    await someone.http.aclose()


async def test_a_create_sent_twice_makes_one_server_and_gives_the_same_answer(user: User) -> None:
    first, second = await user.create("k"), await user.create("k")
    assert (first.status_code, second.status_code) == (202, 202)
    assert first.json() == second.json()
    assert await user.servers() == [first.json()["server"]["id"]]


async def test_creates_sent_at_the_same_time_make_one_server(user: User) -> None:
    replies = await asyncio.gather(*(user.create("k") for _ in range(8)))
    assert len({reply.text for reply in replies}) == 1
    assert len(await user.servers()) == 1


async def test_the_order_of_fields_does_not_make_another_request(user: User) -> None:
    first = await user.create("k", name="a", description="d")
    server = {"description": "d", "networks": "auto", "flavorRef": "0", "imageRef": user.image, "name": "a"}
    second = await user.http.post("/compute/v2.1/servers", json={"server": server}, headers={"Idempotency-Key": "k"})
    assert second.json() == first.json()


async def test_the_same_key_with_another_body_is_refused_and_says_so(user: User) -> None:
    await user.create("k")
    reply = await user.create("k", name="b")
    assert reply.status_code == 409
    assert "'k' was used for a request with another body" in reply.json()["conflictingRequest"]["message"]
    assert len(await user.servers()) == 1


async def test_without_a_key_or_with_another_every_create_is_its_own(user: User) -> None:
    for key in (None, None, "a", "b"):
        assert (await user.create(key)).status_code == 202
    assert len(await user.servers()) == 4


async def test_a_refused_create_does_not_use_up_its_key(user: User) -> None:
    assert (await user.create("k", flavorRef="none")).status_code == 400
    assert (await user.create("k")).status_code == 202


async def test_a_key_belongs_to_a_project(user: User, embedded: EmbeddedCloud) -> None:
    mine = await user.create("k")
    other = User(embedded)
    await other.login("admin")
    await other.upload()
    theirs = await other.create("k", networks="none")
    await other.http.aclose()
    assert theirs.status_code == 202
    assert theirs.json()["server"]["id"] != mine.json()["server"]["id"]


async def test_a_server_deleted_meanwhile_is_not_made_again(user: User, embedded: EmbeddedCloud) -> None:
    made = (await user.create("k")).json()["server"]["id"]
    await user.http.delete(f"/compute/v2.1/servers/{made}")
    await embedded.settled()
    again = await user.create("k")
    assert again.json()["server"]["id"] == made
    assert await user.servers() == []


async def test_a_key_is_forgotten_after_a_day(user: User, embedded: EmbeddedCloud) -> None:
    await user.create("k")
    now, cloud = embedded.node.cloud.clock.now(), embedded.node.cloud
    project = next(iter((await user.http.get("/compute/v2.1/servers/detail")).json()["servers"]))["tenant_id"]

    async def found(after: timedelta) -> object:
        later = replace(cloud, clock=FixedClock(now + after))
        kept = await cloud.db.read(lambda conn: rows.get(conn, project, "k"))
        if kept is None:
            return None
        once = Once("k", kept.fingerprint)
        return await cloud.db.write(lambda conn: idempotency.earlier(conn, later, project, once, later.clock.now()))

    assert await found(timedelta(hours=23)) is not None
    assert await found(timedelta(hours=25)) is None
    assert await cloud.db.read(lambda conn: rows.get(conn, project, "k")) is None


@pytest.mark.parametrize("key", ["", "a b", "x" * 256])
async def test_a_key_that_is_none_is_refused(user: User, key: str) -> None:
    reply = await user.create(key)
    assert reply.status_code == 400
    assert "Idempotency-Key" in reply.json()["badRequest"]["message"]


async def test_a_create_sent_again_after_a_restart_makes_one_server(first_start: Path, tmp_path: Path) -> None:
    cloud = EmbeddedCloud(tmp_path / "state", hosts=2, template=first_start)
    async with cloud:
        before = User(cloud)
        await before.login()
        await before.upload()
        first = await before.create("k")
        await before.http.aclose()
    async with cloud:
        after = User(cloud)
        after.image = before.image
        await after.login()
        second = await after.create("k")
        assert second.json()["server"]["id"] == first.json()["server"]["id"]
        assert second.json()["server"]["adminPass"] == first.json()["server"]["adminPass"]
        assert len(await after.servers()) == 1
        await after.http.aclose()
