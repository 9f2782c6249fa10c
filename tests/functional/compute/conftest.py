"""A cloud with flavors, an image and a network, behind the compute surface; tokens are names of the callers below.

There is no conductor: what is made stays as the API left it.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
from cryptography.fernet import Fernet
from msgspec.structs import replace

from floe.api.app import App
from floe.api.compute.surface import SURFACE
from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud import flavors, networks, subnets
from floe.cloud.cloud import Cloud, CloudSettings
from floe.core.clock import FixedClock
from floe.core.context import Context
from floe.core.errors import Unauthenticated
from floe.core.images import ACTIVE, PRIVATE, PUBLIC, QUEUED, Image
from floe.core.messages import ActionWaits, ForOne, NetworkChanged
from floe.store import images
from floe.store.engine import Transactions
from floe.store.schema import create_all

MEMBER = frozenset({"member", "reader"})
CALLERS = {
    "ann": Context(request_id="", user_id="ann", project_id="a" * 32, roles=MEMBER),
    "bob": Context(request_id="", user_id="bob", project_id="b" * 32, roles=MEMBER),
    "eve": Context(request_id="", user_id="eve", project_id="e" * 32, roles=frozenset({"reader"})),
    "root": Context(request_id="", user_id="root", project_id="f" * 32, roles=MEMBER | {"admin"}),
    "unscoped": Context(request_id="", user_id="ann"),
    "domain": Context(request_id="", user_id="root", domain_id="default", roles=MEMBER | {"admin"}),
    "system": Context(request_id="", user_id="root", system=True, roles=MEMBER | {"admin"}),
}
IMAGE = "11111111-1111-4111-8111-111111111111"
QUEUED_IMAGE = "22222222-2222-4222-8222-222222222222"
LARGE_IMAGE = "33333333-3333-4333-8333-333333333333"
HUNGRY_IMAGE = "44444444-4444-4444-8444-444444444444"
BOBS_IMAGE = "55555555-5555-4555-8555-555555555555"
DEMANDING_IMAGE = "66666666-6666-4666-8666-666666666666"


async def by_name(_cloud: Cloud, token: str, request_id: str) -> Context:
    """Authenticate by the table above."""
    if token not in CALLERS:
        raise Unauthenticated("no such caller")
    return replace(CALLERS[token], request_id=request_id)


def image(ident: str, **values: object) -> Image:
    """Return an active public image of 20 MiB, but for what is said otherwise."""
    now = FixedClock().now()
    known: dict[str, object] = {
        "id": ident,
        "name": "tiny",
        "owner": "f" * 32,
        "visibility": PUBLIC,
        "status": ACTIVE,
        "disk_format": "qcow2",
        "container_format": "bare",
        "size": 20 << 20,
        "virtual_size": 100 << 20,
        "checksum": "0" * 32,
        "sha512": "0" * 128,
        "created_at": now,
        "updated_at": now,
    }
    return Image(**{**known, **values})  # type: ignore[arg-type]


def _ids() -> Callable[[], str]:
    """Give ids one after the other: the addresses of ports follow from theirs."""
    numbers = itertools.count(1)
    return lambda: f"00000000-0000-4000-8000-{next(numbers):012x}"


async def _note(nudges: list[str], event: ForOne) -> None:
    assert isinstance(event, ActionWaits | NetworkChanged)
    if isinstance(event, ActionWaits):
        nudges.append(event.action_id)


@pytest.fixture
def nudges() -> list[str]:
    """Give the ids of the actions that the conductor was told of."""
    return []


@pytest.fixture
async def compute_cloud(
    tmp_path: Path,
    new_database: Callable[[Path], Transactions],
    repeating: Callable[[Transactions], Transactions],
    nudges: list[str],
) -> AsyncIterator[Cloud]:
    """Give a cloud with the built-in flavors and some images."""
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
        new_id=_ids(),
        settings=CloudSettings(),
        token_keys=[Fernet.generate_key()].copy,
    )
    await bus.share(lambda event: _note(nudges, event))
    await flavors.bootstrap(cloud)
    for each in (
        image(IMAGE),
        image(QUEUED_IMAGE, status=QUEUED, size=None, virtual_size=None, sha512=None, checksum=None),
        image(LARGE_IMAGE, virtual_size=3 << 30),
        image(HUNGRY_IMAGE, min_ram=1024),
        image(DEMANDING_IMAGE, min_disk=10),
        image(BOBS_IMAGE, visibility=PRIVATE, owner="b" * 32),
    ):
        await db.write(lambda conn, each=each: images.insert(conn, each))
    yield cloud
    await bus.close()
    db.close()


@pytest.fixture
async def network_id(compute_cloud: Cloud) -> str:
    """Give Ann a network with a subnet and return its id."""
    return await make_network(compute_cloud, "private", "10.0.0.0/24")


async def make_network(cloud: Cloud, name: str, cidr: str) -> str:
    """Make a network of Ann's with one subnet."""
    (network,) = await networks.create(cloud, CALLERS["ann"], [{"name": name}])
    await subnets.create(cloud, CALLERS["ann"], [{"network_id": network.id, "cidr": cidr}])
    return network.id


As = Callable[..., httpx.AsyncClient]


@pytest.fixture
async def client(compute_cloud: Cloud) -> AsyncIterator[As]:
    """Give a maker of HTTP clients for a caller and a microversion, at `/compute/v2.1`."""
    app = App(compute_cloud, surfaces=[SURFACE], authenticate=by_name)
    made: list[httpx.AsyncClient] = []

    def make(name: str, version: str = "2.96") -> httpx.AsyncClient:
        headers = {"openstack-api-version": f"compute {version}"}
        if name:
            headers["x-auth-token"] = name
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        made.append(httpx.AsyncClient(transport=transport, base_url="http://cloud:8774/compute/v2.1", headers=headers))
        return made[-1]

    yield make
    for each in made:
        await each.aclose()
