"""A cloud on a fresh SQLite file behind the network surface; tokens are names of the callers below."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

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
from floe.core.errors import Unauthenticated
from floe.core.messages import ForOne, NetworkChanged
from floe.store.engine import Transactions
from floe.store.schema import create_all

MEMBER = frozenset({"member", "reader"})
CALLERS = {
    "ann": Context(request_id="", user_id="ann", project_id="a" * 32, roles=MEMBER),
    "bob": Context(request_id="", user_id="bob", project_id="b" * 32, roles=MEMBER),
    "max": Context(request_id="", user_id="max", project_id="a" * 32, roles=MEMBER | {"manager"}),
    "eve": Context(request_id="", user_id="eve", project_id="a" * 32, roles=frozenset({"reader"})),
    "root": Context(request_id="", user_id="root", project_id="0" * 32, roles=MEMBER | {"admin"}),
    # Tokens that are of no project, or of one in which they may not even look.
    "unscoped": Context(request_id="", user_id="ann"),
    "domain": Context(request_id="", user_id="root", domain_id="d" * 32, roles=MEMBER | {"admin"}),
    "system": Context(request_id="", user_id="root", system=True, roles=MEMBER | {"admin"}),
    "stranger": Context(request_id="", user_id="sid", project_id="a" * 32, roles=frozenset({"cook"})),
}


async def by_name(_cloud: Cloud, token: str, request_id: str) -> Context:
    """Authenticate by the table above."""
    if token not in CALLERS:
        raise Unauthenticated("no such caller")
    return replace(CALLERS[token], request_id=request_id)


def _ids() -> Callable[[], str]:
    """Give ids one after the other: the addresses of ports follow from theirs."""
    numbers = itertools.count(1)
    return lambda: f"00000000-0000-4000-8000-{next(numbers):012x}"


@pytest.fixture
def callers() -> dict[str, Context]:
    """Give the callers by name."""
    return CALLERS


async def _note(nudges: list[str], event: ForOne) -> None:
    assert event == NetworkChanged()
    nudges.append("network")


@pytest.fixture
def nudges() -> list[str]:
    """Collect the nudges for host networks."""
    return []


@pytest.fixture
async def cloud(
    tmp_path: Path,
    new_database: Callable[[Path], Transactions],
    repeating: Callable[[Transactions], Transactions],
    nudges: list[str],
) -> AsyncIterator[Cloud]:
    """Give a cloud without any host."""
    plain = new_database(tmp_path / "floe.db")
    plain.open()
    await plain.write(create_all)
    db = repeating(plain)
    bus = LocalBus()
    await bus.share(lambda event: _note(nudges, event))
    yield Cloud(
        db=db,
        bus=bus,
        blobs=FileBlobs(tmp_path / "blobs"),
        clock=FixedClock(),
        new_id=_ids(),
        settings=CloudSettings(),
        token_keys=[Fernet.generate_key()].copy,
    )
    await bus.close()
    db.close()


As = Callable[[str], httpx.AsyncClient]


@pytest.fixture
async def client(cloud: Cloud) -> AsyncIterator[As]:
    """Give a maker of HTTP clients for each caller, at the surface's root."""
    app = App(cloud, surfaces=[SURFACE], authenticate=by_name)
    made: list[httpx.AsyncClient] = []

    def make(name: str) -> httpx.AsyncClient:
        headers = {"x-auth-token": name} if name else {}
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        made.append(httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1:8774/network", headers=headers))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()


Make = Callable[..., Awaitable[dict[str, Any]]]


@pytest.fixture
def make(client: As) -> Make:
    """Give a maker of things: whose, of which kind, and with which attributes."""

    async def made(caller: str, kind: str, **fields: Any) -> dict[str, Any]:
        if kind == "subnet":
            fields = {"ip_version": 4, **fields}
        reply = await client(caller).post(f"/v2.0/{kind.replace('_', '-')}s", json={kind: fields})
        assert reply.status_code == 201, reply.text
        found: dict[str, Any] = reply.json()[kind]
        return found

    return made
