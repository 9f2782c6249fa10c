"""One run: processes on machines, users, faults, and in the end the question whether all promises were kept."""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import gc
import hashlib
import logging
import shutil
import uuid
from collections.abc import Callable, Mapping
from pathlib import Path
from random import Random
from typing import Any

from msgspec.structs import replace

from floe.agent.agent import Agent
from floe.agent.folders import unknown
from floe.agent.image_eviction import Keeping
from floe.bus.protocol import Bus
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.conductor.conductor import Conductor
from floe.conductor.fleet import ConductorSettings, Fleet
from floe.conductor.image_actions import ImageActions
from floe.conductor.registry import image_sagas, sagas
from floe.conductor.saga import Saga
from floe.core.errors import FloeError
from floe.simulation.bus import Weather
from floe.simulation.buses import Buses
from floe.simulation.copied import SimulatedStore
from floe.simulation.database import SimulatedDatabase
from floe.simulation.disk import Disk
from floe.simulation.faults import FAULTS
from floe.simulation.judge import Judge, Watch
from floe.simulation.leases import Leases
from floe.simulation.loop import Process, VirtualLoop, current
from floe.simulation.machines import Machine, SimulatedHypervisor, SimulatedPlane
from floe.simulation.parts import Parts
from floe.simulation.questions import Questions
from floe.simulation.removal_watch import RemovalWatch
from floe.simulation.requests import Users
from floe.simulation.roles import Role, make_role
from floe.simulation.shape import Event, Plan
from floe.simulation.site import Site, make_cloud
from floe.simulation.storage import SimulatedBlobs, Synced, close_parts
from floe.store.repeated import RepeatedWrites

log = logging.getLogger(__name__)

SETTINGS = ConductorSettings(
    lease=8.0, renew=1.0, slow_sweep=10, host_down=8.0, spawn=60.0, destroy=20.0, answer=5.0, write_seen=10, purge=4.0
)
HEARTBEAT, SWEEP, IMAGE_KEEP = 3.0, 10.0, 1.0
_UNHEARD = 0.15
"""How often what one program tells another is lost, on a sound bus too."""
PATIENCE = 45.0
"""Seconds after the last fault within which everything has to be in order, where each role is a process of its own."""
RECOVERY = 5.0
"""Seconds within which it has to be so after the start of the one process that has all roles."""
REPEATED = 0.1
"""The share of writes that run twice."""
CALM = SWEEP + 3.0
"""Seconds for which it has to stay so."""
_TAKEN_WITHIN = 3.0
"""Seconds within which an event for one is taken, when nothing is the matter."""


class World:
    """Everything there is in one run. `violations` are those found while it ran."""

    def __init__(self, plan: Plan, site: Site, folder: Path, parts: Parts, *, keep: bool = False) -> None:
        self.plan, self._parts, self._site, self._keep = plan, parts, site, keep
        self.loop = VirtualLoop()
        self.violations: list[Violation] = []
        self.story: list[str] = []
        self.settled_after = 0.0
        """Seconds from the last fault until all was in order."""
        self.dice = Random(f"{plan.seed} dice")  # noqa: S311
        self._repeats = Random(f"{plan.seed} repeats")  # noqa: S311
        self._digest = hashlib.blake2b(digest_size=8)
        self.weather = Weather()
        self.refusal: str | None = None
        self.blobs_fail = False
        """Whether the image store takes and removes nothing now."""
        self.healed = False
        self.calm_down()
        self.users = Users(site, self.note, self.accuse)
        site.store.reset()
        self._files = Synced()
        self._images = folder / "images"
        self._images.mkdir(parents=True)
        for image_id, data in site.blobs.items():
            (self._images / image_id).write_bytes(data)
        self.machines = {name: Machine(name, folder / name, self._files, self.loop.time) for name in plan.host_names}
        self.roles = {name: make_role(name, plan, self.loop) for name in plan.roles}
        self._of: dict[Process, Role] = {}
        self.judge = Judge(site.store, self.users, self.machines, self.roles, self._images, self.accuse)
        self.leases = Leases(site.store, self.accuse, time=self.loop.time, lease=SETTINGS.lease)
        self._removals = RemovalWatch(site.store, self.machines, self.accuse)
        self.questions = Questions(self.leases, self.accuse, time=self.loop.time, lease=SETTINGS.lease)
        self._buses = Buses(
            self.loop,
            self.dice,
            self.weather,
            frame=plan.frame,
            latency=self._latency,
            pause=self.pause,
            note=self.note,
            judge=self.judge,
            questions=self.questions,
            parts=parts,
        )
        self.cut, self.mend = self._buses.cut, self._buses.mend

    # -- the run --------------------------------------------------------------------------------------

    def run(self) -> list[Violation]:
        """Run it to its end, and return what was not as it must be."""
        watch, logger = Watch(self.accuse), logging.getLogger("floe")
        logger.addHandler(watch)
        gc.disable()  # when a run is over all of it goes at once
        try:
            with self._files.watching():
                self.loop.run_until_complete(self._live())
        finally:
            logger.removeHandler(watch)
            level = logger.level
            logger.setLevel(logging.CRITICAL + 1)  # what is torn down has nothing to say
            self.loop.abandon()
            logger.setLevel(level)
            close_parts(self._images)
            for folder in (self._images, *(machine.folder for machine in self.machines.values())):
                shutil.rmtree(folder, ignore_errors=True)
            gc.enable()
        return self.violations

    @property
    def digest(self) -> str:
        """What is the same for two runs that went the same way."""
        return self._digest.hexdigest()

    async def _live(self) -> None:
        for role in self.roles.values():
            self._boot(role)
        for number, event in enumerate(self.plan.events):
            self._at(event.at, self._happen, number, event)
        await asyncio.sleep(self.plan.healed)
        if not self.violations:
            self._heal()
            if self.plan.together:
                await self._start_anew()
                self.violations += await self._settle(RECOVERY, look=0.5)
            else:
                self.violations += await self._settle(PATIENCE, look=3.0)

    async def _start_anew(self) -> None:
        """Kill the one process there is, with whatever is under way, and wait until it is ready again."""
        role = self.roles["floe"]
        self.crash(role, 0.0, "it was killed for the last time")
        while not role.ready:  # noqa: ASYNC110  # virtual seconds cost nothing
            await asyncio.sleep(0.1)

    async def _settle(self, patience: float, look: float) -> list[Violation]:
        """Wait until all is in order, and see that it stays so."""
        begun = self.loop.time()
        while True:
            await asyncio.sleep(look)
            found = self._audit()
            if self.violations:
                return []
            if not found:
                settled = self.loop.time()
                self.settled_after = settled - begun
                await asyncio.sleep(CALM)
                calm = settled, self.loop.time() - _TAKEN_WITHIN
                return self._audit() + self.judge.untaken(*calm) + self._buses.lost(*calm)
            if self.loop.time() - begun >= patience:
                return found

    def _audit(self) -> list[Violation]:
        found = self.judge.audit() + self._removals.remembered(self.roles.values())
        return found + self._buses.unread()

    def note(self, *what: object) -> None:
        """Write down that something happened."""
        line = f"{self.loop.time():10.6f} {' '.join(map(str, what))}"
        self._digest.update(line.encode())
        if self._keep:
            self.story.append(line)

    def accuse(self, violation: Violation) -> None:
        """Note what must never be, and is."""
        if violation not in self.violations:
            self.note("VIOLATION", violation)
            self.violations.append(violation)

    # -- time and death -------------------------------------------------------------------------------

    async def pause(self, point: str) -> None:
        """Pass a point: some time goes by here, and the process may die here."""
        process = current()
        role = self._of.get(process) if process is not None else None
        if role is not None and role.armed:
            for death in role.armed:
                if point == death.point:
                    death.count -= 1
                    if not death.count:
                        assert process is not None
                        self.crash(role, death.down, f"at {point}")
                        await process.die()
        if point in _SLOW:
            await asyncio.sleep(self._latency())

    async def _delay(self, seconds: float) -> None:
        await asyncio.sleep(seconds * self.plan.slow * (0.2 + self.dice.random()))

    async def _sleep(self, seconds: float) -> None:
        await self.pause("sleep")
        process = current()
        role = self._of.get(process) if process is not None else None
        await asyncio.sleep(seconds if role is None else role.clock.wait(seconds))

    def _latency(self) -> float:
        """Mostly about a millisecond, now and then a good part of a second."""
        return 0.0008 * self.plan.slow / (self.dice.random() + 0.004)

    def _at(self, when: float, call: Callable[..., None], *args: object) -> None:
        """Have something done that is in no process's power."""
        self.loop.call_at(when, call, *args, context=contextvars.Context())

    def later(self, seconds: float, call: Callable[..., None], *args: object) -> None:
        self._at(self.loop.time() + seconds, call, *args)

    def _repeating(self, role: Role) -> RepeatedWrites:
        """Return the database as one process sees it."""
        db = SimulatedDatabase(
            self._site.store,
            pause=self.pause,
            refusal=lambda: self.refusal,
            committed=self._committed,
            way=role.way,
        )
        return RepeatedWrites(db, share=REPEATED, dice=self._repeats, new_id=self.new_id, now=role.clock.now)

    def new_id(self) -> str:
        """Return a new id; the same ones come in every run of the plan."""
        return str(uuid.UUID(int=self.dice.getrandbits(128), version=4))

    def _committed(self) -> None:
        self.note("commit")
        self.judge.committed()
        self.leases.committed()
        self._removals.committed()

    # -- processes ------------------------------------------------------------------------------------

    def _boot(self, role: Role) -> None:
        if role.process is not None and role.process.alive:
            return
        process = role.process = Process(f"{role.name}", self.loop)
        self._of[process] = role
        self.note("boot", role.name)
        process.start(self._main(role, process))

    async def _main(self, role: Role, process: Process) -> None:
        try:
            blobs = SimulatedBlobs(self.pause, self._images, lambda: self.blobs_fail)
            bus = self._parts.bus(await self._buses.of(role))
            role.cloud = make_cloud(self._repeating(role), bus, blobs, role.clock, self.new_id)
            if role.answers:
                shared: dict[str, Any] = {"settings": SETTINGS, "sleep": self._sleep, "place": role.name}
                images = ImageActions(role.cloud, workflows=self._image_workflows, **shared)
                self.leases.conducts(images.owner, process, role.clock)
                role.images, role.cloud = images, replace(role.cloud, image_actions=images.own)
                await images.start()
            if role.conducts:
                role.conductor = Conductor(
                    role.cloud,
                    settings=SETTINGS,
                    sleep=self._sleep,
                    host=role.name,
                    place=role.name,
                    workflows=self._workflows,
                )
                self.leases.conducts(role.conductor.owner, process, role.clock)
                role.cloud = replace(role.cloud, leases=role.conductor.leases)
                await role.conductor.start()
            role.agents = [self._agent(role, host, bus, blobs) for host in role.hosts]
            for agent in role.agents:
                await agent.start()
                self.judge.back(agent.host)
            role.ready = True
            self.note("ready", role.name)
        except FloeError as error:
            self.crash(role, 1.0, f"it could not start: {error.message}")
            await process.die()

    def _image_workflows(self, cloud: Cloud) -> Mapping[str, Saga]:
        return {kind: self._parts.plan(cloud, saga) for kind, saga in image_sagas(cloud).items()}

    def _workflows(self, cloud: Cloud, fleet: Fleet, settings: ConductorSettings) -> Mapping[str, Saga]:
        return {kind: self._parts.plan(cloud, saga) for kind, saga in sagas(cloud, fleet, settings).items()}

    def _agent(self, role: Role, host: str, bus: Bus, blobs: SimulatedBlobs) -> Agent:
        machine = self.machines[host]
        machine.driver = SimulatedHypervisor(
            machine,
            self.pause,
            self._delay,
            started=self.judge.started,
            twice=self.judge.booted_twice,
            harmed=self.judge.harmed,
            damaged=self.judge.damaged,
        )
        return Agent(
            host,
            bus=bus,
            hypervisor=self._parts.hypervisor(machine.driver),
            plane=SimulatedPlane(machine, self.pause, self._delay),
            images=blobs,
            store=SimulatedStore(self.pause, self.roles, self.dice),
            state_dir=machine.folder,
            clock=role.clock,
            heartbeat=HEARTBEAT,
            sweep=SWEEP,
            sleep=self._sleep,
            offload=Disk(machine, self.pause),
            version=unknown,
            seed=self.dice.randbytes,
            keeping=Keeping(seconds=IMAGE_KEEP),
            boot_id=lambda: self._parts.boot_id(host, machine.boots),
        )

    def crash(self, role: Role, down: float, why: str) -> None:
        """End a role's process as it stands; it is started again by itself."""
        if role.process is None or not role.process.alive:
            return
        self.note("crash", role.name, why)
        role.process.kill()
        role.ready, role.conductor, role.images, role.cloud, role.agents = False, None, None, None, []
        if role.answers:
            close_parts(self._images)
        for host in role.hosts:
            self.machines[host].driver = None
            self.machines[host].process_died()
        self.later(1.0 if self.healed else down, self._boot, role)

    async def stop(self, role: Role, process: Process, down: float) -> None:
        """End a role's process in good order, and start it again."""
        parts = [*role.agents, *(part for part in (role.conductor, role.images) if part is not None)]
        for stop in [part.stop for part in parts]:
            with contextlib.suppress(FloeError):  # as `floe up` does it: what cannot be stopped is let go
                await stop()
        self.crash(role, down, "it was stopped")
        await process.die()

    # -- events ---------------------------------------------------------------------------------------

    def _happen(self, number: int, event: Event) -> None:
        self.note("event", event)
        if event.what in FAULTS:
            FAULTS[event.what](self, **event.args)
            return
        role = next(role for role in self.roles.values() if role.answers)
        if role.process is not None and role.process.alive and role.cloud is not None:
            role.process.start(self.users.ask(role.cloud, number, event))

    def calm_down(self) -> None:
        """Make the bus as good, or bad, as it always is."""
        weather, noise = self.weather, self.plan.noise and not self.healed
        weather.lost, weather.repeated, weather.late = (0.04, 0.03, 0.04) if noise else (0, 0, 0)
        weather.unheard = 0.0 if self.healed else _UNHEARD

    def _heal(self) -> None:
        """No more faults: everything runs again, and has its peace."""
        self.note("healed")
        self.healed = True
        self.refusal, self.blobs_fail = None, False
        self.calm_down()
        self._buses.heal()
        for machine in self.machines.values():
            machine.heal()
        for role in self.roles.values():
            role.armed.clear()
            role.clock.offset = 0.0
            role.way.cut, role.way.slow, role.way.unsure = False, 0.0, 0
            self._boot(role)


_SLOW = frozenset(
    (
        *("db.before", "db.after", "bus.arrive", "file", "image", "upload", "blob.before", "blob.after", "blob.find"),
        *("start.after", "destroy.after", "disk.after", "plane.after"),
    )
)
