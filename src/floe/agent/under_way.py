"""What is being done with one server on a host, while it is."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Any

from floe.core.guests import PowerState


@dataclass(slots=True)
class UnderWay:
    """Commands under way on one server; `waiting` counts them, so that the entry goes with the last."""

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    waiting: int = 0
    work: asyncio.Task[Any] | None = None
    generation: int | None = None
    """What the guest should be is of this generation, if the work is about that."""
    overtaken: bool = False
    seen: PowerState | None = None
    """The last power state that the hypervisor told meanwhile."""

    def is_before(self, generation: int) -> bool:
        """Say whether what is under way is about what the guest should be, and something later is said of that."""
        return self.generation is not None and self.generation < generation
