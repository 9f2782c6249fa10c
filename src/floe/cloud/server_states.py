"""Changes of a server's state that need no host: lock, unlock, reset."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from floe.cloud import server_power, servers, unmade_images
from floe.cloud.cloud import Cloud
from floe.core import server_states as rules
from floe.core.actions import ATTACH_INTERFACE, DETACH_INTERFACE, SUCCEEDED, Action, Begins, Step
from floe.core.context import Context
from floe.core.entries import DONE
from floe.core.errors import Conflict
from floe.core.guest_actions import BY_KIND
from floe.core.servers import ERROR, RESIZED, SHELVED, SHELVED_OFFLOADED, SOFT_DELETED, Server, ServerFault
from floe.store import actions
from floe.store import servers as rows
from floe.store.engine import Connection

OWNER, ADMIN = "owner", "admin"
LOCK, UNLOCK = Begins(kind="lock", version=1), Begins(kind="unlock", version=1)
"""Done by the request itself; no conductor ever sees one open."""
_LET = BY_KIND.keys() | {ATTACH_INTERFACE.kind, DETACH_INTERFACE.kind} | unmade_images.KINDS
"""What may be under way: it is given up, or has no mark in the row and goes on."""
_SET_TO_ERROR = "An administrator set this server to ERROR; its guest was left as it was."


async def lock(cloud: Cloud, context: Context, server_id: str, reason: str | None) -> None:
    """Forbid what changes a server to all but administrators. Raises NotFound.

    Whose project it is has no say in it where it is locked already; an administrator of another one makes the lock
    theirs, and may give another reason.
    """
    now, action_id = cloud.clock.now(), cloud.new_id()

    def apply(conn: Connection) -> None:
        server = servers.visible(conn, context, server_id)
        by = _side(context, server)
        if server.locked and by == OWNER:
            return
        kept = reason or server.locked_reason
        rows.change(conn, server_id, locked=True, locked_by=by, locked_reason=kept, updated_at=now)
        _record(conn, servers.new_action(action_id, context, server, LOCK, now), f"by the {by}")

    await cloud.db.write(apply)


async def unlock(cloud: Cloud, context: Context, server_id: str, override: Callable[[], None]) -> None:
    """Allow changes again. A lock that the other side set, owner or administrator, is for whom `override` lets pass.

    Raises NotFound, and what `override` raises.
    """
    now, action_id = cloud.clock.now(), cloud.new_id()

    def apply(conn: Connection) -> None:
        server = servers.visible(conn, context, server_id)
        if server.locked_by not in {None, _side(context, server)}:
            override()
        rows.change(conn, server_id, locked=False, locked_by=None, locked_reason=None, updated_at=now)
        _record(conn, servers.new_action(action_id, context, server, UNLOCK, now))

    await cloud.db.write(apply)


def _side(context: Context, server: Server) -> str:
    """Return as whom a caller locks: who belongs to the project as its owner, all others as administrators."""
    return OWNER if context.owns(server.project_id) else ADMIN


def _record(conn: Connection, action: Action, remark: str = "") -> None:
    """Insert an action that the request itself has done, with its one event, which Nova names so."""
    at = action.created_at
    actions.add(conn, replace(action, state=SUCCEEDED, updated_at=at, finished_at=at))
    name = f"api_{action.kind}"
    step = Step(action_id=action.id, seq=1, name=name, state=DONE, remark=remark, started_at=at, finished_at=at)
    actions.write_steps(conn, [step])


async def reset(cloud: Cloud, context: Context, server_id: str, *, active: bool) -> None:
    """Set a server to ERROR by hand, which keeps all it holds, or back to what its guest is doing.

    A change of its guest's power that is under way is given up, and so is an image that is being made of it: what has
    become of the guest, its row follows. Raises
    NotFound; Conflict while it is being built or deleted, or is soft-deleted, and for setting one to active that is on
    no host.
    """
    now, removal_ids = cloud.clock.now(), [cloud.new_id() for _ in range(unmade_images.MOST)]

    def apply(conn: Connection) -> None:
        server = servers.visible(conn, context, server_id)
        if server.vm_state == SOFT_DELETED:
            raise Conflict(f"Server {server_id} is soft-deleted; restore it, or delete it by force.")
        if all(action.kind in _LET for action in actions.find(conn, server_id, is_open=True)):
            server_power.give_up(conn, server_id, now)
            unmade_images.cancelled(conn, server, now, removal_ids)
        else:
            raise Conflict(
                f"Server {server_id} is {server.task_state or 'being worked on'}; an action is under way and will end "
                "by itself. Delete the server if it shall not."
            )
        if server.vm_state in {SHELVED, SHELVED_OFFLOADED}:
            raise Conflict(
                f"Server {server_id} is {server.vm_state}, which nothing has to be reset for. "
                "Unshelve the server, or delete it."
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
        state = rules.state_of(server.power_state, rescued=server.rescue is not None)
        state = state if server.former is None else RESIZED
        rows.change(conn, server_id, vm_state=state, task_state=None, fault=None, updated_at=now)

    await cloud.db.write(apply)
