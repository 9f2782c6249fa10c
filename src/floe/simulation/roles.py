"""Programs: what runs in each, and what is armed to kill it."""

from __future__ import annotations

from dataclasses import dataclass, field
from random import Random

from floe.agent.agent import Agent
from floe.cloud.cloud import Cloud
from floe.conductor.conductor import Conductor
from floe.conductor.image_actions import ImageActions
from floe.simulation.database import Way
from floe.simulation.loop import Process, VirtualLoop
from floe.simulation.shape import Plan
from floe.simulation.site import SimulatedClock


@dataclass(slots=True)
class Crash:
    """A death to come: at the `count`th passing of a point, for `down` seconds."""

    point: str
    count: int
    down: float


@dataclass(slots=True)
class Role:
    """A program: its present process with what it consists of. `armed` are deaths to come."""

    name: str
    hosts: list[str]
    clock: SimulatedClock
    way: Way = field(default_factory=Way)
    """To the database."""
    conducts: bool = False
    answers: bool = False
    process: Process | None = None
    conductor: Conductor | None = None
    images: ImageActions | None = None
    cloud: Cloud | None = None
    agents: list[Agent] = field(default_factory=list)
    ready: bool = False
    armed: list[Crash] = field(default_factory=list)


def make_role(name: str, plan: Plan, loop: VirtualLoop) -> Role:
    """Return one of a plan's programs, which is not started yet."""
    clock = SimulatedClock(loop, Random(f"{plan.seed} clock {name}") if plan.apart else None)  # noqa: S311
    if name == "floe":
        return Role(name, plan.host_names, clock, conducts=True, answers=True)
    if name.startswith("agent-"):
        return Role(name, [name.removeprefix("agent-")], clock)
    return Role(name, [], clock, conducts=name.startswith("conductor"), answers=name == "api")
