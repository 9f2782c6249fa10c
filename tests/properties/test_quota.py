"""Whatever is asked for at the same time, a project never has more than its quota."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

import sqlalchemy as sa
from cryptography.fernet import Fernet
from databases import LentDatabases, NewDatabase
from hypothesis import given, settings
from hypothesis import strategies as st

from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud import flavors, servers
from floe.cloud.cloud import Cloud, CloudSettings
from floe.core.clock import FixedClock
from floe.core.context import Context
from floe.core.errors import OverQuota
from floe.core.ids import random_id
from floe.core.images import ACTIVE, PUBLIC, Image
from floe.core.new_servers import NewServer
from floe.store import images, quota_usages, quotas
from floe.store.engine import Connection
from floe.store.schema import create_all
from floe.store.servers import servers as rows

IMAGE = "11111111-1111-4111-8111-111111111111"
ANN = Context(request_id="r", user_id="ann", project_id="a" * 32, roles=frozenset({"member", "reader"}))

REQUESTS = st.lists(
    st.tuples(st.sampled_from(["0", "1", "3"]), st.integers(1, 4), st.integers(0, 3)), min_size=1, max_size=12
)
"""Of each create: the flavor, min_count, and how many more max_count is."""


@settings(max_examples=25, deadline=None)
@given(requests=REQUESTS, instances=st.integers(0, 8), cores=st.integers(-1, 8), memory=st.integers(-1, 8192))
async def test_quota_is_never_exceeded_by_creates_at_the_same_time(
    lent_databases: LentDatabases, requests: list[tuple[str, int, int]], instances: int, cores: int, memory: int
) -> None:
    limits = {"instances": instances, "cores": cores, "ram": memory}
    with tempfile.TemporaryDirectory() as folder, lent_databases() as new_database:
        made, refused, used = await _create_all(Path(folder), new_database, requests, limits)
    for amount, limit in zip(used, limits.values(), strict=True):
        assert limit < 0 or amount <= limit
    assert used[0] == sum(made)
    assert len(made) + refused == len(requests)


def _used(conn: Connection) -> tuple[int, int, int]:
    """Add up the rows: how many servers there are, their vCPUs, their memory."""
    total = sa.select(sa.func.count(), sa.func.sum(rows.c.vcpus), sa.func.sum(rows.c.memory_mib))
    count, cores, memory = conn.execute(total).one()
    return count, cores or 0, memory or 0


async def _create_all(
    folder: Path, new_database: NewDatabase, requests: list[tuple[str, int, int]], limits: dict[str, int]
) -> tuple[list[int], int, tuple[int, int, int]]:
    db = new_database(folder / "floe.db")
    db.open()
    await db.write(create_all)
    bus = LocalBus()
    cloud = Cloud(
        db=db,
        bus=bus,
        blobs=FileBlobs(folder / "blobs"),
        clock=FixedClock(),
        new_id=random_id,
        settings=CloudSettings(),
        token_keys=[Fernet.generate_key()].copy,
    )
    now = cloud.clock.now()
    image = Image(
        id=IMAGE,
        name="tiny",
        owner=None,
        visibility=PUBLIC,
        status=ACTIVE,
        disk_format="raw",
        container_format="bare",
        size=1,
        virtual_size=1,
        sha512="0" * 128,
        created_at=now,
        updated_at=now,
    )
    await db.write(lambda conn: images.insert(conn, image))
    await db.write(lambda conn: quotas.put(conn, "a" * 32, limits))
    await flavors.bootstrap(cloud)
    answers = await asyncio.gather(
        *(
            servers.create(
                cloud,
                ANN,
                NewServer(
                    name="s", flavor_id=flavor, image_id=IMAGE, min_count=low, max_count=low + more, networks="none"
                ),
            )
            for flavor, low, more in requests
        ),
        return_exceptions=True,
    )
    used = await db.read(_used)
    counts = await db.read(lambda conn: quota_usages.of(conn, "a" * 32))
    assert (counts["instances"], counts["cores"], counts["ram"]) == used
    await bus.close()
    db.close()
    made = []
    for answer, (_, low, more) in zip(answers, requests, strict=True):
        if isinstance(answer, BaseException):
            assert isinstance(answer, OverQuota), answer
        else:
            assert low <= len(answer.servers) <= low + more
            made.append(len(answer.servers))
    return made, len(requests) - len(made), used
