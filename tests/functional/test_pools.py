"""One project's slow work holds up nobody else's; what is refused says when to come again, and is counted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from floe.testing import EmbeddedCloud


async def _login(http: httpx.AsyncClient, user: str) -> dict[str, str]:
    who = {"name": user, "domain": {"id": "default"}, "password": f"{user}-secret"}
    scope = {"project": {"name": user, "domain": {"id": "default"}}}
    body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}}
    reply = await http.post("/identity/v3/auth/tokens", json=body)
    assert reply.status_code == 201, reply.text
    return {"x-auth-token": reply.headers["x-subject-token"]}


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[EmbeddedCloud]:
    async with EmbeddedCloud(tmp_path / "state") as cloud:
        yield cloud


async def test_many_keys_of_one_project_hold_up_neither_uploads_nor_keys_of_others(cloud: EmbeddedCloud) -> None:
    pool, go = cloud.node.cloud.pools.keys, threading.Event()
    async with httpx.AsyncClient(base_url=cloud.url, timeout=60) as http:
        many, few = await _login(http, "demo"), await _login(http, "admin")
        stuck = [asyncio.create_task(pool.run(go.wait, caller=("x", "x"))) for _ in range(pool.threads)]
        path = "/compute/v2.1/os-keypairs"
        flood = [
            asyncio.create_task(http.post(path, json={"keypair": {"name": f"k{n}"}}, headers=many)) for n in range(30)
        ]
        done, _ = await asyncio.wait(flood, return_when=asyncio.FIRST_COMPLETED)
        refused = next(iter(done)).result()
        assert refused.status_code == 429
        assert refused.headers["retry-after"] == "2"
        assert refused.json()["overLimit"]["code"] == 429
        body = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        image = (await http.post("/image/v2/images", json=body, headers=few)).json()["id"]
        kind = {"content-type": "application/octet-stream", **few}
        put = await http.put(f"/image/v2/images/{image}/file", content=b"\0" * (3 << 20), headers=kind)
        assert put.status_code == 204
        assert (await http.get(f"/image/v2/images/{image}/file", headers=few)).content == b"\0" * (3 << 20)
        other = asyncio.create_task(http.post(path, json={"keypair": {"name": "k"}}, headers=few))
        while pool.waiting <= pool.most_each:
            await asyncio.sleep(0.01)
        assert not other.done()
        go.set()
        await asyncio.gather(*stuck)
        assert (await other).status_code == 200
        replies = await asyncio.gather(*flood)
        assert sum(reply.status_code == 200 for reply in replies) == pool.most_each
        metrics = (await http.get("/metrics")).text
        assert f'floe_pool_refused_total{{pool="keys"}} {30 - pool.most_each}.0' in metrics
        assert 'floe_pool_queued_total{pool="keys"}' in metrics
