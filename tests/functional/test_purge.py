"""An operator has a running cloud forget what is over; users see it until then, and no longer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from floe.cli import main
from floe.testing import EmbeddedCloud

COMPUTE = {"OpenStack-API-Version": "compute 2.96"}


class User:
    """Somebody with a token, and servers that come and go."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        self.cloud = cloud
        self.http = httpx.AsyncClient(base_url=cloud.url, timeout=60)

    async def login(self, name: str) -> None:
        domain = {"name": "Default"}
        user = {"name": name, "password": self.cloud.passwords[name], "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": {"name": name, "domain": domain}}}}
        reply = await self.http.post("/identity/v3/auth/tokens", json=body)
        self.http.headers = httpx.Headers(COMPUTE | {"X-Auth-Token": reply.headers["x-subject-token"]})

    async def image(self) -> str:
        image = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        ident: str = (await self.http.post("/image/v2/images", json=image)).json()["id"]
        kind = {"Content-Type": "application/octet-stream"}
        await self.http.put(f"/image/v2/images/{ident}/file", content=b"\0" * 4096, headers=kind)
        return ident

    async def lived(self, image: str, **headers: str) -> httpx.Response:
        """Make a server, delete it, and return the answer to its create."""
        server = {"name": "a", "imageRef": image, "flavorRef": "0", "networks": "none"}
        reply = await self.http.post("/compute/v2.1/servers", json={"server": server}, headers=headers)
        await self.cloud.settled()
        if reply.status_code == 202:
            await self.http.delete(f"/compute/v2.1/servers/{reply.json()['server']['id']}")
            await self.cloud.settled()
        return reply

    async def purge(self, **asked: Any) -> httpx.Response:
        return await self.http.post("/floe/v1/purge", json={"purge": asked})


@pytest.fixture
async def user(embedded: EmbeddedCloud) -> AsyncIterator[User]:
    someone = User(embedded)
    await someone.login("demo")
    yield someone
    await someone.http.aclose()


def _floe(user: User, folder: Path, *words: str) -> int:
    auth = {
        "auth_url": f"{user.cloud.url}/identity",
        "username": "admin",
        "password": user.cloud.passwords["admin"],
        "user_domain_name": "Default",
        "project_name": "admin",
        "project_domain_name": "Default",
    }
    lines = ["clouds:", "  floe-admin:", "    auth:", *(f"      {key}: {json.dumps(auth[key])}" for key in auth)]
    (folder / "clouds.yaml").write_text("\n".join(lines) + "\n")
    return main(["purge", "--state", str(folder), *words])


async def test_an_operator_has_history_forgotten(user: User, tmp_path: Path, capsys: Any) -> None:
    image = await user.image()
    gone, last = [(await user.lived(image)).json()["server"]["id"] for _ in range(2)]
    used = (await user.http.get("/compute/v2.1/os-simple-tenant-usage/" + await _project(user))).json()["tenant_usage"]
    path = f"/compute/v2.1/servers/{gone}/os-instance-actions"
    assert len((await user.http.get(path)).json()["instanceActions"]) == 2
    assert await _deleted(user) == {gone, last}

    assert await asyncio.to_thread(_floe, user, tmp_path, "--before", "0", "--dry-run", "--json") == 0
    tried = json.loads(capsys.readouterr().out)["rows"]
    assert tried["servers"] == 1
    assert await _deleted(user) == {gone, last}

    assert await asyncio.to_thread(_floe, user, tmp_path, "--before", "0") == 0
    told = capsys.readouterr().out
    assert f"{sum(tried.values())} rows went" in told
    assert f"{tried['action_steps']}  action_steps" in told
    assert await _deleted(user) == {last}
    assert (await user.http.get(path)).status_code == 404
    after = (await user.http.get("/compute/v2.1/os-simple-tenant-usage/" + await _project(user))).json()["tenant_usage"]
    assert [use | {"uptime": 0} for use in after["server_usages"]] == [
        use | {"uptime": 0} for use in used["server_usages"]
    ]
    await user.login("admin")
    assert (await user.http.get("/floe/v1/audit")).json() == {"violations": [], "count": 0}
    reply = await user.http.get("/metrics")
    assert 'floe_purged_rows_total{table="servers"} 1' in reply.text

    assert await asyncio.to_thread(_floe, user, tmp_path, "--before", "2020-01-01") == 0
    assert "nothing is there" in capsys.readouterr().out


async def test_a_repeated_request_whose_server_is_purged_is_told_so(user: User) -> None:
    image = await user.image()
    assert (await user.lived(image, **{"Idempotency-Key": "one"})).status_code == 202
    await user.lived(image)
    await user.login("admin")
    assert (await user.purge(before=datetime.now(UTC).isoformat())).json()["purge"]["rows"]["servers"] == 1
    await user.login("demo")
    again = await user.lived(image, **{"Idempotency-Key": "one"})
    assert again.status_code == 410
    assert "choose a new Idempotency-Key" in again.text


async def test_a_repeated_request_is_never_answered_with_a_part_of_what_it_made(user: User) -> None:
    wanted = {"name": "a", "imageRef": await user.image(), "flavorRef": "0", "networks": "none", "min_count": 2}
    key = {"Idempotency-Key": "two"}
    made = await user.http.post("/compute/v2.1/servers", json={"server": wanted}, headers=key)
    assert made.status_code == 202
    await user.cloud.settled()
    listed = (await user.http.get("/compute/v2.1/servers")).json()["servers"]
    (other,) = {server["id"] for server in listed} - {made.json()["server"]["id"]}
    assert (await user.http.delete(f"/compute/v2.1/servers/{other}")).status_code == 204
    await user.cloud.settled()
    again = await user.http.post("/compute/v2.1/servers", json={"server": wanted}, headers=key)
    assert again.json() == made.json()
    await user.lived(wanted["imageRef"])
    await user.login("admin")
    assert (await user.purge(before=datetime.now(UTC).isoformat())).json()["purge"]["rows"]["servers"] == 1
    await user.login("demo")
    again = await user.http.post("/compute/v2.1/servers", json={"server": wanted}, headers=key)
    assert again.status_code == 410


async def test_only_operators_purge_and_never_what_is_to_come(user: User) -> None:
    assert (await user.purge(before="2020-01-01")).status_code == 403
    await user.login("admin")
    late = datetime.now(UTC) + timedelta(days=1)
    refused = await user.purge(before=late.isoformat())
    assert refused.status_code == 400
    assert "must not lie in the future" in refused.text
    for wrong in (
        {},
        {"before": "soon"},
        {"before": 7},
        {"before": "2020-01-01", "dry_run": 1},
        {"befor": "2020-01-01"},
    ):
        assert (await user.purge(**wrong)).status_code == 400


def test_a_moment_that_cannot_be_read_is_refused_before_anything_is_asked(tmp_path: Path, capsys: Any) -> None:
    for wrong in ("soon", "-3", "2030-13-01", "9" * 30):
        assert main(["purge", "--state", str(tmp_path), f"--before={wrong}"]) == 2
        assert "--before must be a date like 2030-01-31, or a number of days" in capsys.readouterr().err


async def _project(user: User) -> str:
    reply = await user.http.get(
        "/identity/v3/auth/tokens", headers={"X-Subject-Token": user.http.headers["X-Auth-Token"]}
    )
    ident: str = reply.json()["token"]["project"]["id"]
    return ident


async def _deleted(user: User) -> set[str]:
    """Return the deleted servers that are still told of, which administrators may list."""
    await user.login("admin")
    reply = await user.http.get("/compute/v2.1/servers?deleted=true&all_tenants=1")
    await user.login("demo")
    return {server["id"] for server in reply.json()["servers"]}
