"""The compute and placement surfaces over a cloud with two hosts and one server; tokens are names of callers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet
from msgspec.structs import replace

from floe.api.app import App
from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud.cloud import Cloud, CloudSettings
from floe.core.actions import Action, Step
from floe.core.clock import FixedClock
from floe.core.context import Context
from floe.core.errors import Unauthenticated
from floe.core.host_uptime import Uptime
from floe.core.hosts import Allocation, Host
from floe.core.messages import Command, Result
from floe.core.resources import Inventory, Resources
from floe.core.servers import ACTIVE, Server, ServerFlavor
from floe.store import actions, allocations, hosts, servers
from floe.store.engine import Connection, Transactions
from floe.store.schema import create_all

SERVER = "11111111-1111-4111-8111-111111111111"
PROJECT = "a" * 32
CALLERS = {
    "root": Context(request_id="", user_id="root", project_id="0" * 32, roles=frozenset({"admin", "member", "reader"})),
    "ann": Context(request_id="", user_id="ann", project_id=PROJECT, roles=frozenset({"member", "reader"})),
    "bob": Context(request_id="", user_id="bob", project_id="b" * 32, roles=frozenset({"member", "reader"})),
}
Get = Callable[..., Awaitable[httpx.Response]]


async def by_name(_cloud: Cloud, token: str, request_id: str) -> Context:
    if token not in CALLERS:
        raise Unauthenticated("no such caller")
    return replace(CALLERS[token], request_id=request_id)


async def _answer(_command: Command) -> Result:
    """Say what the one host says that has an agent."""
    return Uptime(text=" 12:00:00 up 3 days,  4:05,  1 user,  load average: 0.10, 0.20, 0.30")


def fill(conn: Connection, now: Any) -> None:
    create_all(conn)
    for number, name in enumerate(("alpha", "beta")):
        hosts.put(
            conn,
            Host(
                name=name,
                hypervisor_type="QEMU",
                hypervisor_version=9_000_000,
                inventories=(
                    Inventory(resource_class="VCPU", total=8, allocation_ratio=4.0, max_unit=8),
                    Inventory(resource_class="MEMORY_MB", total=4096, reserved=512, max_unit=4096),
                    Inventory(resource_class="DISK_GB", total=100, max_unit=100),
                ),
                traits=("COMPUTE_NODE", f"CUSTOM_{name.upper()}"),
                cpu_info={"arch": "x86_64", "model": "qemu64", "vendor": "AMD", "features": "avx sse"},
                address=f"192.0.2.{number + 1}",
                availability_zone="nova" if name == "alpha" else "west",
                created_at=now,
                updated_at=now,
                started_at=now,
                last_seen=now,
            ),
        )
    servers.add(
        conn,
        Server(
            id=SERVER,
            number=0,
            project_id=PROJECT,
            user_id="ann",
            name="web",
            hostname="web",
            vm_state=ACTIVE,
            host="alpha",
            reservation_id="r-1",
            flavor=ServerFlavor(flavor_id="1", name="f", vcpus=2, memory_mib=1024, root_gib=10),
            created_at=now,
        ),
    )
    allocations.claim(
        conn,
        Allocation(
            server_id=SERVER,
            host="alpha",
            project_id=PROJECT,
            user_id="ann",
            resources=Resources(2, 1024, 10),
            created_at=now,
        ),
    )
    for number, (state, message) in enumerate((("succeeded", None), ("failed", "The disk is full."))):
        actions.add(
            conn,
            Action(
                id=f"act-{number}",
                kind="create" if number == 0 else "delete",
                subject_id=SERVER,
                project_id=PROJECT,
                user_id="ann",
                request_id=f"req-{number}",
                state=state,
                message=message,
                created_at=now.replace(second=number),
                updated_at=now.replace(second=number + 10),
            ),
        )
        failure = {"detail": "/dev/x", "message": "The disk is full."}
        steps = [
            Step(
                action_id=f"act-{number}",
                seq=1,
                name="schedule",
                state="done",
                host="alpha",
                remark="2 of 2 hosts looked at fit",
                started_at=now,
                finished_at=now,
            ),
            Step(
                action_id=f"act-{number}",
                seq=2,
                name="spawn",
                state="failed" if message else "begun",
                host="beta",
                remark=message or "",
                output=failure if message else None,
                started_at=now.replace(second=1),
                finished_at=now.replace(second=2) if message else None,
            ),
        ]
        actions.write_steps(conn, steps)


@pytest.fixture
async def cloud(tmp_path: Path, new_database: Callable[[Path], Transactions]) -> AsyncIterator[Cloud]:
    """Give a cloud with two hosts and one server."""
    db, clock = new_database(tmp_path / "floe.db"), FixedClock()
    db.open()
    await db.write(lambda conn: fill(conn, clock.now()))
    bus = LocalBus()
    await bus.serve("alpha", _answer)
    yield Cloud(
        db=db,
        bus=bus,
        blobs=FileBlobs(tmp_path / "blobs"),
        clock=clock,
        new_id=lambda: "id",
        settings=CloudSettings(),
        token_keys=[Fernet.generate_key()].copy,
    )
    await bus.close()
    db.close()


@pytest.fixture
async def call(cloud: Cloud) -> AsyncIterator[Get]:
    """Give a function that sends a request: call(path, version, who=..., method=..., json=...)."""
    transport = httpx.ASGITransport(app=App(cloud, authenticate=by_name))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud") as client:

        async def send(
            path: str, version: str = "", who: str = "root", method: str = "GET", json: Any = None
        ) -> httpx.Response:
            service = path.split("/")[1]
            headers = {"X-Auth-Token": who}
            if version:
                headers["OpenStack-API-Version"] = f"{service} {version}"
            return await client.request(method, path, headers=headers, json=json)

        yield send
