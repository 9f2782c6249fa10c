"""Guests that hosts have, against the rows: power states to take over, and guests that should not be there."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from floe.cloud.cloud import Cloud
from floe.core import server_states
from floe.core.guests import PowerState
from floe.store import actions, guests, servers
from floe.store.engine import Connection
from floe.store.guests import Expected

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Stray:
    """A guest that is on a host and beyond doubt should not be; `final` when its server is gone for good."""

    server_id: str
    guest_name: str
    action_id: str
    final: bool


def settled(row: Expected) -> bool:
    """Whether nothing is being done with the server, so that what its host says is what it is."""
    return server_states.settled(row.vm_state, row.task_state)


def differs(row: Expected, states: Mapping[str, PowerState]) -> bool:
    """Whether a row says otherwise than its host; a guest that is not among `states` is not there."""
    state = states.get(row.server_id, server_states.ABSENT)
    return not server_states.agrees(row.vm_state, row.power_state, state)


def write_states(
    conn: Connection, cloud: Cloud, changed: Sequence[Expected], states: Mapping[str, PowerState]
) -> list[str]:
    """Write power states, unless something happened to the server since its row was read; return whose."""
    now, written = cloud.clock.now(), []
    latest = guests.named(conn, [row.server_id for row in changed])
    for row in changed:
        if latest.get(row.server_id) != row:
            continue
        state = states.get(row.server_id, server_states.ABSENT)
        if row.server_id not in states:
            log.warning("the guest of server %s is no longer on host %s", row.server_id, row.host)
        vm_state = server_states.follow(row.vm_state, state)
        servers.change(conn, row.server_id, vm_state=vm_state, power_state=int(state), updated_at=now)
        written.append(row.server_id)
    return written


def strays(conn: Connection, host: str, row: Expected) -> list[Stray]:
    """Decide whether a guest found on a host should not be there, and be careful: a host may have been renamed.

    Beyond doubt is what belongs to a deleted server, or to a build whose journal says that it was tried on
    this very host and that the server is elsewhere, or in ERROR, now.
    """
    touched = actions.hosts_touched(conn, row.server_id, undone=True)
    if row.deleted:
        latest = actions.of_server(conn, row.server_id)
        action_id = latest[0].id if latest else row.server_id
        return [Stray(row.server_id, row.guest_name, action_id, final=True)]
    if row.host != host and host in touched:
        return [Stray(row.server_id, row.guest_name, touched[host], final=False)]
    log.warning(
        "host %s has the guest of server %s, which belongs on %s; it is left alone", host, row.server_id, row.host
    )
    return []
