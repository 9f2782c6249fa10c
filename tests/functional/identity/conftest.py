"""A cloud on a fresh file, bootstrapped, and clients of its identity surface."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography.fernet import Fernet

from floe.api.app import App
from floe.api.identity.surface import SURFACE
from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud.bootstrap import Bootstrapped, bootstrap
from floe.cloud.cloud import Cloud, CloudSettings
from floe.core.clock import FixedClock
from floe.store import schema
from floe.store.engine import Transactions


@dataclass
class Place:
    """The cloud, what its first start made, and a client without a token."""

    cloud: Cloud
    clock: FixedClock
    made: Bootstrapped
    http: httpx.AsyncClient
    keys: list[bytes] = field(default_factory=list)
    admin_token: str = ""
    """One that a test keeps over its examples."""

    async def login(
        self, user: str = "admin", password: str | None = None, scope: object = None, **more: Any
    ) -> httpx.Response:
        """Ask for a token by password; by default scoped to the project of the user's name."""
        if scope is None:
            scope = {"project": {"name": user, "domain": {"id": "default"}}}
        who = {"name": user, "domain": {"id": "default"}, "password": password or f"{user}-secret"}
        body = {"auth": {"identity": {"methods": ["password"], "password": {"user": who}}, "scope": scope}}
        if scope == "default":
            del body["auth"]["scope"]
        return await self.http.post("/identity/v3/auth/tokens", json=body, **more)

    async def token(self, user: str = "admin", password: str | None = None, scope: object = None) -> str:
        """Return a token's text."""
        reply = await self.login(user, password, scope)
        assert reply.status_code == 201, reply.text
        return reply.headers["x-subject-token"]

    async def call(self, token: str, method: str, path: str, body: object = None, **headers: str) -> httpx.Response:
        """Call the identity surface."""
        return await self.http.request(
            method, f"/identity/v3{path}", json=body, headers={"x-auth-token": token, **headers}
        )

    async def make(self, token: str, noun: str, **fields: Any) -> dict[str, Any]:
        """Make something and return it."""
        reply = await self.call(token, "POST", f"/{noun}s", {noun: fields})
        assert reply.status_code == 201, reply.text
        return reply.json()[noun]


def _ids() -> Callable[[], str]:
    numbers = itertools.count(1)
    return lambda: f"00000000-0000-4000-8000-{next(numbers):012x}"


@pytest.fixture
async def place(
    tmp_path: Path, new_database: Callable[[Path], Transactions], repeating: Callable[[Transactions], Transactions]
) -> AsyncIterator[Place]:
    plain = new_database(tmp_path / "floe.db")
    plain.open()
    await plain.write(schema.create_all)
    db = repeating(plain)
    clock, keys = FixedClock(), [Fernet.generate_key()]
    cloud = Cloud(
        db=db,
        bus=LocalBus(),
        blobs=FileBlobs(tmp_path / "blobs"),
        clock=clock,
        new_id=_ids(),
        settings=CloudSettings(public_url="http://cloud.test:8774"),
        token_keys=lambda: keys,
    )
    words = iter(("admin-secret", "demo-secret"))
    made = await bootstrap(cloud, lambda: next(words))
    transport = httpx.ASGITransport(app=App(cloud, surfaces=(SURFACE,)))
    async with httpx.AsyncClient(transport=transport, base_url="http://cloud.test:8774") as http:
        yield Place(cloud, clock, made, http, keys)
    db.close()
