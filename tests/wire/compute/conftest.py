"""A compute surface whose every reply is the same each time: ids are counted, time stands still."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from itertools import count
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet
from msgspec.structs import replace

from floe.api.app import App
from floe.api.compute.surface import SURFACE
from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud import flavors, networks, server_ports, subnets
from floe.cloud.cloud import Cloud, CloudSettings
from floe.core.aggregates import Aggregate
from floe.core.clock import FixedClock
from floe.core.context import Context
from floe.core.guest_questions import Diagnostics, DiskUse, NicUse, ReadDiagnostics
from floe.core.images import ACTIVE, PUBLIC, Image
from floe.core.messages import Command, Done, Result
from floe.core.server_migrations import FINISHED, OF_RESIZE, ServerMigration
from floe.core.servers import ServerFault
from floe.store import aggregates, images, server_migrations, servers
from floe.store.engine import Connection, Transactions
from floe.store.schema import create_all

MEMBER = frozenset({"member", "reader"})
CALLERS = {
    "user": Context(request_id="", user_id="user", project_id="a" * 32, roles=MEMBER),
    "manager": Context(request_id="", user_id="boss", project_id="a" * 32, roles=MEMBER | {"manager"}),
    "admin": Context(request_id="", user_id="root", project_id="f" * 32, roles=MEMBER | {"admin"}),
}
IMAGE = "11111111-1111-4111-8111-111111111111"
KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMtaXMtMzItYnl0ZXMtb2YtYS1wdWJsaWMta2V5 me"


async def by_name(_cloud: Cloud, token: str, request_id: str) -> Context:
    """Authenticate by the table above."""
    return replace(CALLERS[token], request_id=request_id)


@pytest.fixture
async def wire(tmp_path: Path, new_database: Callable[[Path], Transactions]) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of a cloud with one ACTIVE server (`.../00000001`...), one in ERROR, a key and a server group."""
    db = new_database(tmp_path / "floe.db")
    db.open()
    await db.write(create_all)
    numbers = count(1)
    bus = LocalBus()
    cloud = Cloud(
        db=db,
        bus=bus,
        blobs=FileBlobs(tmp_path / "blobs"),
        clock=FixedClock(),
        new_id=lambda: f"00000000-0000-4000-8000-{next(numbers):012x}",
        settings=CloudSettings(),
        token_keys=[Fernet.generate_key()].copy,
    )
    await _furnish(cloud)
    await bus.serve("host1", _answer)
    app = App(cloud, surfaces=[SURFACE], authenticate=by_name)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8774/compute") as client:
        await _populate(cloud, client)
        yield client
    await bus.close()
    db.close()


async def _answer(command: Command) -> Result:
    """Say what the only host there is says of its guest."""
    if not isinstance(command, ReadDiagnostics):
        return Done()
    disk = DiskUse(device="vda", read_requests=1, read_bytes=2, write_requests=3, write_bytes=4, errors=5)
    counted = {f"{way}_{what}": 6 for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "drops")}
    nic = NicUse(device="tap0", mac="fa:16:3e:00:00:01", **counted)
    memory = {"memory_max": 65536, "memory_used": 32768, "memory": {"rss": 7}}
    return Diagnostics(cpus=(8,), disks=(disk,), nics=(nic,), **memory)


async def _furnish(cloud: Cloud) -> None:
    now = cloud.clock.now()
    image = Image(
        id=IMAGE,
        name="tiny",
        owner="f" * 32,
        visibility=PUBLIC,
        status=ACTIVE,
        disk_format="qcow2",
        container_format="bare",
        size=1,
        virtual_size=1,
        checksum="0" * 32,
        sha512="0" * 128,
        created_at=now,
        updated_at=now,
    )
    await cloud.db.write(lambda conn: images.insert(conn, image))
    await flavors.bootstrap(cloud)
    (network,) = await networks.create(cloud, CALLERS["user"], [{"name": "private"}])
    await subnets.create(cloud, CALLERS["user"], [{"network_id": network.id, "cidr": "10.0.0.0/24"}])


async def _populate(cloud: Cloud, client: httpx.AsyncClient) -> None:
    client.headers.update({"x-auth-token": "user", "openstack-api-version": "compute 2.90"})
    await client.post("/v2.1/os-keypairs", json={"keypair": {"name": "key", "public_key": KEY}})
    group = await client.post("/v2.1/os-server-groups", json={"server_group": {"name": "g", "policy": "affinity"}})
    west = Aggregate(uuid=IMAGE, name="west", zone="west", items={"ssd": "true"}, created_at=cloud.clock.now())
    await cloud.db.write(lambda conn: aggregates.ROWS.insert(conn, west))
    hints = {"group": group.json()["server_group"]["id"]}
    web = {
        "name": "web",
        "flavorRef": "0",
        "imageRef": IMAGE,
        "networks": "auto",
        "key_name": "key",
        "metadata": {"a": "b"},
        "tags": ["t"],
        "description": "d",
    }
    made = [
        (await client.post("/v2.1/servers", json={"server": web, "os:scheduler_hints": hints})).json()["server"]["id"],
        (await client.post("/v2.1/servers", json={"server": {**web, "name": "bad", "networks": "none"}})).json()[
            "server"
        ]["id"],
    ]
    now = cloud.clock.now()

    def settle(conn: Connection) -> None:
        web, bad = made
        server = servers.get(conn, web)
        assert server is not None
        server_ports.bind(
            conn,
            now=cloud.clock.now(),
            server_id=web,
            project_id=server.project_id,
            host="host1",
            zone="nova",
            hostname="web",
            planned=server.networks,
        )
        servers.change(conn, web, host="host1", vm_state="active", task_state=None, power_state=1, launched_at=now)
        servers.change(conn, web, password="Zm9v\x01", password_turn=1)
        moved = {"server_id": web, "project_id": server.project_id, "user_id": server.user_id, "source": "host1"}
        resize = ServerMigration(
            id=IMAGE, kind=OF_RESIZE, old_flavor_id="0", new_flavor_id="m", created_at=now, **moved
        )
        server_migrations.insert(conn, resize)
        server_migrations.note(conn, web, FINISHED, now, target="host1")
        fault = ServerFault(code=500, message="No valid host was found.", details="host1: full", created_at=now)
        servers.change(conn, bad, vm_state="error", task_state=None, fault=fault)

    await cloud.db.write(settle)
