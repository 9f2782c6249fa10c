"""`/healthz` says what is the matter, and looking at it is no load."""

from __future__ import annotations

import asyncio
import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest

from floe.assembly.health import Health
from floe.assembly.surroundings import MachineClock
from floe.core.errors import Unavailable
from floe.disk import DiskRoom
from floe.testing import EmbeddedCloud

MIB = 2**20


@pytest.fixture
async def cloud(tmp_path: Path) -> AsyncIterator[EmbeddedCloud]:
    async with EmbeddedCloud(tmp_path / "state", hosts=3) as cloud:
        yield cloud


async def look(cloud: EmbeddedCloud) -> tuple[int, str, dict[str, str]]:
    """Ask, as one does after the time for which an answer holds."""
    cloud.node._process._health._until = 0.0
    async with httpx.AsyncClient(base_url=cloud.url, timeout=30) as http:
        reply = await http.get("/healthz")
    body = reply.json()
    return reply.status_code, body["status"], body["parts"]


WELL = dict.fromkeys(("database", "disk", "bus", "conductor", "hosts", "agents"), "ok")


async def test_all_is_well(cloud: EmbeddedCloud) -> None:
    assert await look(cloud) == (200, "ok", WELL)


async def test_a_disk_below_its_reserve_is_told_with_numbers(cloud: EmbeddedCloud) -> None:
    found = os.statvfs_result((MIB, MIB, 1000, 100, 99, 0, 0, 0, 0, 255))
    cloud.node.ground._room = DiskRoom(cloud.folder, 100 * MIB, statvfs=lambda _: found)
    status, word, parts = await look(cloud)
    assert (status, word) == (503, "degraded")
    assert parts["disk"] == "99 MiB of 1000 are free, less than the reserve of 100: no image data is taken"


async def test_a_database_that_another_process_keeps_locked_is_told(cloud: EmbeddedCloud) -> None:
    with closing(sqlite3.connect(cloud.folder / "floe.db", isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        status, _, parts = await look(cloud)
        assert (status, parts["database"]) == (503, "a write has not been done within 2 s")
        waiting = cloud.node.ground._writing._trying
        await look(cloud)
        assert cloud.node.ground._writing._trying is waiting  # however often one asks, one write waits
        other.execute("ROLLBACK")
        assert waiting is not None
        await waiting
    assert await look(cloud) == (200, "ok", WELL)


async def test_hosts_that_are_down_are_counted(cloud: EmbeddedCloud) -> None:
    await cloud.node.agents[0].stop()
    async with asyncio.timeout(20):
        while (await look(cloud))[2]["hosts"] != "ok: 2 of 3 are alive":
            await asyncio.sleep(0.01)
    assert (await look(cloud))[:2] == (200, "ok")
    for agent in cloud.node.agents[1:]:
        await agent.stop()
    async with asyncio.timeout(20):
        while (await look(cloud))[2]["hosts"] != "none of 3 is alive":
            await asyncio.sleep(0.01)
    assert (await look(cloud))[:2] == (503, "degraded")


async def test_a_conductor_whose_rounds_stand_still_is_told(cloud: EmbeddedCloud) -> None:
    for task in cloud.node.conductor.sweeps._tasks:
        task.cancel()
    cloud.node.conductor.sweeps._turned -= 100
    status, _, parts = await look(cloud)
    assert status == 503
    assert parts["conductor"].startswith("its rounds have not turned for 10")


@pytest.mark.once
async def test_many_who_ask_at_once_are_told_of_one_look(cloud: EmbeddedCloud) -> None:
    await look(cloud)
    commits = cloud.node.cloud.db.commits
    async with httpx.AsyncClient(base_url=cloud.url, timeout=30) as http:
        replies = await asyncio.gather(*(http.get("/healthz") for _ in range(50)))
    assert {reply.status_code for reply in replies} == {200}
    assert cloud.node.cloud.db.commits <= commits + 2  # its own, and what goes on anyway


_FULL = """
import asyncio, json, sys
from pathlib import Path
import httpx
from floe.testing import EmbeddedCloud
from floe.settings import Settings

async def main():
    state = Path(sys.argv[1]) / "state"
    async with EmbeddedCloud(state) as cloud:
        async with httpx.AsyncClient(base_url=cloud.url, timeout=60) as http:
            user = {"name": "demo", "password": cloud.passwords["demo"], "domain": {"name": "Default"}}
            scope = {"project": {"name": "demo", "domain": {"name": "Default"}}}
            body = {"auth": {"identity": {"methods": ["password"], "password": {"user": user}}, "scope": scope}}
            token = (await http.post("/identity/v3/auth/tokens", json=body)).headers["x-subject-token"]
            http.headers["x-auth-token"] = token
            async def upload(size):
                made = await http.post("/image/v2/images", json={"disk_format": "raw", "container_format": "bare"})
                if made.status_code != 201:
                    return made.status_code, made.text
                async def data():
                    for _ in range(size):
                        yield bytes(1 << 20)
                at = f"/image/v2/images/{made.json()['id']}"
                put = await http.put(at + "/file", content=data(),
                                     headers={"content-type": "application/octet-stream"})
                return put.status_code, (await http.get(at)).json()["status"], put.text
            first = await upload(20)
            both = await asyncio.gather(upload(60), upload(60))
            left = cloud.node.ground._room.sizes()
            (state / "filler").write_bytes(bytes(left[0] - 2 * 2**20))
            cloud.node._process._health._until = 0.0
            health = await http.get("/healthz")
            keypair = await http.post("/compute/v2.1/os-keypairs", json={"keypair": {"name": "k"}})
            late = await upload(1)
            print(json.dumps([first, both, left, [health.status_code, health.json()], keypair.status_code, late]))

asyncio.run(main())
"""


def test_a_disk_that_fills_up_refuses_images_and_still_has_room_for_the_database(tmp_path: Path) -> None:
    """A real file system of 100 MiB, in a mount namespace of its own; its reserve is a twentieth."""
    command = f'mount -t tmpfs -o size=100m tmpfs "{tmp_path}" && exec "$@"'
    as_root = [] if os.geteuid() == 0 else ["--user", "--map-root-user"]
    inside = ["unshare", *as_root, "--mount", "sh", "-c", command, "sh"]
    done = subprocess.run(
        [*inside, sys.executable, "-c", _FULL, str(tmp_path)], capture_output=True, text=True, check=False, timeout=200
    )
    assert done.returncode == 0, done.stderr[-3000:]
    first, both, left, (status, health), keypair, late = json.loads(done.stdout.splitlines()[-1])
    assert first[:2] == [204, "active"]
    refused = [answer for answer in both if answer[0] != 204]
    assert refused
    assert all(answer[:2] == [413, "queued"] for answer in refused)
    assert all("image store is full" in answer[2] for answer in refused)
    free, reserve, _ = left
    assert free >= reserve == 5 * MIB
    assert (status, health["parts"]["database"]) == (503, "ok")
    assert health["parts"]["disk"].endswith("of 100 are free, less than the reserve of 5: no image data is taken")
    assert keypair in (200, 201)
    assert late[0] == 413


async def test_a_part_that_cannot_say_how_it_is_hides_none_of_the_others() -> None:
    async def well() -> dict[str, str]:
        return {"bus": "ok"}

    async def broken() -> dict[str, str]:
        raise Unavailable("The database is closed.")

    health = Health(MachineClock(), [broken, well])
    assert await health.parts() == {
        "unknown": "a part does not say how it is: The database is closed.",
        "bus": "ok",
    }
