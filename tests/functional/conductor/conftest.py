"""A cloud with a conductor and hosts that answer as a test tells them to."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.fernet import Fernet
from databases import NewDatabase
from msgspec import structs

from floe.blobs.files import FileBlobs
from floe.bus.local import LocalBus
from floe.cloud.cloud import Cloud, CloudSettings
from floe.conductor.conductor import Conductor
from floe.conductor.fleet import ConductorSettings
from floe.core.actions import CREATE, DELETE, Action
from floe.core.clock import FixedClock
from floe.core.guests import GuestState, PowerState
from floe.core.ids import random_id
from floe.core.messages import (
    ApplyNetwork,
    ChangeNics,
    ChangePower,
    Command,
    Destroy,
    Destroyed,
    Done,
    Failed,
    Guests,
    HostDown,
    HostUp,
    ListGuests,
    NetworkApplied,
    NicsChanged,
    PowerChanged,
    Result,
    Spawn,
    SpawnAll,
    SpawnAnswer,
    Spawned,
    SpawnedAll,
)
from floe.core.power import Power
from floe.core.resources import Inventory
from floe.core.server_rebuild import Rebuild
from floe.core.server_resize import Resize
from floe.core.servers import BUILDING, SCHEDULING, Server, ServerFlavor
from floe.core.snapshot_commands import SnapshotTaken, TakeSnapshot
from floe.core.step_times import StepTime
from floe.store import actions, servers
from floe.store.engine import Connection, Transactions
from floe.store.schema import create_all

DOING = {
    Power.RUNNING: PowerState.RUNNING,
    Power.STOPPED: PowerState.SHUTDOWN,
    Power.PAUSED: PowerState.PAUSED,
    Power.SUSPENDED: PowerState.SUSPENDED,
}


@dataclass
class ScriptedHost:
    """A host in memory: guests, the commands it got, and what it shall answer instead of success."""

    name: str
    memory_mib: int = 4096
    guests: dict[str, PowerState] = field(default_factory=dict)
    commands: list[Command] = field(default_factory=list)
    messages: list[int] = field(default_factory=list)
    """How many spawns came in each message that asked for several."""
    late: dict[str, asyncio.Future[Result]] = field(default_factory=dict)
    script: deque[Failed | asyncio.Event] = field(default_factory=deque)
    destroy_script: deque[Failed] = field(default_factory=deque)
    power_script: deque[Failed | asyncio.Event] = field(default_factory=deque)
    refused: set[str] = field(default_factory=set)
    told: dict[str, str] = field(default_factory=dict)
    nics: dict[str, set[str]] = field(default_factory=dict)
    """The ports whose NICs guests were given later."""
    files: tuple[str, ...] = ()
    """Servers of which it has files alone."""
    sends: Callable[[str, str], Awaitable[None]] | None = None
    """Is told of each action whose image it sends, and the disk that it is of."""

    async def handle(self, command: Command) -> Result:
        if isinstance(command, SpawnAll):
            self.messages.append(len(command.spawns))
            return SpawnedAll(answers=tuple(await asyncio.gather(*map(self._answer, command.spawns))))
        if isinstance(command, Spawn) and command.guest.server_id in self.late:
            return await self.late[command.guest.server_id]
        self.commands.append(command)
        if isinstance(command, Spawn):
            return await self._spawn(command)
        if isinstance(command, Destroy):
            if self.destroy_script:
                return self.destroy_script.popleft()
            if command.final:
                self.refused.add(command.server_id)
            self.guests.pop(command.server_id, None)
            return Destroyed(steps=(StepTime(name="guest", started=1.0, seconds=0.5, remark="removed"),))
        if isinstance(command, ChangePower | Rebuild | Resize):
            if self.power_script:
                said = self.power_script.popleft()
                if isinstance(said, Failed):
                    return said
                await said.wait()
            if command.server_id not in self.guests:
                return Failed(kind="not_found", message="The guest is not on this host.")
            self.guests[command.server_id] = DOING[command.wanted.power]
            return PowerChanged(power_state=self.guests[command.server_id])
        if isinstance(command, ChangeNics):
            if command.server_id not in self.guests:
                return Failed(kind="not_found", message="The guest is not on this host.")
            held = self.nics.setdefault(command.server_id, set())
            held.update(command.attach)
            held.difference_update(command.detach)
            return NicsChanged()
        if isinstance(command, TakeSnapshot):
            if command.server_id not in self.guests:
                return Failed(kind="not_found", message="The guest is not on this host.")
            if self.sends is not None:
                await self.sends(command.action_id, command.role)
            return SnapshotTaken(size=1)
        if isinstance(command, ListGuests):
            return Guests(guests=self.found(), files=self.files)
        if isinstance(command, ApplyNetwork):
            return NetworkApplied(generation=command.network.generation)
        return Done()

    async def _answer(self, spawn: Spawn) -> SpawnAnswer:
        work = asyncio.ensure_future(self.handle(spawn))
        await asyncio.wait((work,), timeout=0.01)
        if not work.done():
            self.late[spawn.guest.server_id] = work
            return SpawnAnswer()
        result = work.result()
        return SpawnAnswer(failed=result) if isinstance(result, Failed) else SpawnAnswer(spawned=result)

    async def _spawn(self, command: Spawn) -> Result:
        if self.script:
            told = self.script.popleft()
            if isinstance(told, Failed):
                return told
            await told.wait()
        if command.guest.server_id in self.refused:
            return Failed(kind="host_failure", message="It was deleted.", stage="guest")
        self.guests[command.guest.server_id] = PowerState.RUNNING
        steps = (StepTime(name="image", started=2.0, seconds=0.25, remark="cached"),)
        return Spawned(power_state=PowerState.RUNNING, steps=steps)

    def found(self) -> tuple[GuestState, ...]:
        return tuple(GuestState(server_id=ident, power_state=state) for ident, state in self.guests.items())

    def up(self, zone: str = "nova") -> HostUp:
        return HostUp(
            host=self.name,
            hypervisor_type="fake",
            hypervisor_version=1,
            inventories=(
                Inventory(resource_class="VCPU", total=8),
                Inventory(resource_class="MEMORY_MB", total=self.memory_mib),
                Inventory(resource_class="DISK_GB", total=100),
            ),
            traits=("HW_ARCH_X86_64",),
            cpu_info={"arch": "x86_64"},
            availability_zone=zone,
            guests=self.found(),
            files=self.files,
            told=self.told,
        )

    def sent(self, kind: type) -> list[Any]:
        return [command for command in self.commands if isinstance(command, kind)]


@dataclass
class Site:
    """The cloud under test, and what a test does to it."""

    cloud: Cloud
    conductor: Conductor
    hosts: dict[str, ScriptedHost] = field(default_factory=dict)
    woken: list[Callable[[str], None]] = field(default_factory=list)

    async def add_host(self, name: str, **values: Any) -> ScriptedHost:
        host = ScriptedHost(name, **values)
        self.hosts[name] = host
        await self.cloud.bus.serve(name, host.handle)
        await self.announce(host)
        return host

    async def announce(self, host: ScriptedHost) -> None:
        await self.cloud.bus.publish(host.up())
        await until(lambda: self.conductor.fleet.alive(host.name))
        await self.conductor.idle()

    async def take_down(self, host: ScriptedHost) -> None:
        await self.cloud.bus.withdraw(host.name)
        await self.cloud.bus.publish(HostDown(host=host.name))
        await until(lambda: not self.conductor.fleet.alive(host.name))

    async def bring_up(self, host: ScriptedHost) -> None:
        await self.cloud.bus.serve(host.name, host.handle)
        await self.announce(host)

    async def post(self, *, memory_mib: int = 1024, nudge: bool = True, **values: Any) -> Server:
        """Do what the API does: a row and an action in one transaction, then the nudge."""
        server = new_server(self.cloud, memory_mib, **values)
        action = replace(new_action(self.cloud, server.id, "create", IMAGE), project_id=server.project_id)

        def write(conn: Connection) -> Server:
            made = servers.add(conn, server)
            actions.add(conn, action)
            return made

        made = await self.cloud.db.write(write)
        if nudge:
            await self.cloud.hand_over(action)
        return made

    async def post_together(self, least: int, most: int, *, nudge: bool = True, **values: Any) -> list[Server]:
        """Do what the API does for several servers of one request."""
        alike = {"memory_mib": 1024, "reservation_id": self.cloud.new_id(), **values}
        planned = [new_server(self.cloud, launch_index=index, **alike) for index in range(most)]
        given = {**IMAGE, "least": least, "together": most}
        waiting = [new_action(self.cloud, server.id, "create", given) for server in planned]

        def write(conn: Connection) -> list[Server]:
            made = [servers.add(conn, server) for server in planned]
            for action in waiting:
                actions.add(conn, action)
            return made

        made = await self.cloud.db.write(write)
        for action in waiting if nudge else ():
            await self.cloud.hand_over(action)
        return made

    async def delete(self, server: Server, *, nudge: bool = True) -> None:
        action = new_action(self.cloud, server.id, "delete", {})

        def write(conn: Connection) -> None:
            actions.cancel_open(conn, server.id, self.cloud.clock.now(), but="delete")
            servers.change(conn, server.id, task_state="deleting")
            actions.add(conn, action)

        await self.cloud.db.write(write)
        if nudge:
            await self.cloud.hand_over(action)

    def server(self, ident: str) -> Server:
        found = self.cloud.db.read_now(lambda conn: servers.get(conn, ident, deleted=True))
        assert found is not None
        return found

    def actions(self, ident: str) -> list[Action]:
        """Return a server's actions, the latest first; the create is the first of all, also while the clock stands."""
        found = self.cloud.db.read_now(lambda conn: actions.of_server(conn, ident))
        return sorted(found, key=lambda action: action.kind == CREATE.kind)

    async def settle(self) -> None:
        await idle(self.conductor)


BEGINS = {begins.kind: begins for begins in (CREATE, DELETE)}
IMAGE = {
    "admin_password": "secret",
    "files": [],
    "image": {
        "image_id": "i" * 32,
        "checksum": "0" * 128,
        "size": 1,
        "disk_format": "raw",
        "virtual_size": 1,
        "properties": {},
    },
    "kernel": None,
    "ramdisk": None,
}


def new_server(cloud: Cloud, memory_mib: int, **values: Any) -> Server:
    server = Server(
        id=cloud.new_id(),
        number=0,
        project_id="p" * 32,
        user_id="u" * 32,
        name="web",
        hostname="web",
        vm_state=BUILDING,
        task_state=SCHEDULING,
        reservation_id="r-1",
        flavor=ServerFlavor(flavor_id="1", name="m1", vcpus=1, memory_mib=memory_mib, root_gib=1),
        created_at=cloud.clock.now(),
    )
    return structs.replace(server, **values)


def new_action(cloud: Cloud, server_id: str, kind: str, given: dict[str, Any]) -> Action:
    return Action(
        id=cloud.new_id(),
        kind=kind,
        version=BEGINS[kind].version,
        subject_id=server_id,
        project_id="p" * 32,
        user_id="u" * 32,
        request_id=f"req-{cloud.new_id()}",
        input=given,
        created_at=cloud.clock.now(),
    )


async def until(condition: Callable[[], bool], rounds: int = 2000) -> None:
    """Wait for a condition, as long as the event loop needs to get there."""
    for _ in range(rounds):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to pass")


async def idle(conductor: Conductor) -> None:
    """Wait until a conductor has taken all that was published, and has nothing in hand."""
    await conductor._cloud.bus.idle()  # type: ignore[attr-defined]
    await conductor.idle()


SETTINGS = ConductorSettings(
    start_grace=0.0, renew=3600.0, sweep=3600.0, gather=0.0, write_seen=3600.0, slow_sweep=3600.0, trace_after=0.0
)


def make_cloud(path: Path, new_database: NewDatabase) -> Cloud:
    clock = FixedClock()
    db = new_database(path / "floe.db", clock)
    db.open()
    return Cloud(
        db=db,
        bus=LocalBus(),
        blobs=FileBlobs(path / "blobs"),
        clock=clock,
        new_id=random_id,
        settings=CloudSettings(),
        token_keys=[Fernet.generate_key()].copy,
    )


@pytest.fixture
async def cloud(
    tmp_path: Path,
    new_database: NewDatabase,
    repeating: Callable[[Transactions], Transactions],
) -> AsyncIterator[Cloud]:
    """Give a cloud on an empty database."""
    made = make_cloud(tmp_path, new_database)
    await made.db.write(create_all)
    yield structs.replace(made, db=repeating(made.db))
    await made.bus.close()
    made.db.close()


@pytest.fixture
async def impatient(cloud: Cloud) -> AsyncIterator[Site]:
    """Give a cloud whose conductor looks at what waits many times a second."""
    conductor = Conductor(cloud, settings=structs.replace(SETTINGS, sweep=0.01))
    await conductor.start()
    yield Site(cloud, conductor)
    await conductor.stop()


@pytest.fixture
async def site(cloud: Cloud) -> AsyncIterator[Site]:
    """Give a cloud whose conductor runs."""
    conductor = Conductor(cloud, settings=SETTINGS)
    await conductor.start()
    yield Site(cloud, conductor)
    await conductor.stop()


@pytest.fixture
def kit() -> SimpleNamespace:
    """Give what a test needs that makes clouds and conductors of its own."""
    return SimpleNamespace(Site=Site, make_cloud=make_cloud)
