"""What users ask of a server's guest: that it starts, stops, reboots, stands still, goes on."""

from __future__ import annotations

from datetime import datetime

from floe.cloud import servers
from floe.cloud.cloud import Cloud
from floe.core.actions import ATTACH_INTERFACE, CANCELLED, DETACH_INTERFACE, Action
from floe.core.context import Context
from floe.core.errors import Conflict
from floe.core.given import PowerGiven
from floe.core.guest_actions import BY_KIND, OnGuest
from floe.core.power import Power
from floe.core.servers import Server
from floe.store import actions
from floe.store.engine import Connection

MOST_PATIENCE = 600.0
"""Seconds that a guest has at most to shut down by itself, whatever its image says."""


async def change(cloud: Cloud, context: Context, server_id: str, asked: OnGuest) -> None:
    """Have a server's guest be what is asked: noted here, done by a conductor.

    Raises NotFound, and Conflict for a server that is locked, or whose state does not allow it; also for one that
    leaves no mark in the row while another of its kind is under way, which on a host that is down may be for a day.
    """
    now, action_id, default = cloud.clock.now(), cloud.new_id(), cloud.settings.shutdown_timeout

    def begin(conn: Connection) -> Action:
        server = servers.changeable(conn, context, server_id)
        if server.vm_state in asked.allowed:
            check_free(server, asked.kind, asked.overtakes)
            if asked.interrupts and actions.find(conn, server_id, is_open=True, kind=asked.kind, limit=1):
                raise Conflict(
                    f"Cannot '{asked.kind}' instance {server_id} while an earlier '{asked.kind}' of it is under way"
                )
            if asked.power is Power.SUSPENDED:
                check_nics(conn, server_id, asked.kind)
            if server.task_state is not None:
                give_up(conn, server_id, now)
        wanted = asked.wanted(server, now)
        allowed = patience(server, default) if asked.gently else 0.0
        given = PowerGiven(host=server.host or "", wanted=wanted, patience=allowed)
        action = servers.new_action(action_id, context, server, asked.begins, now, given)
        told = {"boots": wanted.boots, "guest_generation": wanted.generation}
        servers.begin(conn, server, asked.begins, action, **told)
        return action

    await cloud.hand_over(await cloud.db.write(begin))


def patience(server: Server, default: float) -> float:
    """Return for how many seconds a guest may shut down by itself: its image may say."""
    said = server.image_properties.get("os_shutdown_timeout", "")
    return min(float(said), MOST_PATIENCE) if said.isdecimal() else default


def give_up(conn: Connection, server_id: str, now: datetime) -> None:
    """Give up the changes of a guest's power that are under way.

    What is being done with its NICs goes on: nobody else would finish it.
    """
    for action in actions.find(conn, server_id, is_open=True):
        if action.kind in BY_KIND:
            actions.close(conn, action.id, CANCELLED, None, now)


def check_nics(conn: Connection, server_id: str, kind: str) -> None:
    """Raise Conflict while a NIC is given or taken.

    The memory of a suspended guest is kept with the NICs it has, and one that is rebuilt is told of all at once.
    """
    for other in (ATTACH_INTERFACE.kind, DETACH_INTERFACE.kind):
        if actions.find(conn, server_id, is_open=True, kind=other, limit=1):
            raise Conflict(f"Cannot '{kind}' instance {server_id} while '{other}' of it is under way")


def check_free(server: Server, kind: str, overtakes: frozenset[str] = frozenset()) -> None:
    """Raise Conflict for a server that is busy, but for what is overtaken, and for one that was never built."""
    if server.task_state is not None and server.task_state not in overtakes:
        raise Conflict(f"Cannot '{kind}' instance {server.id} while it is in task_state {server.task_state}")
    if server.host is None or server.launched_at is None:
        raise Conflict(
            f"Instance {server.id} is in an invalid state for '{kind}': it was never built, so there is no guest."
        )
