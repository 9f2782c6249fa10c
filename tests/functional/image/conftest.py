"""A cloud on a fresh SQLite file behind the whole ASGI application; tokens are names of the callers below."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet
from msgspec import structs
from msgspec.structs import replace

from floe.api.app import App
from floe.api.image.surface import SURFACE
from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud.cloud import Cloud, CloudSettings
from floe.conductor.image_actions import ImageActions
from floe.core.clock import FixedClock
from floe.core.context import Context
from floe.core.errors import Unauthenticated
from floe.core.ids import random_id
from floe.store.engine import Transactions
from floe.store.schema import create_all

MEMBER = frozenset({"member", "reader"})
CALLERS = {
    "ann": Context(request_id="", user_id="ann", project_id="a" * 32, roles=MEMBER),
    "bob": Context(request_id="", user_id="bob", project_id="b" * 32, roles=MEMBER),
    "eve": Context(request_id="", user_id="eve", project_id="e" * 32, roles=frozenset({"reader"})),
    "root": Context(request_id="", user_id="root", project_id="0" * 32, roles=MEMBER | {"admin"}),
    "system-admin": Context(request_id="", user_id="root", system=True, roles=MEMBER | {"admin"}),
    "domain-admin": Context(request_id="", user_id="root", domain_id="default", roles=MEMBER | {"admin"}),
    "unscoped": Context(request_id="", user_id="ann"),
}


async def by_name(_cloud: Cloud, token: str, request_id: str) -> Context:
    """Authenticate by the table above."""
    if token not in CALLERS:
        raise Unauthenticated("no such caller")
    return structs.replace(CALLERS[token], request_id=request_id)


@pytest.fixture
async def image_cloud(
    tmp_path: Path, new_database: Callable[[Path], Transactions], repeating: Callable[[Transactions], Transactions]
) -> AsyncIterator[Cloud]:
    """Give a cloud that takes images of up to 8 MiB, with disks of up to 1 TiB."""
    plain = new_database(tmp_path / "floe.db")
    plain.open()
    await plain.write(create_all)
    db = repeating(plain)
    bus = LocalBus()
    cloud = Cloud(
        db=db,
        bus=bus,
        blobs=FileBlobs(tmp_path / "blobs"),
        clock=FixedClock(),
        new_id=random_id,
        settings=CloudSettings(max_image_bytes=8 << 20, max_virtual_bytes=1 << 40),
        token_keys=[Fernet.generate_key()].copy,
    )
    yield replace(cloud, image_actions=ImageActions(cloud).own)
    await bus.close()
    db.close()


@pytest.fixture
def app(image_cloud: Cloud) -> App:
    """Give the application, with only the image surface."""
    return App(image_cloud, surfaces=[SURFACE], authenticate=by_name)


As = Callable[[str], httpx.AsyncClient]


@pytest.fixture
async def client(app: App) -> AsyncIterator[As]:
    """Give a maker of HTTP clients for each caller, at the surface's root."""
    made: list[httpx.AsyncClient] = []

    def make(name: str) -> httpx.AsyncClient:
        headers = {"x-auth-token": name} if name else {}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        made.append(httpx.AsyncClient(transport=transport, base_url="http://cloud:8774/image", headers=headers))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()
