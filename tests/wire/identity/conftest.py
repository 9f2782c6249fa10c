"""The identity surface over a cloud whose ids are counted and whose clock stands still."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet

from floe.api.app import App
from floe.api.identity.surface import SURFACE
from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud.bootstrap import bootstrap
from floe.cloud.cloud import Cloud, CloudSettings
from floe.core.clock import FixedClock
from floe.store.engine import Transactions
from floe.store.schema import create_all


@pytest.fixture
async def identity_wire(
    tmp_path: Path, new_database: Callable[[Path], Transactions]
) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the surface of a cloud after its first start."""
    db = new_database(tmp_path / "floe.db")
    db.open()
    await db.write(create_all)
    numbers, keys, bus = itertools.count(1), [Fernet.generate_key()], LocalBus()
    cloud = Cloud(
        db=db,
        bus=bus,
        blobs=FileBlobs(tmp_path / "blobs"),
        clock=FixedClock(),
        new_id=lambda: f"00000000-0000-4000-8000-{next(numbers):012d}",
        settings=CloudSettings(public_url="http://cloud:8774"),
        token_keys=lambda: keys,
    )
    words = iter(("admin-secret", "demo-secret"))
    await bootstrap(cloud, lambda: next(words))
    transport = httpx.ASGITransport(App(cloud, surfaces=[SURFACE]), raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud:8774/identity") as client:
        yield client
    await bus.close()
    db.close()
