"""The network surface over a cloud whose ids are counted and whose clock stands still."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet
from msgspec.structs import replace

from floe.api.app import App
from floe.api.network.surface import SURFACE
from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud.cloud import Cloud, CloudSettings
from floe.core.clock import FixedClock
from floe.core.context import Context
from floe.store.engine import Transactions
from floe.store.schema import create_all

ROLES = {"ann": frozenset({"member", "reader"}), "root": frozenset({"admin", "member", "reader"})}


async def by_name(_cloud: Cloud, token: str, request_id: str) -> Context:
    """Authenticate a caller by name; each has a project of that name."""
    context = Context(request_id="", user_id=token, project_id=f"project-of-{token}", roles=ROLES[token])
    return replace(context, request_id=request_id)


@pytest.fixture
async def cloud(tmp_path: Path, new_database: Callable[[Path], Transactions]) -> AsyncIterator[Cloud]:
    """Give the cloud, with nothing in it."""
    db = new_database(tmp_path / "floe.db")
    db.open()
    await db.write(create_all)
    numbers = itertools.count(1)
    bus = LocalBus()
    yield Cloud(
        db=db,
        bus=bus,
        blobs=FileBlobs(tmp_path / "blobs"),
        clock=FixedClock(),
        new_id=lambda: f"00000000-0000-4000-8000-{next(numbers):012d}",
        settings=CloudSettings(),
        token_keys=[Fernet.generate_key()].copy,
    )
    await bus.close()
    db.close()


@pytest.fixture
async def network_wire(cloud: Cloud) -> AsyncIterator[httpx.AsyncClient]:
    """Give a client of the surface; the token is set by each request."""
    app = App(cloud, surfaces=[SURFACE], authenticate=by_name)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8774/network") as client:
        yield client
