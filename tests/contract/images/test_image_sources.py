"""What every source of images promises to a host: the store itself, and an API that is asked over HTTP."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from floe.agent.image_http import HttpImages
from floe.core.errors import FloeError, NotFound
from floe.core.image_tickets import issue
from floe.pools import Pool
from floe.testing import EmbeddedCloud

DATA = os.urandom((2 << 20) + 17)
ABSENT = "00000000-0000-4000-8000-000000000000"


@dataclass
class Place:
    """A source, an image that it has, and how that is deleted."""

    source: Any
    blob: str
    cloud: EmbeddedCloud
    token: str

    async def delete(self) -> None:
        async with httpx.AsyncClient(base_url=self.cloud.url, headers={"x-auth-token": self.token}) as client:
            (await client.delete(f"/image/v2/images/{self.blob}")).raise_for_status()
        await self.cloud.settled()

    async def whole(self, blob: str = "", start: int = 0) -> bytes:
        return b"".join([chunk async for chunk in self.source.read(blob or self.blob, start)])


async def token_of(cloud: EmbeddedCloud, user: str = "admin") -> str:
    auth = {
        "identity": {
            "methods": ["password"],
            "password": {"user": {"name": user, "domain": {"id": "default"}, "password": cloud.passwords[user]}},
        },
        "scope": {"project": {"name": user, "domain": {"id": "default"}}},
    }
    async with httpx.AsyncClient() as client:
        reply = await client.post(f"{cloud.url}/identity/v3/auth/tokens", json={"auth": auth})
        assert reply.status_code == 201, reply.text
        return reply.headers["x-subject-token"]


async def upload(cloud: EmbeddedCloud, token: str, data: bytes) -> str:
    async with httpx.AsyncClient(base_url=cloud.url, headers={"x-auth-token": token}) as client:
        body = {"name": "x", "disk_format": "raw", "container_format": "bare"}
        made = await client.post("/image/v2/images", json=body)
        ident: str = made.json()["id"]
        sent = await client.put(
            f"/image/v2/images/{ident}/file", content=data, headers={"content-type": "application/octet-stream"}
        )
        assert sent.status_code == 204, sent.text
        return ident


@pytest.fixture(params=["store", "http"])
async def place(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Place]:
    async with AsyncExitStack() as stack:
        cloud = await stack.enter_async_context(EmbeddedCloud(tmp_path / "cloud"))
        token = await token_of(cloud)
        blob = await upload(cloud, token, DATA)
        source: Any = cloud.node.cloud.blobs
        if request.param == "http":
            threads = Pool("fetches", 2)
            stack.callback(threads.close)
            source = HttpImages([cloud.url], threads=threads, clock=cloud.node.cloud.clock)
            source.take(issue(cloud.token_key, "fake-1", [blob, ABSENT], 1 << 38))
        yield Place(source, blob, cloud, token)


async def test_all_bytes_come_in_order(place: Place) -> None:
    assert await place.whole() == DATA


@pytest.mark.parametrize("start", [1, 1 << 20, len(DATA) - 1])
async def test_they_come_from_any_position_on(place: Place, start: int) -> None:
    assert await place.whole(start=start) == DATA[start:]


async def test_an_image_that_never_was_or_is_no_more_is_not_found(place: Place) -> None:
    with pytest.raises(NotFound):
        await place.whole(ABSENT)
    await place.delete()
    with pytest.raises(NotFound):
        await place.whole()


async def test_who_stops_reading_is_no_harm(place: Place) -> None:
    for _ in range(5):
        reading = place.source.read(place.blob)
        assert await anext(reading)
        await reading.aclose()
    assert await place.whole() == DATA


async def test_an_id_that_is_no_blob_is_refused(place: Place) -> None:
    with pytest.raises(FloeError):
        await place.whole("../../floe.db")
