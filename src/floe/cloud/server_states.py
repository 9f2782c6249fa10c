"""Changes of a server's state that need no host: lock, unlock, reset."""

from __future__ import annotations

from floe.cloud import servers
from floe.cloud.cloud import Cloud
from floe.core import server_states as rules
from floe.core.actions import DELETE
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden
from floe.core.guest_actions import BY_KIND
from floe.core.servers import ERROR, ServerFault
from floe.store import actions
from floe.store import servers as rows
from floe.store.engine import Connection

OWNER, ADMIN = "owner", "admin"
_SET_TO_ERROR = "An administrator set this server to ERROR; its guest was left as it was."


async def lock(cloud: Cloud, context: Context, server_id: str, reason: str | None) -> None:
    """Forbid what touches a server's guest or its metadata to all but administrators. Raises NotFound."""
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
    """Set a server to ERROR by hand, which keeps all it holds, or back to what its guest is doing.

    A change of its guest's power that is under way is given up: what has become of the guest, its row follows. Raises
    NotFound; Conflict while it is being built or deleted, and for setting one to active that is on no host.
    """
    now = cloud.clock.now()

    def apply(conn: Connection) -> None:
        server = servers.visible(conn, context, server_id)
        under_way = [action for action in actions.of_server(conn, server_id) if action.finished_at is None]
        if all(action.kind in BY_KIND for action in under_way):
            actions.cancel_open(conn, server_id, now, but=DELETE.kind)
        else:
            raise Conflict(
                f"Server {server_id} is {server.task_state or 'being worked on'}; an action is under way and will end "
                "by itself. Delete the server if it shall not."
            )
        if not active:
            fault = server.fault or ServerFault(code=500, message=_SET_TO_ERROR, created_at=now)
            rows.change(conn, server_id, vm_state=ERROR, task_state=None, fault=fault, updated_at=now)
            return
        if server.host is None:
            raise Conflict(
                f"Server {server_id} is on no host, since its build failed: there is nothing that could be active. "
                "Delete it, and create it again."
            )
        state = rules.state_of(server.power_state)
        rows.change(conn, server_id, vm_state=state, task_state=None, fault=None, updated_at=now)

    await cloud.db.write(apply)
