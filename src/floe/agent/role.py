"""The agent role: the agents of all hosts that a process has."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path

from floe.agent.agent import Agent
from floe.agent.folders import close_files, make_passable


class Agents:
    """Starts them together and stops them together. `make` is called at each start; `folder` has one of each host."""

    def __init__(self, folder: Path, make: Callable[[], Sequence[Agent]]) -> None:
        self._folder, self._make = folder, make
        self.all: list[Agent] = []

    async def start(self) -> None:
        """Start the agent of each host. Raises HostFailure when one cannot be used."""
        made = self._make()
        make_passable(self._folder)
        close_files(self._folder)
        self.all = list(made)
        await asyncio.gather(*(agent.start() for agent in self.all))

    async def stop(self) -> None:
        """Stop them all; guests go on running."""
        await asyncio.gather(*(agent.stop() for agent in self.all))

    async def parts(self) -> dict[str, str]:
        """Say how many take commands."""
        serving = sum(agent.serves for agent in self.all)
        if serving == len(self.all):
            return {"agents": "ok"}
        few = f"{serving} of {len(self.all)} take commands"
        return {"agents": f"ok: {few}" if serving else few}
