"""What goes wrong in a run: each fault of a plan, by its name, done to a world."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Protocol

from floe.agent.agent import LEDGER
from floe.core.errors import HostFailure
from floe.core.guests import PowerState
from floe.simulation.apart import VERY_LATE
from floe.simulation.bus import Weather
from floe.simulation.judge import Judge
from floe.simulation.loop import Process
from floe.simulation.machines import Machine
from floe.simulation.questions import Questions
from floe.simulation.requests import Users
from floe.simulation.roles import Crash, Role
from floe.simulation.shape import Plan


class World(Protocol):
    """What faults need of a world."""

    plan: Plan
    roles: dict[str, Role]
    machines: dict[str, Machine]
    weather: Weather
    dice: Random
    judge: Judge
    questions: Questions
    users: Users
    refusal: str | None
    """Why the database refuses to write now."""
    blobs_fail: bool
    """Whether the image store takes and removes nothing now."""

    def crash(self, role: Role, down: float, why: str) -> None:
        """End a role's process as it stands; it is started again after `down` seconds."""
        ...

    async def stop(self, role: Role, process: Process, down: float) -> None:
        """End a role's process in good order."""
        ...

    def later(self, seconds: float, call: Callable[..., None], *args: Any) -> None:
        """Have something done that is in no process's power."""
        ...

    def cut(self, name: str) -> None:
        """Cut a machine, or a program, off the bus."""
        ...

    def mend(self, name: str) -> None:
        """Have it reached again."""
        ...

    def calm_down(self) -> None:
        """Make the bus as good, or bad, as it always is."""
        ...


def crash(world: World, role: str, point: str, count: int, down: float) -> None:
    """Have a process die when it passes a point for the nth time."""
    world.roles[role].armed.append(Crash(point, count, down))


def kill(world: World, role: str, down: float) -> None:
    """End a process now."""
    world.crash(world.roles[role], down, "it was killed")


def stop(world: World, role: str, down: float) -> None:
    """Have a process end in good order, within ten seconds."""
    process = world.roles[role].process
    if process is not None and process.alive:
        process.start(world.stop(world.roles[role], process, down))
        world.later(10.0, _kill_still, world, role, process, down)


def _kill_still(world: World, role: str, process: Process, down: float) -> None:
    if world.roles[role].process is process:
        kill(world, role, down)


def stall(world: World, role: str, seconds: float) -> None:
    """Have a process do nothing for a while."""
    process = world.roles[role].process
    if process is not None:
        process.stall(seconds)


def power(world: World, host: str, seconds: float) -> None:
    """Take the power from a host; it comes back."""
    role = next(role for role in world.roles.values() if host in role.hosts)
    world.crash(role, seconds, "the power is gone")
    if world.plan.apart:
        role.clock.reboot()
    for name in role.hosts:
        world.judge.lost_power(name)
        world.questions.forgot(name)
        world.machines[name].power_loss(world.dice)


def forget(world: World, host: str, seconds: float) -> None:
    """Have a host's agent die and its ledger be lost: what is there, it finds without."""
    role = next(role for role in world.roles.values() if host in role.hosts)
    world.crash(role, seconds, "its ledger is lost")
    (world.machines[host].folder / LEDGER).unlink(missing_ok=True)
    world.machines[host].forgotten.update(world.machines[host].host.guests)
    world.users.posted.lost(host)
    world.judge.forgot(host)
    world.questions.forgot(host)


def partition(world: World, host: str, seconds: float) -> None:
    """Cut a host off the bus."""
    world.cut(host)
    world.later(seconds, world.mend, host)


def unplug(world: World, role: str, seconds: float) -> None:
    """Cut a program off the bus."""
    world.cut(role)
    world.later(seconds, world.mend, role)


def no_database(world: World, role: str, seconds: float, unsure: int) -> None:
    """Cut a program off the database; of some of its writes it is not known then whether they were done."""
    way = world.roles[role].way
    way.unsure += unsure
    way.cut = not unsure
    world.later(seconds, setattr, way, "cut", False)


def slow_database(world: World, role: str, seconds: float, by: float) -> None:
    """Have all that a program does with the database take longer."""
    way = world.roles[role].way
    way.slow = by
    world.later(seconds, setattr, way, "slow", 0.0)


def slow_bus(world: World, role: str, seconds: float, by: float) -> None:
    """Have all that a program says and hears be on its way for longer."""
    world.weather.slow[role] = by
    world.later(seconds, world.weather.slow.__setitem__, role, 0.0)


def very_late(world: World, which: str, seconds: float, by: float = VERY_LATE) -> None:
    """Have messages of a kind come when nobody expects them any more."""
    world.weather.very_late[which] = by
    world.later(seconds, _in_time_again, world, which)


def _in_time_again(world: World, which: str) -> None:
    world.weather.very_late.pop(which, None)


def tick(world: World, role: str, jump: float) -> None:
    """Have the clock that a machine counts seconds by jump ahead, or stand still."""
    world.roles[role].clock.jump += jump


def lossy(world: World, seconds: float) -> None:
    """Have the bus lose and repeat messages."""
    world.weather.lost = world.weather.repeated = 0.25
    world.later(seconds, world.calm_down)


def reorder(world: World, seconds: float) -> None:
    """Have messages come twice, and overtake each other."""
    world.weather.late, world.weather.repeated = 0.4, 0.3
    world.later(seconds, world.calm_down)


def hypervisor(world: World, host: str, operation: str, after: int, times: int) -> None:
    """Have an operation of a host's hypervisor fail."""
    for turn in range(times):
        failure = HostFailure("The hypervisor failed.", stage="image" if operation == "adopt_image" else "guest")
        world.machines[host].host.fail(operation, failure, after=0 if turn else after)


def ports(world: World, host: str, seconds: float) -> None:
    """Have a host's data plane fail."""
    script = world.machines[host].script
    script.failure = HostFailure("The ports could not be plugged.", stage="ports")
    world.later(seconds, setattr, script, "failure", None)


def disk_full(world: World, host: str, seconds: float) -> None:
    """Fill a host's disk."""
    world.machines[host].disk_full = True
    world.later(seconds, setattr, world.machines[host], "disk_full", False)


def guest_dies(world: World, host: str) -> None:
    """Have a guest end by itself."""
    machine = world.machines[host]
    running = sorted(ident for ident, state in machine.host.guests.items() if state is PowerState.RUNNING)
    if not running:
        return
    machine.died.add(running[0])
    world.judge.died(host, running[0])
    role = next(role for role in world.roles.values() if host in role.hosts)
    if machine.driver is not None and role.process is not None:
        role.process.call(machine.driver.change, running[0], PowerState.SHUTDOWN)
    else:
        machine.host.guests[running[0]] = PowerState.SHUTDOWN


def deaf(world: World, host: str, seconds: float) -> None:
    """Have the guests that a host has now listen to nothing for a while: neither let go of a NIC, nor shut down."""
    machine = world.machines[host].host
    machine.deaf |= machine.guests.keys()
    world.later(seconds, machine.deaf.clear)


def post(world: World, pick: int, password: str) -> None:
    """Have a guest that runs post a password."""
    there = [
        (role, agent, server_id)
        for role in world.roles.values()
        if role.process is not None and role.process.alive
        for agent in role.agents
        for server_id, state in sorted(world.machines[agent.host].host.guests.items())
        if state is PowerState.RUNNING
    ]
    if there:
        role, agent, server_id = there[pick % len(there)]
        assert role.process is not None
        role.process.start(world.users.posted.post(agent, server_id, password))


def busy(world: World, seconds: float) -> None:
    """Have the database refuse to write."""
    world.refusal = "database or disk is full"
    world.later(seconds, setattr, world, "refusal", None)


def clock(world: World, role: str, jump: float) -> None:
    """Have the clock of a machine jump."""
    world.roles[role].clock.offset += jump


def older_copy(world: World, seconds: float) -> None:
    """Have an older copy of the database be put back, of that age."""
    world.later(seconds, world.judge.copied())


def blobs(world: World, seconds: float) -> None:
    """Have the image store fail for a while."""
    world.blobs_fail = True
    world.later(seconds, _blobs_work, world)


def _blobs_work(world: World) -> None:
    world.blobs_fail = False


FAULTS: Mapping[str, Callable[..., None]] = {
    "crash": crash,
    "kill": kill,
    "stop": stop,
    "stall": stall,
    "power": power,
    "forget": forget,
    "partition": partition,
    "unplug": unplug,
    "no-database": no_database,
    "slow-database": slow_database,
    "slow-bus": slow_bus,
    "very-late": very_late,
    "tick": tick,
    "lossy": lossy,
    "reorder": reorder,
    "hypervisor": hypervisor,
    "ports": ports,
    "disk-full": disk_full,
    "guest-dies": guest_dies,
    "deaf": deaf,
    "post": post,
    "busy": busy,
    "clock": clock,
    "blobs": blobs,
    "older-copy": older_copy,
}
"""By name; what each takes beside the world are the `args` of its `Event`."""
