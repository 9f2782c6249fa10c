"""A cloud that can be killed at any point: conductor, agents, SQLite and files are real, and so are its networks."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import shutil
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography.fernet import Fernet
from databases import PostgresDatabases, opened
from lifelines import Watched
from msgspec import structs
from signers import DAY, NOW, signer

from floe.agent.agent import Agent
from floe.agent.threads import in_thread
from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud import (
    first_networks,
    flavors,
    host_networks,
    router_interfaces,
    routers,
    security_groups,
    server_interfaces,
    server_metadata,
    server_power,
    server_rebuild,
    server_rescue,
    server_resize,
    servers,
    snapshots,
    unmade_images,
)
from floe.cloud.audit import HostView, check_host, check_rows
from floe.cloud.cloud import Cloud, CloudSettings
from floe.conductor.conductor import Conductor
from floe.conductor.fleet import ConductorSettings
from floe.core.clock import FixedClock
from floe.core.context import Context
from floe.core.errors import HostFailure, NotFound, Unavailable
from floe.core.guest_actions import HARD_REBOOT
from floe.core.guest_metadata import describe, fingerprint
from floe.core.guest_questions import ReadDiagnostics, SetPassword
from floe.core.ids import random_id
from floe.core.image_tickets import ImageTicket
from floe.core.images import ACTIVE, PUBLIC, Image
from floe.core.listing import Listing
from floe.core.messages import Command, ReadConsole, Result
from floe.core.new_servers import NewServer
from floe.core.nics import PlannedNic
from floe.core.server_rebuild import NewMake
from floe.core.server_resize import Asked
from floe.core.servers import Server
from floe.dataplane.fake import FakePlane
from floe.hypervisors.fake import FakeHost, FakeHypervisor
from floe.store import actions, audit, images
from floe.store import actions as action_rows
from floe.store import images as image_rows
from floe.store import ports as port_rows
from floe.store import security_groups as group_rows
from floe.store import servers as server_rows
from floe.store import subnets as subnet_rows
from floe.store.engine import Connection, Transactions
from floe.store.schema import create_all

PROJECT, _KEY = "a" * 32, Fernet.generate_key()
ANN = Context(request_id="r", user_id="ann", project_id=PROJECT, roles=frozenset({"member", "reader"}))
IMAGE, DATA = "11111111-1111-4111-8111-111111111111", b"an image that nobody boots" * 50
SIGNER = signer(last=NOW + 10_000 * DAY)
HOSTS = ("h1", "h2")
SETTINGS = ConductorSettings(
    start_grace=60.0, renew=0.02, sweep=0.02, gather=0.02, write_seen=3600.0, slow_sweep=3600.0, trace_after=3600.0
)

_COMMAND: ContextVar[str] = ContextVar("command", default="")


class Lifeline:
    """Counts the points that a process passes, and kills it at the n-th: from there on nothing of it goes on.

    What is under way stays hanging where it is, as a killed process leaves it: no `finally` runs until all is over.
    """

    def __init__(self) -> None:
        self.points, self.dies_at, self.dead = 0, -1, asyncio.Event()
        self.over = asyncio.Event()
        self.passed: list[tuple[str, str]] = []
        """Command and point, in order."""
        self.hanging: set[asyncio.Task[Any]] = set()

    async def point(self, name: str) -> None:
        if self.dies_at >= 0 and not self.dead.is_set():
            self.points += 1
            self.passed.append((_COMMAND.get(), name))
            if self.points == self.dies_at:
                self.dead.set()
        if self.dead.is_set():
            await self.over.wait()
            raise asyncio.CancelledError

    def watch(self, inner: Any, names: tuple[str, ...]) -> Any:
        return Watched(inner, self.point, *names)

    async def offload(self, fn: Callable[..., Any], *args: Any) -> Any:
        name = getattr(fn, "__name__", "update")
        await self.point(f"before {name}")
        result = await in_thread(fn, *args)
        await self.point(f"after {name}")
        return result

    def handler(self, handle: Callable[[Command], Awaitable[Result]]) -> Callable[[Command], Awaitable[Result]]:
        async def handled(command: Command) -> Result:
            _COMMAND.set(type(command).__name__)
            await self.point("before")
            result = await handle(command)
            await self.point("after")
            return result

        async def until_death(command: Command) -> Result:
            work = self.hang(handled(command))
            dead = asyncio.ensure_future(self.dead.wait())
            try:
                await asyncio.wait({work, dead}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                dead.cancel()
            if self.dead.is_set():
                raise asyncio.CancelledError
            return work.result()

        return until_death

    def hang(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        task = asyncio.ensure_future(work)
        self.hanging.add(task)
        return task

    async def bury(self) -> None:
        self.dead.set()
        self.over.set()
        await asyncio.sleep(0)
        for task in self.hanging:
            task.cancel()
        await asyncio.gather(*self.hanging, return_exceptions=True)


class _WatchedBus:
    def __init__(self, bus: LocalBus, life: Lifeline) -> None:
        self._bus, self._life = bus, life

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    async def serve(self, host: str, handler: Any, **more: Any) -> None:
        await self._bus.serve(host, self._life.handler(handler), **more)


WATCHED = (
    *("adopt_image", "create_overlay", "clone_disk", "start", "shut_down", "end", "destroy"),
    *("attach_nic", "detach_nic", "set_password"),
    *("copy_disk", "end_copy"),
)
"""What of a hypervisor a host may die before, in and after."""


class Shelf:
    """Where hosts send images: it has the rows say that their bytes are there, and keeps none."""

    def __init__(self, db: Transactions) -> None:
        self._db = db

    async def send(self, ticket: ImageTicket, file: Path, size: int, told: Callable[[int], None]) -> None:
        def work(conn: Connection) -> None:
            action = action_rows.get(conn, ticket.blob)
            assert action is not None
            image_rows.change(conn, unmade_images.given(action).image_id, {"status": ACTIVE, "size": 0})

        assert file.stat().st_size == size  # one stat
        await self._db.write(work)


@dataclass
class Town:
    """Two hosts and a database, which outlive the processes that run on them."""

    folder: Path
    db: Transactions
    bus: LocalBus = field(default_factory=LocalBus)
    clock: FixedClock = field(default_factory=FixedClock)
    machines: dict[str, FakeHost] = field(default_factory=lambda: {name: FakeHost() for name in HOSTS})
    planes: dict[str, FakePlane] = field(default_factory=lambda: {name: FakePlane() for name in HOSTS})
    lives: list[Lifeline] = field(default_factory=list)
    agents: dict[str, Agent] = field(default_factory=dict)
    buried: list[Agent] = field(default_factory=list)
    cloud: Cloud = None  # type: ignore[assignment]  # `boot` makes it
    conductor: Conductor = None  # type: ignore[assignment]

    async def boot(self, life: Lifeline | None = None) -> None:
        """Start the conductor and both agents, as one process does."""
        self.bus = LocalBus()
        self.cloud = Cloud(
            db=self.db,
            bus=self.bus,
            blobs=FileBlobs(self.folder / "blobs"),
            clock=self.clock,
            new_id=random_id,
            settings=CloudSettings(image_certificates=self.folder / "certificates"),
            token_keys=[_KEY].copy,
        )
        SIGNER.keep(self.folder / "certificates")
        self.conductor = Conductor(self.cloud, settings=SETTINGS, place="here")
        await self.conductor.start()
        for name in HOSTS:
            await self.start_agent(name, life if name == "h1" else None)

    async def start_agent(self, name: str, life: Lifeline | None = None) -> None:
        """Start the agent of a host, watched by a lifeline if there is one."""
        bus: Any = self.bus
        hypervisor: Any = FakeHypervisor(self.machines[name])
        plane: Any = self.planes[name]
        offload: Any = in_thread
        store: Any = Shelf(self.db)
        if life is not None:
            self.lives.append(life)
            bus, offload = _WatchedBus(self.bus, life), life.offload
            hypervisor = life.watch(hypervisor, WATCHED)
            plane = life.watch(plane, ("apply",))
            store = life.watch(store, ("send",))
        if name in self.agents:
            self.buried.append(self.agents[name])
        agent = self.agents[name] = Agent(
            name,
            bus=bus,
            hypervisor=hypervisor,
            plane=plane,
            images=self.cloud.blobs,
            store=store,
            state_dir=self.folder / name,
            clock=self.clock,
            heartbeat=3600.0,
            sweep=3600.0,
            offload=offload,
        )
        await agent.start()
        fleet = self.conductor.fleet
        await until(lambda: fleet.alive(name) and not fleet.awaited(name))

    async def lose_agent(self, name: str) -> None:
        """End an agent's loops; what it had in hand hangs for ever already."""
        for task in self.agents[name]._loops:
            task.cancel()
        await self.bus.withdraw(name)
        while any(thread.name.startswith("floe-alone") for thread in threading.enumerate()):
            await asyncio.sleep(0.001)  # a dead process has no thread that goes on
        for lock in (self.folder / name / "images").glob("*.lock"):
            lock.unlink()  # the locks of a dead process are free

    async def lose_process(self) -> None:
        """End conductor and agents, without a word to anybody."""
        await kill_conductor(self.conductor)
        for name in self.agents:
            await self.lose_agent(name)
        await self.bus.close()

    async def close(self) -> None:
        for life in self.lives:
            await life.bury()
        for agent in (*self.buried, *self.agents.values()):
            await agent.crash()
        if self.conductor is not None:
            await self.conductor.stop()
        await self.bus.close()
        self.db.close()

    # -- what users do --------------------------------------------------------------------------------

    async def create(self, host: str = "", **more: Any) -> Server:
        given = {"name": "a", "flavor_id": "0", "image_id": IMAGE, "networks": "auto", "config_drive": True}
        new = NewServer(**(given | more), host=host or None)
        made = await servers.create(self.cloud, structs.replace(ANN, roles=ANN.roles | {"admin"}), new)
        return made.servers[0]

    def leave_files(self, host: str, server: Server) -> None:
        """Leave what an earlier attempt to build a server may have left, before its host is asked to."""
        folder = self.folder / host / "guests" / server.id
        folder.mkdir()
        (folder / "disk.qcow2").write_text("half a disk")

    async def delete(self, server: Server) -> None:
        await servers.delete(self.cloud, ANN, server.id)

    async def open_port(self, number: int = 80) -> None:
        """Change the rules of the default group, so that hosts have to be told."""
        group = self.cloud.db.read_now(lambda conn: group_rows.default_id(conn, PROJECT))
        rule = {"group_id": group, "direction": "ingress", "ethertype": "IPv4", "protocol": "tcp"}
        await security_groups.create_rules(self.cloud, ANN, [{**rule, "port_min": number, "port_max": number}])

    async def join_router(self) -> None:
        """Join a new router to the servers' network, of which their hosts are told."""
        (subnet,) = self.cloud.db.read_now(lambda conn: subnet_rows.find(conn, PROJECT, Listing()))
        (router,) = await routers.create(self.cloud, ANN, [{}])
        await router_interfaces.add(self.cloud, ANN, router.id, {"subnet_id": subnet.id})

    async def note(self, server: Server) -> None:
        """Change a server's metadata, of which its host is told."""
        await server_metadata.merge(self.cloud, ANN, server.id, {"role": "web"})

    async def reboot(self, server: Server) -> None:
        """Ask for a hard reboot."""
        await server_power.change(self.cloud, ANN, server.id, HARD_REBOOT)

    async def rebuild(self, server: Server) -> None:
        """Ask for a rebuild."""
        await server_rebuild.rebuild(self.cloud, ANN, server.id, NewMake(image_id=IMAGE))

    async def rescue(self, server: Server) -> None:
        """Ask for a rescue."""
        await server_rescue.rescue(self.cloud, ANN, server.id)

    async def unrescue(self, server: Server) -> None:
        """Ask for the end of a rescue."""
        await server_rescue.unrescue(self.cloud, ANN, server.id)

    async def resize(self, server: Server) -> None:
        """Ask for a resize."""
        await server_resize.resize(self.cloud, ANN, server.id, Asked(flavor_id="1"))

    async def keep_or_take_back(self, server: Server, *, keep: bool) -> None:
        """Ask for the end of one."""
        await (server_resize.confirm if keep else server_resize.revert)(self.cloud, ANN, server.id)

    async def give_nic(self, server: Server) -> None:
        """Ask for one more NIC."""
        await server_interfaces.attach(self.cloud, ANN, server.id, PlannedNic())

    async def take_nic(self, server: Server) -> None:
        """Ask for the last NIC to go, unless it is the only one."""
        *others, last = self.ports(server.id)
        if others:
            await server_interfaces.detach(self.cloud, ANN, server.id, last)

    def ports(self, ident: str) -> list[str]:
        """Return the ports of a server, in the order of its NICs."""
        return [port.id for port in self.db.read_now(lambda conn: port_rows.of_server(conn, ident))]

    async def copy(self, server: Server) -> None:
        """Ask for an image of a server."""
        await snapshots.create(self.cloud, ANN, server.id, snapshots.Asked(name="copy"))

    def images(self) -> list[str]:
        """Return what became of the images of servers."""
        with_disk = image_rows.images.c.name == "copy"
        found = self.db.read_now(lambda conn: conn.execute(image_rows.images.select().where(with_disk)).all())
        return [image.status for image in found]

    async def read_console(self, server: Server) -> None:
        try:
            await self.bus.request("h1", ReadConsole(server_id=server.id), timeout=5)
        except (Unavailable, HostFailure, NotFound):
            return

    async def ask_guest(self, server: Server) -> None:
        """Ask a guest to set a password, and its hypervisor what it has used."""
        for asked in (
            SetPassword(server_id=server.id, user="root", password="p"),
            ReadDiagnostics(server_id=server.id),
        ):
            await self.ask("h1", asked)

    async def ask(self, host: str, asked: Command) -> None:
        """Ask a host something, whose answer does not matter."""
        with contextlib.suppress(Unavailable, HostFailure):
            await self.bus.request(host, asked, timeout=5)

    def server(self, ident: str) -> Server:
        found = self.db.read_now(lambda conn: server_rows.get(conn, ident, deleted=True))
        assert found is not None
        return found

    def remarks(self, ident: str) -> list[str]:
        """Return what the server's history tells of recoveries."""

        def read(conn: Connection) -> list[str]:
            found = [actions.journal(conn, action.id) for action in actions.of_server(conn, ident)]
            return [step.remark for journal in found for step in journal if step.name == "recovered"]

        return self.db.read_now(read)

    # -- what has to be -------------------------------------------------------------------------------

    async def idle(self) -> None:
        """Wait until the conductor has nothing in hand, and nothing waits for it."""
        await self.bus.idle()
        await self.conductor.idle()

    async def settled(self) -> None:
        """Wait until nothing is wrong any more; what stays wrong is the failure."""
        found: list[str] = []
        pause = 0.005
        try:
            async with asyncio.timeout(20):
                while True:
                    await self.idle()
                    # At once, so that nothing is under way: one look will do, which costs more than all else here.
                    if not (found := self.violations()):
                        return
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, 0.05)
        except TimeoutError:
            raise AssertionError(found) from None

    def violations(self) -> list[str]:
        """Compare the rows with each other and with all that the hosts have, and know."""

        def look(conn: Connection) -> list[str]:
            rows = audit.rows(conn)
            found = [str(item) for item in check_rows(rows, quiet=True)]
            for name in HOSTS:
                whole = host_networks.whole(conn, name, self.cloud.settings.dns_domain)
                found += [str(item) for item in check_host(name, rows, whole, self.view(name))]
                known = self.agents[name]._ledger
                here = {ident for ident, row in rows.servers.items() if row.host == name}
                if known is not None and set(known.guests) != here:
                    found.append(f"{name} remembers other guests than it has")
                elif known is not None:
                    for ident, told in known.told().items():
                        server = server_rows.get(conn, ident)
                        if server is not None and fingerprint(describe(server, "nova")) != told:
                            found.append(f"{name} tells the guest of {ident} what is out of date")
            return found

        return self.db.read_now(look)

    def view(self, name: str) -> HostView:
        folder = self.folder / name / "guests"
        folders = frozenset(entry.name for entry in folder.iterdir()) if folder.exists() else frozenset()
        plane: FakePlane = self.planes[name]
        return HostView(guests=dict(self.machines[name].guests), network=plane.applied, folders=folders)


async def kill_conductor(conductor: Conductor) -> None:
    """End all that a conductor does, without a word to the database."""
    runner, events = conductor.runner, conductor.events
    tasks = [*runner._tasks.values(), *runner._writers, *conductor.sweeps._tasks, *events._tasks]
    tasks += conductor.networks._tasks.values()
    runner._stopping = conductor.networks._stopping = True
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def until(condition: Callable[[], Any]) -> None:
    """Wait for a condition."""
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.001)


@pytest.fixture(scope="session")
def empty_town_url(request: pytest.FixtureRequest, kind_of_database: str) -> str:
    """The database of `empty_town`, "" where it is in its folder."""
    if kind_of_database == "sqlite":
        return ""
    postgres: PostgresDatabases = request.getfixturevalue("postgres")
    return postgres.copy_of(postgres.empty)


@pytest.fixture
def copied_url(request: pytest.FixtureRequest, empty_town_url: str) -> Iterator[Callable[[], str]]:
    """Copy the database of `empty_town`, where it is not in its folder."""
    copies: list[str] = []
    if not empty_town_url:
        yield str
        return
    postgres: PostgresDatabases = request.getfixturevalue("postgres")

    def copy() -> str:
        copies.append(postgres.copy_of(empty_town_url))
        return copies[-1]

    yield copy
    for url in copies:
        postgres.drop(url)


@pytest.fixture(scope="session")
def empty_town(tmp_path_factory: pytest.TempPathFactory, empty_town_url: str) -> Path:
    """A database with flavors, an image and a network, and the image's bytes."""
    folder = tmp_path_factory.mktemp("town") / "state"
    folder.mkdir()

    async def chunks() -> AsyncIterator[bytes]:
        yield DATA

    async def fill() -> None:
        db = opened(folder / "floe.db", empty_town_url)
        await db.write(create_all)
        cloud = Cloud(
            db=db,
            bus=LocalBus(),
            blobs=FileBlobs(folder / "blobs"),
            clock=FixedClock(),
            new_id=random_id,
            settings=CloudSettings(),
            token_keys=[_KEY].copy,
        )
        await flavors.bootstrap(cloud)
        await first_networks.bootstrap(cloud, PROJECT)
        now = cloud.clock.now()
        image = Image(
            id=IMAGE,
            name="tiny",
            owner=None,
            visibility=PUBLIC,
            status=ACTIVE,
            disk_format="raw",
            container_format="bare",
            size=len(DATA),
            virtual_size=len(DATA),
            sha512=hashlib.sha512(DATA).hexdigest(),
            properties=SIGNER.properties(DATA),
            created_at=now,
            updated_at=now,
        )
        await db.write(lambda conn: images.insert(conn, image))
        await cloud.blobs.write(IMAGE, chunks(), max_bytes=len(DATA))
        db.close()

    asyncio.run(fill())
    return folder


@pytest.fixture
def new_town(empty_town: Path, copied_url: Callable[[], str], tmp_path: Path) -> Iterator[Callable[[], Town]]:
    """Make towns, each with a state of its own."""
    numbers = iter(range(10_000))

    def make() -> Town:
        folder = tmp_path / f"town-{next(numbers)}"
        shutil.copytree(empty_town, folder)
        return Town(folder, opened(folder / "floe.db", copied_url()))

    yield make
    shutil.rmtree(tmp_path, ignore_errors=True)


@pytest.fixture
def lifeline() -> type[Lifeline]:
    """Give what kills."""
    return Lifeline
