"""Users who have servers rescued, and what rows and hosts make of that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from floe.cloud import server_rescue
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.actions import FAILED, RESCUE_SERVER, SUCCEEDED, UNRESCUE_SERVER
from floe.core.given import RescueGiven
from floe.core.servers import RESCUED, SOFT_DELETED
from floe.simulation.routed import Args
from floe.simulation.site import IMAGES, user_of
from floe.simulation.wired import all_of, built
from floe.store import servers as rows
from floe.store.actions import actions
from floe.store.engine import Connection

_KINDS = RESCUE_SERVER.kind, UNRESCUE_SERVER.kind


class Rescued:
    """Users who ask for rescues and their ends; `made` are the servers that were made, each with its project."""

    def __init__(
        self,
        made: Sequence[tuple[int, str]],
        drop: Callable[[Cloud, str, int, str], Awaitable[None]],
    ) -> None:
        self._made, self._drop = made, drop

    async def ask(self, cloud: Cloud, name: str, args: Args) -> None:
        """Have one of the servers rescued that was built, or not any more if it is."""
        there = await cloud.db.read(lambda conn: [each for each in self._made if _is_built(conn, each[1])])
        if not there:
            return
        project, server_id = there[args["pick"] % len(there)]
        user, image_id = user_of(project, name), [*IMAGES, None][args["other"] % (len(IMAGES) + 1)]
        found = await cloud.db.read(lambda conn: rows.get(conn, server_id))

        async def turn() -> None:
            if found is not None and found.rescue is not None:
                await server_rescue.unrescue(cloud, user, server_id)
            else:
                await server_rescue.rescue(cloud, user, server_id, image_id=image_id)

        if args["do"] == "turn":
            await turn()
        elif args["do"] == "turn-twice":
            await all_of(turn(), turn())
        else:
            await all_of(turn(), self._later(cloud, name, args, (project, server_id)))

    async def _later(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        await asyncio.sleep(args["other"] % 8 * 0.05)
        await self._drop(cloud, name, *server)

    def check(self, conn: Connection) -> list[Violation]:
        """Compare what became of each rescue with the rows, when nothing is under way."""
        found = []
        for server in built(conn, self._made):
            # One that is deleted so that it can be restored comes back as what it was.
            is_rescued = server.rescue is not None
            if server.vm_state != SOFT_DELETED and (server.vm_state == RESCUED) is not is_rescued:
                what = f"it is {server.vm_state}, and its row says {server.rescue}"
                found.append(Violation("a server is rescued by half", server.id, what))
            where = actions.c.subject_id == server.id, actions.c.kind.in_(_KINDS)
            done = [row for row in conn.execute(actions.select().where(*where)) if row.state in {SUCCEEDED, FAILED}]
            if not done:
                continue
            last = max(done, key=_generation)
            if _generation(last) < server.boots:
                continue  # what came after it may be history already: by a clock that was set back it is the older one
            rescued = (last.kind == RESCUE_SERVER.kind) is (last.state == SUCCEEDED)
            if rescued is not is_rescued and "Nobody knows" not in str(last.message):
                what = f"it is {server.vm_state}, though its {last.kind} {last.state}: {last.message}"
                found.append(Violation("a server is not what its rescue made of it", server.id, what))
        return found


def _is_built(conn: Connection, server_id: str) -> bool:
    server = rows.get(conn, server_id)
    return server is not None and server.launched_at is not None and server.deleted_at is None


def _generation(row: Any) -> int:
    return msgspec.convert(row.input, RescueGiven).wanted.generation
