"""What every run starts from: flavors, two projects with a network and tight quotas each, two images."""

from __future__ import annotations

import base64
import hashlib
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from random import Random

from msgspec import structs

from floe.blobs.protocol import Blobs
from floe.bus.lateness import DRIFT
from floe.bus.local import LocalBus
from floe.bus.protocol import Bus
from floe.cloud import first_networks, flavors
from floe.cloud.cloud import Cloud, CloudSettings
from floe.core.clock import Clock
from floe.core.context import Context
from floe.core.images import ACTIVE, PUBLIC, Image
from floe.core.servers import ServerFlavor
from floe.simulation.database import SimulatedDatabase
from floe.simulation.drives import FAST
from floe.simulation.loop import VirtualLoop
from floe.simulation.storage import SimulatedBlobs
from floe.store import flavors as flavor_rows
from floe.store import image_usage, images, quotas
from floe.store import networks as network_rows
from floe.store.engine import Connection, Transactions
from floe.store.memory import MemoryStore

START = datetime(2030, 1, 1, tzinfo=UTC)
PROJECTS = tuple(f"{number:032x}" for number in (0xA, 0xB))
QUOTAS = (
    {"instances": 5, "cores": 6, "ram": 8192, "port": 12, "server_group_members": 3, "router": 3, "floatingip": 4},
    {"instances": 3, "cores": 20, "ram": 4096, "port": 6, "router": 2, "floatingip": 3},
)
IMAGES = tuple(str(uuid.UUID(int=number)) for number in (0x1111, 0x2222))
_SLOW = {"quota:vif_inbound_average": "1000", "quota:vif_outbound_average": "1000"}
WITH_SWAP = ServerFlavor(
    flavor_id="swap", name="m1.swap", vcpus=1, memory_mib=2048, root_gib=19, swap_mib=1, extra_specs=_SLOW
)
"""As large as m1.small, with a second disk and limits of its NICs."""


GROWN = (
    ServerFlavor(flavor_id="more", name="m1.more", vcpus=2, memory_mib=1024, root_gib=3, swap_mib=2, extra_specs=_SLOW),
    ServerFlavor(flavor_id="other", name="m1.other", vcpus=1, memory_mib=768, root_gib=2, ephemeral_gib=1),
    ServerFlavor(flavor_id="wide", name="m1.wide", vcpus=1, memory_mib=512, root_gib=22, ephemeral_gib=2, swap_mib=1),
)
"""What servers are resized to: hosts have room for each of them beside what else a server may be."""
HISTORY = 12.0
"""Seconds after which what is over is forgotten: soon enough for it to happen in every run."""
_KEY = base64.urlsafe_b64encode(bytes(32))
"""What the answers that belong to an `Idempotency-Key` are sealed with."""


class SimulatedClock:
    """The clock of one machine. Its time of day may be wrong: `offset` seconds ahead, and what is usual.

    With `dice` it is a clock of its own: within half a second of the true one as time services have it, so fast or slow
    that two may run apart by as much as hosts allow for, and counting from some moment of its own; `jump` is by how
    much it went too far, or fell behind while the machine stood still.
    """

    def __init__(self, loop: VirtualLoop, dice: Random | None = None) -> None:
        self._loop = loop
        self.offset = 0.0
        self.jump = 0.0
        self._usual = 0.0 if dice is None else dice.uniform(-0.5, 0.5)
        self._rate = 1.0 if dice is None else 1.0 + dice.uniform(-DRIFT / 2, DRIFT / 2)
        self._seconds = self._begun = 0.0 if dice is None else dice.uniform(10.0, 1e6)
        self.latest = START
        """The latest time it has told."""

    def now(self) -> datetime:
        """See `Clock.now`."""
        now = START + timedelta(seconds=self._loop.time() + self._usual + self.offset)
        self.latest = max(self.latest, now)
        return now

    def monotonic(self) -> float:
        """See `Clock.monotonic`."""
        self._seconds = max(self._seconds, self._begun + self._loop.time() * self._rate + self.jump)
        return self._seconds

    def reboot(self) -> None:
        """Count from nothing again, as a machine does that was started anew."""
        self.jump, self._seconds, self._begun = 0.0, 0.0, -self._loop.time() * self._rate

    def wait(self, seconds: float) -> float:
        """Return for how long one waits who waits so long by this clock."""
        return seconds / self._rate


@dataclass(frozen=True, slots=True)
class Site:
    """The rows all runs start from, and the images' bytes. One site serves many runs, one after the other."""

    store: MemoryStore
    blobs: dict[str, bytes]
    network_ids: tuple[str, ...]


def bytes_of(image_id: str) -> bytes:
    """Return the bytes of one of the images that there are from the start."""
    return f"the bytes of image {image_id}".encode()


def make_site(folder: Path) -> Site:
    """Make it, with `folder` for its images; this takes a second, and is done once per process."""
    store, loop = MemoryStore(), VirtualLoop()
    blobs = {image_id: bytes_of(image_id) for image_id in IMAGES}
    numbers = iter(range(0x1000, 0x2000))

    async def pause(_point: str) -> None:
        return

    async def fill() -> None:
        db = SimulatedDatabase(store, pause=pause, refusal=lambda: None, committed=lambda: None)
        images_there = SimulatedBlobs(pause, folder)
        cloud = make_cloud(
            db, LocalBus(), images_there, SimulatedClock(loop), lambda: str(uuid.UUID(int=next(numbers)))
        )
        await flavors.bootstrap(cloud)
        await db.write(_add_flavors)
        for project_id, limits in zip(PROJECTS, QUOTAS, strict=True):
            await first_networks.bootstrap(cloud, project_id)
            await db.write(lambda conn: quotas.put(conn, project_id, limits))  # noqa: B023
        await db.write(lambda conn: _add_images(conn, blobs))
        await db.write(image_usage.mend)

    loop.run_until_complete(fill())
    loop.abandon()
    store.keep()
    found = store.read(lambda conn: [network_rows.usable(conn, project, 1)[0].id for project in PROJECTS])
    return Site(store, blobs, tuple(found))


def make_cloud(
    db: Transactions,
    bus: Bus,
    blobs: Blobs,
    clock: Clock,
    new_id: Callable[[], str],
) -> Cloud:
    """Return the collaborators of one process."""
    return Cloud(
        db=db,
        bus=bus,
        blobs=blobs,
        clock=clock,
        new_id=new_id,
        settings=CloudSettings(upload_lease=8.0, history_days=HISTORY / 86_400),
        token_keys=lambda: [_KEY],
    )


def user_of(project: int, request: str) -> Context:
    """Return who asks: a member of one of the projects."""
    return Context(
        request_id=f"req-{request}",
        user_id=f"{0xC + project:032x}",
        project_id=PROJECTS[project],
        roles=frozenset({"member", "reader"}),
    )


def operator_of(project: int, request: str) -> Context:
    """Return who asks for what is an operator's to say, of a server of one of the projects."""
    return structs.replace(user_of(project, request), roles=frozenset({"admin"}))


def _add_flavors(conn: Connection) -> None:
    for flavor in (WITH_SWAP, FAST, *GROWN):
        flavor_rows.insert(conn, flavor)


def _add_images(conn: Connection, blobs: dict[str, bytes]) -> None:
    for image_id, data in blobs.items():
        images.insert(
            conn,
            Image(
                id=image_id,
                name="an image",
                status=ACTIVE,
                visibility=PUBLIC,
                owner=PROJECTS[0],
                disk_format="qcow2",
                container_format="bare",
                size=len(data),
                virtual_size=2**20,
                sha512=hashlib.sha512(data).hexdigest(),
                created_at=START,
                updated_at=START,
            ),
        )
