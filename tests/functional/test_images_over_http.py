"""Hosts that do not see the image store fetch from the API: what they are given, and what nobody else is."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from floe.agent.image_eviction import ImageEviction, Keeping
from floe.agent.image_http import HttpImages
from floe.agent.images import ImageCache
from floe.core.guests import GuestImage
from floe.core.image_tickets import ImageTicket, authorization, issue
from floe.pools import Pool
from floe.testing import EmbeddedCloud

DATA = os.urandom((2 << 20) + 17)
HOUR = 3600


class Client:
    """One user's requests."""

    def __init__(self, cloud: EmbeddedCloud, http: httpx.AsyncClient) -> None:
        self.cloud, self.http = cloud, http

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        reply = await self.http.request(method, path, json=body)
        assert reply.status_code < 300, reply.text
        return reply.json() if reply.content else None

    async def log_in(self, user: str = "admin") -> None:
        password = {"name": user, "domain": {"id": "default"}, "password": self.cloud.passwords[user]}
        auth = {
            "identity": {"methods": ["password"], "password": {"user": password}},
            "scope": {"project": {"name": user, "domain": {"id": "default"}}},
        }
        reply = await self.http.post("/identity/v3/auth/tokens", json={"auth": auth})
        self.http.headers["x-auth-token"] = reply.headers["x-subject-token"]

    async def image(self) -> str:
        body = {"name": "x", "disk_format": "raw", "container_format": "bare"}
        ident: str = (await self.call("POST", "/image/v2/images", body))["id"]
        sent = await self.http.put(
            f"/image/v2/images/{ident}/file", content=DATA, headers={"content-type": "application/octet-stream"}
        )
        assert sent.status_code == 204
        return ident

    def ticket(self, blob: str, *, host: str = "fake-1", seconds: float = HOUR) -> ImageTicket:
        expires = int(self.cloud.node.cloud.clock.now().timestamp() + seconds)
        return issue(self.cloud.token_key, host, [blob], expires)[0]

    async def blob(self, ticket: ImageTicket | None, blob: str, method: str = "GET", **headers: str) -> httpx.Response:
        part = headers.get("range", "")
        shown = {} if ticket is None else {"authorization": authorization(ticket, method, part)}
        async with httpx.AsyncClient(base_url=self.cloud.url) as http:
            named = {name.replace("_", "-"): value for name, value in headers.items()}
            return await http.request(method, f"/floe/v1/blobs/{blob}", headers=named | shown)


@pytest.fixture
async def client(tmp_path: Path) -> AsyncIterator[Client]:
    async with (
        EmbeddedCloud(tmp_path / "cloud", hosts=2, images_over_http=True) as cloud,
        httpx.AsyncClient(base_url=cloud.url, timeout=60) as http,
    ):
        made = Client(cloud, http)
        await made.log_in()
        yield made


async def test_servers_come_up_on_hosts_that_fetch_their_image_once(
    client: Client, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    image = await client.image()
    body = {
        "name": "x",
        "imageRef": image,
        "flavorRef": "1",
        "networks": "none",
        "min_count": 8,
        "max_count": 8,
    }
    client.http.headers["openstack-api-version"] = "compute latest"
    await client.call("POST", "/compute/v2.1/servers", {"server": body})
    await client.cloud.settled()
    servers = (await client.call("GET", "/compute/v2.1/servers/detail"))["servers"]
    assert [server["status"] for server in servers] == ["ACTIVE"] * 8, servers[0].get("fault")
    cached = list((client.cloud.folder / "hosts" / "images").glob("*"))
    assert hashlib.sha512(DATA).hexdigest() in {path.name for path in cached}
    metrics = (await client.http.get("/metrics")).text
    assert 'floe_http_requests_total{status="200",surface="floe"} 1.0' in metrics or (
        'floe_http_requests_total{surface="floe",status="200"} 1.0' in metrics
    )
    # What opens an image stands in no log and in no file of a host.
    secrets = [ticket.secret for ticket in client.cloud.node._images_for_hosts._tickets.values()]  # type: ignore[attr-defined]
    assert secrets
    files = [path for path in (client.cloud.folder / "hosts").rglob("*") if path.is_file()]
    for secret in secrets:
        assert secret not in caplog.text
        assert not any(secret.encode() in path.read_bytes() for path in files)


async def test_a_ticket_gives_its_blob_whole_in_part_and_its_head(client: Client) -> None:
    blob = await client.image()
    ticket = client.ticket(blob)
    found = await client.blob(ticket, blob)
    assert (found.status_code, found.content) == (200, DATA)
    tag = found.headers["etag"]
    assert tag == f'"{hashlib.sha512(DATA).hexdigest()}"'
    part = await client.blob(ticket, blob, range="bytes=5-9", if_range=tag)
    assert (part.status_code, part.content) == (206, DATA[5:10])
    assert part.headers["content-range"] == f"bytes 5-9/{len(DATA)}"
    other = await client.blob(ticket, blob, range="bytes=5-9", if_range='"other"')
    assert (other.status_code, len(other.content)) == (200, len(DATA))
    head = await client.blob(ticket, blob, "HEAD")
    assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(DATA)))


@pytest.mark.parametrize(
    "asked",
    [
        "bytes=0-1,5-6",
        f"bytes={len(DATA)}-",
        "bytes=9-5",
        "bytes=" + "9" * 40 + "-",
        "lines=1-2",
        "bytes=-",
        "bytes=-0",
    ],
)
async def test_a_range_that_cannot_be_served_is_told_with_the_size(client: Client, asked: str) -> None:
    blob = await client.image()
    found = await client.blob(client.ticket(blob), blob, range=asked)
    assert found.status_code == 416
    assert found.headers["content-range"] == f"bytes */{len(DATA)}"


async def test_nothing_else_opens_a_blob(client: Client) -> None:
    blob, other = await client.image(), await client.image()
    good = client.ticket(blob)
    assert (await client.blob(None, blob)).status_code == 403
    assert (await client.http.get(f"/floe/v1/blobs/{blob}")).status_code == 403  # an administrator's token
    for ticket, asked, why in [
        (good, other, "is for blob"),
        (client.ticket(blob, seconds=-1), blob, "has expired"),
        (client.ticket(blob, host="fake-9"), blob, "no host 'fake-9'"),
        (replace(good, host="fake-2"), blob, "not one of this cloud's"),
        (replace(good, expires=good.expires + 1), blob, "not one of this cloud's"),
        (issue(b"x" * 44, "fake-1", [blob], good.expires)[0], blob, "not one of this cloud's"),
    ]:
        found = await client.blob(ticket, asked)
        assert found.status_code == 403, why
        assert why in found.json()["error"]["message"]
    for method in ("POST", "PUT", "DELETE"):
        assert (await client.blob(good, blob, method)).status_code == 405


async def test_what_was_seen_of_one_request_opens_no_other(client: Client) -> None:
    blob = await client.image()
    seen = {"authorization": authorization(client.ticket(blob), "GET", "bytes=0-0"), "range": "bytes=0-0"}
    async with httpx.AsyncClient(base_url=client.cloud.url) as http:
        path = f"/floe/v1/blobs/{blob}"
        assert (await http.get(path, headers=seen)).content == DATA[:1]
        assert (await http.get(path, headers=seen | {"range": "bytes=0-1"})).status_code == 403
        del seen["range"]
        assert (await http.get(path, headers=seen)).status_code == 403


async def test_a_deleted_image_is_not_given_any_more(client: Client) -> None:
    blob = await client.image()
    ticket = client.ticket(blob)
    await client.call("DELETE", f"/image/v2/images/{blob}")
    assert (await client.blob(ticket, blob)).status_code == 404
    assert (await client.blob(client.ticket(f"{blob}.2"), f"{blob}.2")).status_code == 404


async def test_a_thousand_forged_tickets_read_nothing_of_the_database(client: Client) -> None:
    blob = await client.image()
    forged = replace(client.ticket(blob), secret="0" * 64)
    header = {"authorization": authorization(forged, "GET")}
    reads = []
    db = client.cloud.node.cloud.db
    plain = db.read

    async def counted(work: Any, *foreseen: Any) -> Any:
        if "admitted" in work.__qualname__:  # rounds read too
            reads.append(work)
        return await plain(work, *foreseen)

    db.read = counted  # type: ignore[method-assign]
    try:
        async with httpx.AsyncClient(base_url=client.cloud.url) as http:
            await http.get(
                f"/floe/v1/blobs/{blob}", headers={"authorization": authorization(client.ticket(blob), "GET")}
            )
            assert len(reads) == 1
            reads.clear()
            for _ in range(10):
                found = await asyncio.gather(*(http.get(f"/floe/v1/blobs/{blob}", headers=header) for _ in range(100)))
                assert {reply.status_code for reply in found} == {403}
    finally:
        db.read = plain  # type: ignore[method-assign]
    assert reads == []


async def test_ten_hosts_at_once_fetch_it_once_each_and_the_api_has_time_for_others(
    client: Client, tmp_path: Path
) -> None:
    blob = await client.image()
    image = GuestImage(
        image_id=blob,
        checksum=hashlib.sha512(DATA).hexdigest(),
        size=len(DATA),
        disk_format="raw",
        virtual_size=len(DATA),
    )
    clock = client.cloud.node.cloud.clock

    async def adopt(_path: Path, disk_format: str) -> str:
        return disk_format

    async def fetched(number: int, threads: Pool) -> bytes:
        source = HttpImages([client.cloud.url], threads=threads, clock=clock)
        source.take([client.ticket(blob, host=f"fake-{1 + number % 2}")])
        folder = tmp_path / f"host-{number}"
        eviction = ImageEviction(folder, list, clock, Keeping())
        images = ImageCache(folder, source, adopt, clock=clock, eviction=eviction)
        found = await asyncio.gather(*(images.get(image) for _ in range(5)))  # five servers of each host
        return found[0].path.read_bytes()

    pools = [Pool(f"fetches-{number}", 4) for number in range(10)]
    try:
        fetching = asyncio.gather(*(fetched(number, pool) for number, pool in enumerate(pools)))
        asked = 0
        while not fetching.done():
            await client.call("GET", "/compute/v2.1/servers")
            asked += 1
        assert await fetching == [DATA] * 10
    finally:
        for pool in pools:
            pool.close()
    assert asked > 1
    metrics = (await client.http.get("/metrics")).text.splitlines()
    given = [line for line in metrics if line.startswith("floe_http_requests_total") and 'surface="floe"' in line]
    assert sum(float(line.split()[-1]) for line in given) == 10
