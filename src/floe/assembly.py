"""The composition root: the only module that chooses implementations and ties them together."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from random import Random
from time import monotonic
from typing import Any, Protocol

from floe.agent.agent import GUESTS, Agent
from floe.agent.image_eviction import Keeping
from floe.agent.role import Agents
from floe.agent.threads import Threads
from floe.api.role import Api
from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud.cloud import Cloud, CloudSettings
from floe.cloud.health import OK, Ground, Health
from floe.cloud.pools import make_pools
from floe.conductor.conductor import Conductor
from floe.conductor.fleet import ConductorSettings
from floe.conductor.image_actions import ImageActions
from floe.core.counters import Counters
from floe.core.errors import Invalid
from floe.core.ids import random_id
from floe.dataplane.fake import FakePlane
from floe.dataplane.protocol import DataPlane
from floe.disk import DiskRoom
from floe.hypervisors.fake import FakeHost, FakeHypervisor, kept_host
from floe.hypervisors.protocol import Hypervisor
from floe.places import host_name, known_name, place
from floe.pools import Pool, alone
from floe.settings import ROLES, Settings
from floe.store import migrate
from floe.store.engine import Database, Transactions
from floe.store.repeated import RepeatedWrites

log = logging.getLogger(__name__)

_HOSTS_SECONDS = 10.0
"""For which a start waits for its hosts to be heard of."""

_LIBVIRT_SOCKETS = ("/run/libvirt/libvirt-sock", "/run/libvirt/virtqemud-sock")


class MachineClock:
    """The machine's own time."""

    def now(self) -> datetime:
        """Return the time of day."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """Return seconds that never go back."""
        return monotonic()


class Role(Protocol):
    """One of the things that a process may be: it starts, stops, and says of each of its parts how it is."""

    async def start(self) -> None:
        """Begin, with the database open. Raises FloeError with what is missing."""
        ...

    async def stop(self) -> None:
        """End; a role whose start failed, or never came, has nothing to do here."""
        ...

    async def parts(self) -> dict[str, str]:
        """Return the state of each part by its name: `ok`, or what is the matter."""
        ...


class Node:
    """One process: the ground (database, bus, threads), and on it the roles that the settings name, in order.

    `passwords` are those of the users `admin` and `demo` at the first start; `url` is where clients reach it.
    It is an ASGI application, which answers 503 until it has started. Make it while its state directory is held.
    A share of its writes, `repeated_writes`, runs twice; that is for trials. Raises Invalid for roles that cannot be
    served.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        passwords: Mapping[str, str],
        token_keys: Sequence[bytes],
        url: str,
        repeated_writes: float = 0.0,
    ) -> None:
        self.settings = settings
        named = _roles(settings)
        state = settings.state
        self._where: migrate.Where = settings.database or state / "floe.db"
        counters = Counters()
        pools = make_pools(counters)
        self._host_threads = Pool("hosts", 6, counters=counters)
        self._room = _room(settings, state)
        self.bus = LocalBus()
        cloud = Cloud(
            db=_repeated(_database(self._where, counters), repeated_writes),
            bus=self.bus,
            blobs=FileBlobs(state / "images", self._room, pools.blobs),
            clock=MachineClock(),
            new_id=random_id,
            settings=_cloud_settings(settings, url),
            token_keys=lambda: list(token_keys),
            counters=counters,
            pools=pools,
        )
        here = place(state)
        self.images = ImageActions(cloud, place=here)
        self.cloud = replace(cloud, image_actions=self.images.own)
        self.api = Api(
            self.cloud,
            Ground(self.cloud, self._room),
            passwords=passwords,
            healthy=self.health,
            start_images=self.images.start,
            stop_images=self.images.stop,
        )
        self.conductor = Conductor(
            self.cloud,
            settings=ConductorSettings(host_wait=settings.host_wait),
            host=known_name(state, settings.host),
            place=here,
        )
        self.hosts = Agents(state / "hosts", self._agents)
        self.fake_hosts: dict[str, FakeHost] = {}
        """The machines that fake hypervisors stand for, by host; faults can be written into them."""
        known: dict[str, Role] = {"api": self.api, "conductor": self.conductor, "agent": self.hosts}
        self._roles = [known[name] for name in named]
        self._started: list[Callable[[], Awaitable[None]]] = []
        self._state = "starting"
        """Why the process does not serve, "" while it does."""
        self._health = Health(self.cloud.clock, [self._bus_parts, *(role.parts for role in self._roles)])

    @property
    def agents(self) -> list[Agent]:
        """The agents of this process's hosts, once it has started."""
        return self.hosts.all

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one ASGI scope."""
        await self.api.app(scope, receive, send)

    async def health(self) -> dict[str, str]:
        """Return the state of each part: `ok`, or what is the matter."""
        return {"process": self._state} if self._state else await self._health.parts()

    async def start(self) -> None:
        """Bring everything up, from the ground to the roof. Raises FloeError with what is missing."""
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def stop(self) -> None:
        """Take everything down again, from the roof to the ground; guests go on running."""
        self._state = "stopping"
        while self._started:
            stop = self._started.pop()
            try:
                await stop()
            except Exception:
                log.exception("stopping %s failed", getattr(stop, "__qualname__", stop))

    async def idle(self) -> None:
        """Wait until nothing is being done any more; for trials and tests."""
        await self.bus.idle()
        await self.conductor.idle()
        await self.images.idle()

    async def _start(self) -> None:
        self._started.append(self._close_threads)
        await alone(migrate.ensure, self._where)
        self.cloud.db.open()
        self._started += [self._close_database, self.bus.close]
        for role in self._roles:
            self._started.append(role.stop)
            await role.start()
        await self._hosts_known()
        self._started.append(self._health.stop)
        self._state = ""

    async def _hosts_known(self) -> None:
        """Wait a while for the conductor to hear of every agent: a server can be placed on those alone.

        Serving begins all the same then, and `health` says how many there are.
        """
        fleet = self.conductor.fleet
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_HOSTS_SECONDS):
                for agent in self.agents:
                    while fleet.missing(agent.host):  # noqa: ASYNC110  # a few turns
                        await asyncio.sleep(0.002)
                fleet.stop_awaiting()  # hosts of an earlier start that this process does not run

    async def _bus_parts(self) -> dict[str, str]:
        return {"bus": OK}  # it is in this process

    async def _close_database(self) -> None:
        await alone(self.cloud.db.close)

    async def _close_threads(self) -> None:
        self.cloud.pools.close()
        self._host_threads.close()

    # -- hosts ----------------------------------------------------------------------------------------

    def _agents(self) -> list[Agent]:
        fake = _hypervisor(self.settings) == "fake"
        names = [f"fake-{number}" for number in range(1, self.settings.fake_hosts + 1)] if fake else []
        folder = self.settings.state / "hosts"
        return [self._agent(host, folder) for host in names or [host_name(self.settings.state, self.settings.host)]]

    def _agent(self, host: str, folder: Path) -> Agent:
        fake = _hypervisor(self.settings) == "fake"
        hypervisor, plane = self._fake_drivers(folder, host) if fake else self._real_drivers(folder, host)
        return Agent(
            host,
            bus=self.cloud.bus,
            hypervisor=hypervisor,
            plane=plane,
            images=self.cloud.blobs,
            state_dir=folder / host,
            image_dir=folder / "images",
            clock=self.cloud.clock,
            offload=Threads(self._host_threads),
            availability_zone=self.settings.availability_zone,
            keeping=Keeping(
                seconds=self.settings.image_cache_hours * 3600,
                room=self._room,
                users=lambda: folder.glob(f"*/{GUESTS}/*"),
            ),
            counters=self.cloud.counters,
        )

    def _fake_drivers(self, folder: Path, host: str) -> tuple[Hypervisor, DataPlane]:
        machine = self.fake_hosts.setdefault(host, kept_host(folder / host / "fake-guests"))
        settings = self.settings
        return FakeHypervisor(machine, delay=settings.fake_delay, cpu_ratio=settings.cpu_ratio), FakePlane()

    def _real_drivers(self, folder: Path, host: str) -> tuple[Hypervisor, DataPlane]:
        from importlib.metadata import version

        from floe.dataplane.linux.plane import LinuxPlane
        from floe.hypervisors.libvirt.driver import LibvirtHypervisor

        driver = LibvirtHypervisor(
            libvirt_uri(self.settings),
            disk_dir=folder / host / GUESTS,
            guest_uids=self.settings.guest_uids(),
            version=version("floe-cloud"),
            cpu_ratio=self.settings.cpu_ratio,
            memory_ratio=self.settings.memory_ratio,
            disk_ratio=self.settings.disk_ratio,
            reserved_memory_mib=self.settings.reserved_memory_mib,
        )
        return driver, LinuxPlane(folder / host)


def _roles(settings: Settings) -> Sequence[str]:
    """Return the names of the roles, the first to start first. Raises Invalid for those that would not find the others.

    What roles share is the database and the bus. Those there are belong to one process.
    """
    named = [name for name in ROLES if name in settings.role_names()]
    if missing := [name for name in ROLES if name not in named]:
        raise Invalid(
            f"roles is {settings.roles!r}, without {' and '.join(missing)}: roles in processes of their own need a "
            "database and a bus that several processes can share, and there are only those of one process here "
            f"(SQLite, local bus). Leave roles out, or name all: {','.join(ROLES)}."
        )
    return named


def libvirt_uri(settings: Settings) -> str:
    """Return which libvirt to speak to: the one named, else a daemon that runs, else one inside this process."""
    if settings.libvirt_uri:
        return settings.libvirt_uri
    if not settings.sandbox and any(Path(path).exists() for path in _LIBVIRT_SOCKETS):
        return "qemu:///system"
    return f"qemu:///embed?root={settings.state / 'libvirt'}"


def _hypervisor(settings: Settings) -> str:
    """Return `libvirt` or `fake`. `auto` never falls back to guests that do not exist: it says what is missing."""
    if settings.hypervisor != "auto":
        return settings.hypervisor
    missing = [] if find_spec("libvirt") else ["the libvirt bindings for Python (pip install 'floe-cloud[libvirt]')"]
    missing += [] if shutil.which("qemu-system-x86_64") else ["QEMU (apt install qemu-system-x86 qemu-utils)"]
    if missing:
        raise Invalid(
            f"No hypervisor can be used here: {' and '.join(missing)} cannot be found. `floe doctor` says more; "
            "with --hypervisor fake the whole API works, on guests that exist in memory alone."
        )
    return "libvirt"


def _database(where: migrate.Where, counters: Counters) -> Transactions:
    """Return the database, whose driver is read only where it is needed. Raises Invalid where that is missing."""
    if isinstance(where, Path):
        return Database(where, counters=counters)
    if not find_spec("psycopg"):
        raise Invalid("PostgreSQL needs its driver for Python: pip install 'floe-cloud[postgresql]'.")
    from floe.store.postgres import Postgres

    return Postgres(where, counters=counters)


def _repeated(db: Transactions, repeated_writes: float) -> Transactions:
    if not repeated_writes:
        return db
    dice = Random("repeated writes")  # noqa: S311
    return RepeatedWrites(db, share=repeated_writes, dice=dice, new_id=random_id, now=MachineClock().now)


def _room(settings: Settings, folder: Path) -> DiskRoom:
    reserve = settings.disk_reserve_mib
    return DiskRoom(folder, None if reserve < 0 else reserve * 2**20)


def _cloud_settings(settings: Settings, url: str) -> CloudSettings:
    return CloudSettings(
        region=settings.region,
        public_url=url,
        availability_zone=settings.availability_zone,
        dns_domain=settings.dns_domain,
        token_seconds=int(settings.token_hours * 3600),
        default_mtu=settings.mtu,
        max_image_bytes=settings.max_image_gib * 2**30,
        login_attempts=settings.login_attempts,
        login_delay=settings.login_delay,
        trusted_proxies=settings.proxies(),
        shutdown_timeout=settings.shutdown_timeout,
        history_days=settings.history_days,
        usage_days=settings.usage_days,
    )
