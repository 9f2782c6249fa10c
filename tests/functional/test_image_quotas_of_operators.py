"""Limits of images: seen and set by administrators, for all projects and for one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import httpx
import pytest

from floe.core.quotas import IMAGE
from floe.testing import EmbeddedCloud

AT = "/floe/v1/image-quotas"


async def login(cloud: EmbeddedCloud, name: str) -> tuple[httpx.AsyncClient, str]:
    """Return a client of a user, and the id of the project."""
    http = httpx.AsyncClient(base_url=cloud.url, timeout=60)
    domain = {"name": "Default"}
    user = {"name": name, "password": cloud.passwords[name], "domain": domain}
    identity = {"methods": ["password"], "password": {"user": user}}
    body = {"auth": {"identity": identity, "scope": {"project": {"name": name, "domain": domain}}}}
    reply = await http.post("/identity/v3/auth/tokens", json=body)
    http.headers["x-auth-token"] = reply.headers["x-subject-token"]
    return http, reply.json()["token"]["project"]["id"]


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[EmbeddedCloud]:
    async with EmbeddedCloud(tmp_path / "state") as cloud:
        yield cloud


async def test_limits_of_one_project_and_of_all(cloud: EmbeddedCloud) -> None:
    admin, _ = await login(cloud, "admin")
    demo, project = await login(cloud, "demo")

    async def put(at: str, **limits: Any) -> httpx.Response:
        return await admin.put(at, json={"image_quota": limits})

    async def seen() -> dict[str, int]:
        usage = (await demo.get("/image/v2/info/usage")).json()["usage"]
        return {name: each["limit"] for name, each in usage.items()}

    async with aclosing(admin), aclosing(demo):
        assert (await admin.get(AT)).json() == {"image_quota": dict(IMAGE)}
        assert (await put(AT, image_count_total=7)).json()["image_quota"]["image_count_total"] == 7
        assert (await seen())["image_count_total"] == 7
        assert (await put(f"{AT}/{project}", image_count_total=1, image_size_total=-1)).status_code == 200
        assert await seen() == {**IMAGE, "image_count_total": 1, "image_size_total": -1}
        assert [(await demo.post("/image/v2/images", json={})).status_code for _ in range(2)] == [201, 413]
        assert (await admin.delete(f"{AT}/{project}")).status_code == 204
        assert await seen() == {**IMAGE, "image_count_total": 7}
        assert (await demo.post("/image/v2/images", json={})).status_code == 201


async def test_what_makes_no_sense_is_refused(cloud: EmbeddedCloud) -> None:
    admin, _ = await login(cloud, "admin")
    demo, project = await login(cloud, "demo")
    async with aclosing(admin), aclosing(demo):
        for limits in (
            {"image_count_total": -2},
            {"image_count_total": "7"},
            {"images": 7},
            {"image_size_total": 2**31},
        ):
            for at in (AT, f"{AT}/{project}"):
                assert (await admin.put(at, json={"image_quota": limits})).status_code == 400
        assert (await admin.put(AT, json={})).status_code == 400
        for method in ("GET", "PUT", "DELETE"):
            reply = await admin.request(method, f"{AT}/no-such-project", json={"image_quota": {}})
            assert reply.status_code == 404
            assert (await demo.request(method, f"{AT}/{project}", json={"image_quota": {}})).status_code == 403
        assert (await demo.get(AT)).status_code == 403
