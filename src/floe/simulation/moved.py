"""Operators who have servers go to other hosts, and users who have them stay there or go back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from floe.cloud import server_resize
from floe.cloud.cloud import Cloud
from floe.simulation.copied import Drop
from floe.simulation.routed import Args
from floe.simulation.site import operator_of, user_of
from floe.simulation.wired import all_of


class Moved:
    """Both of them; `made` are the servers that were made, each with its project."""

    def __init__(self, made: Sequence[tuple[int, str]], drop: Drop) -> None:
        self._made, self._drop = made, drop

    async def ask(self, cloud: Cloud, name: str, args: Args) -> None:
        """Do what is asked for with one of the servers."""
        if not self._made:
            return
        project, server_id = self._made[args["pick"] % len(self._made)]
        user, wait = user_of(project, name), args["other"] % 8 * 0.2
        deeds: dict[str, Callable[[], Awaitable[None]]] = {
            "migrate": lambda: server_resize.migrate(cloud, operator_of(project, name), server_id),
            "confirm": lambda: server_resize.confirm(cloud, user, server_id),
            "revert": lambda: server_resize.revert(cloud, user, server_id),
        }

        async def drop() -> None:
            await asyncio.sleep(wait)
            await self._drop(cloud, name, project, server_id)

        first, _, other = args["do"].partition("-and-")
        await all_of(deeds[first](), *([drop()] if other else []))
