"""What a run is made of: its events, and the programs there are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

REQUESTS, FAULTS, HEALED = 9.0, 12.0, 20.0
"""Seconds up to which requests come and faults begin, and after which there are no more faults."""
LONG = 75.0
"""Seconds after which there are no more faults in a long run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """A request of a user, or a fault, at a second after the start; `what` names it, `args` say the rest."""

    at: float
    what: str
    args: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        args = " ".join(f"{name}={value}" for name, value in self.args.items())
        return f"{self.at:8.3f}  {self.what:<14} {args}".rstrip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A run. `together`: all roles live and die in one process, as in `floe up`. `slow` stretches all delays."""

    seed: int
    hosts: int
    conductors: int
    together: bool
    slow: float
    noise: bool
    """Whether the bus loses, repeats, delays and reorders now and then, all the time."""
    frame: int = 0
    """Bytes that a frame of the bus between machines takes at most, with the product's own bus over it; else 0."""
    apart: bool = False
    """Whether each machine has a clock of its own: see `SimulatedClock`."""
    healed: float = HEALED
    """Seconds after the start from which there are no more faults."""
    events: Sequence[Event]

    @property
    def roles(self) -> list[str]:
        """The programs there are."""
        if self.together:
            return ["floe"]
        conductors = [f"conductor-{number}" for number in range(1, self.conductors + 1)]
        return ["api", *conductors, *(f"agent-{host}" for host in self.host_names)]

    @property
    def host_names(self) -> list[str]:
        """The hosts there are."""
        return [f"h{number}" for number in range(1, self.hosts + 1)]

    def __str__(self) -> str:
        shape = "one process" if self.together else f"{self.conductors} conductor(s), each role a process"
        noise = "a bus that loses, repeats and reorders" if self.noise else "a sound bus"
        frames = f" with frames of {self.frame} bytes" if self.frame else ""
        clocks = ", clocks of their own" if self.apart else ""
        long = f", faults until {self.healed:g} s" if self.healed != HEALED else ""
        head = f"seed {self.seed}: {self.hosts} host(s), {shape}{clocks}, {noise}{frames}, delays x{self.slow:g}{long}"
        return "\n".join([head, *(str(event) for event in self.events)])
