"""Users who delete servers so that they can be restored, restore them, and what becomes of that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec.structs import replace

from floe.cloud import soft_deletes
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.actions import DELETE, SUCCEEDED
from floe.core.given import PowerGiven
from floe.core.guest_actions import RESTORE, SOFT_DELETE
from floe.simulation.routed import Args
from floe.simulation.site import user_of
from floe.simulation.wired import all_of
from floe.store.actions import actions
from floe.store.engine import Connection


class PutOff:
    """Users of soft deletes; `made` are the servers that were made, each with its project, `asked` notes a delete."""

    def __init__(
        self,
        made: Sequence[tuple[int, str]],
        drop: Callable[[Cloud, str, int, str], Awaitable[None]],
        asked: Callable[[str], None],
    ) -> None:
        self._made, self._drop, self._asked = made, drop, asked

    async def ask(self, cloud: Cloud, name: str, args: Args) -> None:
        """Delete or restore one of the servers."""
        if not self._made:
            return
        project, server_id = self._made[args["pick"] % len(self._made)]
        user = user_of(project, name)
        cloud = replace(cloud, settings=replace(cloud.settings, reclaim_instance_interval=args["seconds"]))

        async def delete() -> None:
            self._asked(server_id)
            await soft_deletes.delete(cloud, user, server_id)

        async def later(what: Callable[[], Awaitable[None]]) -> None:
            await asyncio.sleep(args["other"] % 8 * 0.1)
            await what()

        async def restore() -> None:
            await soft_deletes.restore(cloud, user, server_id)

        if args["do"] == "restore":
            await restore()
        elif args["do"] == "delete-and-restore":
            await all_of(delete(), later(restore))
        elif args["do"] == "delete-twice":
            await all_of(delete(), delete())
        elif args["do"] == "delete-and-force":
            await all_of(delete(), later(lambda: self._drop(cloud, name, project, server_id)))
        else:
            await delete()

    def check(self, conn: Connection) -> list[Violation]:
        """See that nothing was reclaimed before its time, or after it was restored; history may be forgotten by now."""
        found = []
        kinds = (DELETE.kind, SOFT_DELETE.kind, RESTORE.kind)
        for _, server_id in self._made:
            where = actions.c.subject_id == server_id, actions.c.kind.in_(kinds)
            last = None
            for action in conn.execute(actions.select().where(*where).order_by(actions.c.created_at)):
                if action.kind != DELETE.kind:
                    last = action if action.state == SUCCEEDED else last
                elif not action.user_id and last is not None and _too_early(last, action.created_at):
                    found.append(Violation("a server was reclaimed that could be restored, or was", server_id))
        return found


def _too_early(last: Any, when: datetime) -> bool:
    """Say whether that ended otherwise than in a server which is to be reclaimed by then."""
    over = msgspec.convert(last.input, PowerGiven).reclaim_at
    return last.kind == RESTORE.kind or over is None or over > when
