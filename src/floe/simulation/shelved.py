"""Users who shelve and unshelve servers, and what rows have of that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence

from floe.cloud import shelving
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.servers import SHELVED, SHELVED_OFFLOADED
from floe.simulation.copied import Drop
from floe.simulation.routed import Args
from floe.simulation.site import operator_of, user_of
from floe.simulation.wired import all_of
from floe.store import shelved_servers
from floe.store.engine import Connection
from floe.store.images import images
from floe.store.servers import servers as table

_AWAY = {SHELVED, SHELVED_OFFLOADED}
_SUFFIX = "-shelved"


class Shelved:
    """Users who put servers away; `made` are the servers that were made, each with its project."""

    def __init__(self, made: Sequence[tuple[int, str]], drop: Drop) -> None:
        self._made, self._drop = made, drop

    async def ask(self, cloud: Cloud, name: str, args: Args) -> None:
        """Do what is asked for with one of the servers."""
        if not self._made:
            return
        project, server_id = self._made[args["pick"] % len(self._made)]
        user, wait = user_of(project, name), args["other"] % 8 * 0.2
        deeds: dict[str, Callable[[], Awaitable[None]]] = {
            "shelve": lambda: shelving.shelve(cloud, user, server_id),
            "unshelve": lambda: shelving.unshelve(cloud, user, server_id, shelving.Destination()),
            "offload": lambda: shelving.offload(cloud, operator_of(project, name), server_id),
        }

        async def drop() -> None:
            await asyncio.sleep(wait)
            await self._drop(cloud, name, project, server_id)

        first, _, other = args["do"].partition("-and-")
        await all_of(deeds[first](), *([drop()] if other else []))

    def check(self, conn: Connection) -> list[Violation]:
        """Compare servers with what they are kept in, when nothing is under way."""
        found, kept = [], set()
        for row in conn.execute(table.select().where(table.c.deleted_at.is_(None))):
            shelved = shelved_servers.get(conn, row.id)
            if shelved is not None:
                kept.add(shelved.image_id)
            if (row.vm_state in _AWAY) is (shelved is None):
                found.append(Violation("a server is shelved, or is not, other than its row says", row.id, row.vm_state))
        for image in conn.execute(images.select().where(images.c.deleted_at.is_(None))):
            if (image.name or "").endswith(_SUFFIX) and image.id not in kept:
                found.append(Violation("an image is left of a server that was shelved", image.id, image.status))
        return found
