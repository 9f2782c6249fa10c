"""The password of a server's administrator, which its guest's agent sets.

And what the guest posted for its users to read: see `core.guest_passwords`.
"""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import datetime

from floe.cloud import guest_metadata, servers
from floe.cloud.cloud import Cloud
from floe.core import entries
from floe.core.actions import FAILED, SUCCEEDED, Begins, Step
from floe.core.context import Context
from floe.core.errors import Conflict, FloeError, HostFailure, Invalid, NotSupported, Unavailable
from floe.core.guest_passwords import PasswordPosted, believable, is_there
from floe.core.guest_questions import SetPassword, admin_of
from floe.core.properties import YES
from floe.core.servers import ACTIVE, BUILDING, Server
from floe.store import actions, hosts
from floe.store import servers as rows
from floe.store.engine import Connection

CHANGE_PASSWORD = "changePassword"  # noqa: S105  # what it is called in a server's history
_SECONDS = 45.0
"""For which a host is waited for: longer than it waits for its guest."""
_NO_AGENT = "Guest agent is not enabled for the instance"


async def show(cloud: Cloud, context: Context, server_id: str) -> str:
    """Return a server's password, "" where its guest posted none. Raises NotFound."""
    return (await servers.find(cloud, context, server_id)).password or ""


async def clear(cloud: Cloud, context: Context, server_id: str) -> None:
    """Forget a server's password, so that its guest may post another. Raises NotFound."""
    now = cloud.clock.now()

    def apply(conn: Connection) -> tuple[Server, str]:
        server = servers.visible(conn, context, server_id)
        if is_there(server.password_turn):
            rows.change(conn, server_id, password=None, password_turn=server.password_turn + 1, updated_at=now)
            server = servers.visible(conn, context, server_id)
        return server, _zone(conn, server.host)

    server, zone = await cloud.db.write(apply)
    if server.password_turn:
        await guest_metadata.tell(cloud, server, zone)


async def change(cloud: Cloud, context: Context, server_id: str, password: str) -> None:
    """Have a server's guest set its administrator's password, and note whether it did; the password itself nowhere.

    It is asked for while the request waits, and where that dies nobody goes on: the server's row is not touched, and to
    ask again is harmless. Raises NotFound, Conflict where it cannot be set, NotSupported where no agent answers though
    the image has one, and Unavailable.
    """
    began = cloud.clock.now()

    def look(conn: Connection) -> Server:
        server = servers.changeable(conn, context, server_id)
        for what, state, right in (
            ("vm_state", server.vm_state, server.vm_state == ACTIVE),
            ("task_state", server.task_state, server.task_state is None),
        ):
            if not right:
                raise Conflict(f"Cannot '{CHANGE_PASSWORD}' instance {server_id} while it is in {what} {state}")
        return server

    server = await cloud.db.read(look)
    properties = server.image_properties
    says = properties.get("hw_qemu_guest_agent", "")
    if says and not re.fullmatch(YES, says):
        raise Conflict(_NO_AGENT)
    command = SetPassword(server_id=server_id, user=admin_of(properties), password=password)
    failed: FloeError | None = None
    try:
        await cloud.bus.request(server.host or "", command, timeout=_SECONDS)
    except HostFailure as error:
        if error.cause == Unavailable.kind:
            failed = Unavailable(error.message)
        elif error.cause == NotSupported.kind and says:
            failed = NotSupported("Unable to set password on instance: no guest agent answers in it.")
        else:
            failed = Conflict(_NO_AGENT if error.cause == NotSupported.kind else error.message)
    except Unavailable as error:
        failed = error
    await _note(cloud, context, server, began, failed)
    if failed is not None:
        raise failed


async def _note(cloud: Cloud, context: Context, server: Server, began: datetime, failed: FloeError | None) -> None:
    """Add to a server's history that its password was asked to be changed, and what came of it."""
    action_id, now = cloud.new_id(), cloud.clock.now()
    begins = Begins(kind=CHANGE_PASSWORD, version=1)
    action = replace(
        servers.new_action(action_id, context, server, begins, began),
        state=FAILED if failed else SUCCEEDED,
        message=failed.message if failed else None,
        updated_at=now,
        finished_at=now,
    )
    step = Step(
        action_id=action_id,
        seq=1,
        name=CHANGE_PASSWORD,
        state=entries.FAILED if failed else entries.DONE,
        host=server.host,
        remark=failed.message if failed else "",
        started_at=began,
        finished_at=now,
    )

    def write(conn: Connection) -> None:
        if rows.get(conn, server.id) is not None:
            actions.add(conn, action)
            actions.write_steps(conn, [step])

    await cloud.db.write(write)


async def posted(cloud: Cloud, event: PasswordPosted) -> None:
    """Take what a host says of a guest, if the row does not know better, and tell it what the row says."""
    if not believable(event.password, event.turn):
        raise Invalid("That is no password of a guest.")
    now = cloud.clock.now()

    def look(conn: Connection) -> tuple[Server | None, str]:
        server = rows.get(conn, event.server_id)
        return server, _zone(conn, None if server is None else server.host)

    def take(conn: Connection) -> Server | None:
        server = rows.get(conn, event.server_id)
        if server is None or not _has_guest(server, event.host):
            return server
        rows.take_password(conn, server.id, server.host or "", event.password, event.turn, now)
        return rows.get(conn, server.id)

    server, zone = await cloud.db.read(look)
    if server is not None and _has_guest(server, event.host) and server.password_turn < event.turn:
        server = await cloud.db.write(take)
    if server is not None and _has_guest(server, event.host) and server.vm_state != BUILDING:
        await guest_metadata.tell(cloud, server, zone)


def left_behind(conn: Connection, event: PasswordPosted, server_id: str, now: datetime) -> None:
    """Take what a guest had, of which its host told as it removed it, while its server goes on elsewhere or nowhere.

    The host was asked about that server, and is not believed about any other.
    """
    if event.server_id == server_id and believable(event.password, event.turn):
        rows.take_password(conn, server_id, None, event.password, event.turn, now)


def _has_guest(server: Server, host: str) -> bool:
    """Say whether a host has a server's guest, or what that was before it moved: it posted there what it still has."""
    return bool(host) and host in {server.host, server.left}


def _zone(conn: Connection, host: str | None) -> str:
    known = None if host is None else hosts.get(conn, host)
    return "" if known is None else known.zone
