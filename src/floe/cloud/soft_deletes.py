"""Deletes that are put off: the guest is turned off, and its server can be restored until its time is over.

A soft-deleted server keeps its host, claim, disks, ports, addresses and groups; no quota of its project counts it.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import partial

from floe.cloud import quotas, server_power, servers, unmade_images
from floe.cloud.cloud import Cloud
from floe.core.actions import DELETE, Action
from floe.core.context import Context
from floe.core.errors import NotFound
from floe.core.given import PowerGiven
from floe.core.guest_actions import RESTORE, RESTORE_STOPPED, SOFT_DELETE, OnGuest
from floe.core.guests import PowerState
from floe.core.servers import DELETING, SOFT_DELETED, SOFT_DELETING, Server
from floe.store import servers as rows
from floe.store.engine import Connection

AT_ONCE = 100
"""Servers that one turn reclaims."""


async def delete(cloud: Cloud, context: Context, server_id: str) -> None:
    """Delete a server: at once, or so that it can be restored, as the setting says.

    One that was never built goes at once, as one does that is in no state to come back to.

    Raises NotFound, and Conflict when it is locked, or where putting it off would break off what is being done with it.
    """
    interval = cloud.settings.reclaim_instance_interval
    if not (interval and await _put_off(cloud, context, server_id, interval)):
        await servers.delete(cloud, context, server_id)


async def _put_off(cloud: Cloud, context: Context, server_id: str, interval: float) -> bool:
    """Have a server soft-deleted, unless it is already; False where that cannot be, as nothing was ever built."""
    now, action_id = cloud.clock.now(), cloud.new_id()
    removal_ids = [cloud.new_id() for _ in range(unmade_images.MOST)]

    def begin(conn: Connection) -> tuple[bool, Action | None]:
        server = servers.changeable(conn, context, server_id)
        built = server.host is not None and server.launched_at is not None
        if not built or server.former is not None or server.vm_state not in SOFT_DELETE.allowed:
            return False, None
        if server.task_state in {DELETING, SOFT_DELETING} or _is_soft_deleted(server):
            return True, None
        server_power.check_free(server, DELETE.kind, SOFT_DELETE.overtakes | unmade_images.MEANWHILE)
        unmade_images.cancelled(conn, server, now, removal_ids)
        server_power.give_up(conn, server_id, now)
        before = server.power_before if server.vm_state == SOFT_DELETED else int(server.power_state)
        patience = server_power.patience(server, cloud.settings.shutdown_timeout)
        over = now + timedelta(seconds=interval)
        return True, _begin(
            conn, context, server, SOFT_DELETE, action_id, now, over, patience=patience, power_before=before
        )

    kept, action = await cloud.db.write(begin)
    if action is not None:
        await cloud.hand_over(action)
    return kept


def _is_soft_deleted(server: Server) -> bool:
    return server.vm_state == SOFT_DELETED and server.task_state is None


async def restore(cloud: Cloud, context: Context, server_id: str) -> None:
    """Have a soft-deleted server be what it was, running or not; what was paused or suspended is booted.

    Raises NotFound, OverQuota, and Conflict for one that is locked or is not soft-deleted.
    """
    now, action_id = cloud.clock.now(), cloud.new_id()

    def begin(conn: Connection) -> Action:
        server = servers.changeable(conn, context, server_id)
        off = server.power_before is not None and PowerState(server.power_before).off
        asked = RESTORE_STOPPED if off else RESTORE
        servers.check_state(server, asked.begins)
        server_power.check_free(server, asked.kind)
        flavor = server.flavor
        room = quotas.room_of_user(conn, server.project_id, server.user_id)
        room.demand({"instances": 1, "cores": flavor.vcpus, "ram": flavor.memory_mib})
        return _begin(conn, context, server, asked, action_id, now, server.reclaim_at, reclaim_at=None)

    await cloud.hand_over(await cloud.db.write(begin))


def _begin(
    conn: Connection,
    context: Context,
    server: Server,
    asked: OnGuest,
    action_id: str,
    now: datetime,
    over: datetime | None,
    *,
    patience: float = 0.0,
    **more: int | None,
) -> Action:
    """Insert an action after which a server that is soft-deleted is so until it is `over`."""
    wanted = asked.wanted(server, now)
    given = PowerGiven(host=server.host or "", wanted=wanted, patience=patience, reclaim_at=over)
    action = servers.new_action(action_id, context, server, asked.begins, now, given)
    servers.begin(conn, server, asked.begins, action, boots=wanted.boots, guest_generation=wanted.generation, **more)
    return action


async def reclaim(cloud: Cloud) -> int:
    """Delete soft-deleted servers whose time is over, some of them; return how many."""
    now = cloud.clock.now()
    found = await cloud.db.read(partial(rows.due, now=now, most=AT_ONCE))
    for server_id in found:
        nobody = Context(request_id=f"req-{cloud.new_id()}", roles=frozenset({"admin"}))
        try:
            await servers.delete(cloud, nobody, server_id, overdue=now)
        except NotFound:
            continue  # another conductor was quicker
    return len(found)
