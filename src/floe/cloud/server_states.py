"""Changes of a server's state that need no host: lock, unlock, reset."""

from __future__ import annotations

from floe.cloud import servers
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden
from floe.core.servers import ACTIVE, ERROR
from floe.store import actions
from floe.store import servers as rows
from floe.store.engine import Connection

OWNER, ADMIN = "owner", "admin"


async def lock(cloud: Cloud, context: Context, server_id: str, reason: str | None) -> None:
    """Forbid changes of a server to all but administrators, until it is unlocked. Raises NotFound."""
    now = cloud.clock.now()

    def apply(conn: Connection) -> None:
        server = servers.visible(conn, context, server_id)
        if server.locked and server.locked_by == ADMIN and not context.is_admin:
            return
        # Who belongs to the project locks as its owner, an administrator of another one as administrator.
        by = OWNER if context.owns(server.project_id) else ADMIN
        rows.change(conn, server_id, locked=True, locked_by=by, locked_reason=reason, updated_at=now)

    await cloud.db.write(apply)


async def unlock(cloud: Cloud, context: Context, server_id: str) -> None:
    """Allow changes again. Raises NotFound, Forbidden for a lock that an administrator set."""
    now = cloud.clock.now()

    def apply(conn: Connection) -> None:
        server = servers.visible(conn, context, server_id)
        if server.locked_by == ADMIN and not context.is_admin:
            raise Forbidden(f"Server {server_id} was locked by an administrator; only one can unlock it.")
        rows.change(conn, server_id, locked=False, locked_by=None, locked_reason=None, updated_at=now)

    await cloud.db.write(apply)


async def reset(cloud: Cloud, context: Context, server_id: str, *, active: bool) -> None:
    """Set a server to ACTIVE or ERROR by hand. Raises NotFound, Conflict while something is being done with it."""
    now = cloud.clock.now()

    def apply(conn: Connection) -> None:
        server = servers.visible(conn, context, server_id)
        if any(action.finished_at is None for action in actions.of_server(conn, server_id)):
            raise Conflict(
                f"Server {server_id} is {server.task_state or 'being worked on'}; an action is under way and will end "
                "by itself. Delete the server if it shall not."
            )
        if active and server.host is None:
            raise Conflict(f"Server {server_id} is on no host, so it cannot be set to active; delete it.")
        state = ACTIVE if active else ERROR
        fault = {"fault": None} if active else {}
        rows.change(conn, server_id, vm_state=state, task_state=None, updated_at=now, **fault)

    await cloud.db.write(apply)
