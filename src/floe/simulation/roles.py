"""Programs: what runs in each, and what is armed to kill it."""

from __future__ import annotations

from dataclasses import dataclass, field

from floe.agent.agent import Agent
from floe.cloud.cloud import Cloud
from floe.conductor.conductor import Conductor
from floe.conductor.image_actions import ImageActions
from floe.simulation.loop import Process
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
    conducts: bool = False
    answers: bool = False
    process: Process | None = None
    conductor: Conductor | None = None
    images: ImageActions | None = None
    cloud: Cloud | None = None
    agents: list[Agent] = field(default_factory=list)
    ready: bool = False
    armed: list[Crash] = field(default_factory=list)
