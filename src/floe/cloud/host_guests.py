"""Guests that hosts have, against the rows: power states to take over, and guests that should not be there."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from floe.cloud.cloud import Cloud
from floe.core import entries, server_states
from floe.core.actions import DELETE
from floe.core.guests import PowerState, guest_name
from floe.core.messages import Destroy, StepTime
from floe.store import actions, guests, holdings, servers
from floe.store.engine import Connection
from floe.store.guests import Expected

log = logging.getLogger(__name__)

_STILL = "host {host} still had the guest of this server; it was destroyed there"


@dataclass(frozen=True, slots=True)
class Stray:
    """A guest that beyond doubt should not be on a host; `final` when its server is gone for good.

    It was `seen` there, or may be there because nobody could be asked.
    """

    server_id: str
    guest_name: str
    action_id: str
    final: bool
    seen: bool = True


def settled(row: Expected) -> bool:
    """Whether nothing is being done with the server, so that what its host says is what it is."""
    return server_states.settled(row.vm_state, row.task_state)


def differs(row: Expected, states: Mapping[str, PowerState]) -> bool:
    """Whether a row says otherwise than its host; a guest that is not among `states` is not there."""
    state = states.get(row.server_id, server_states.ABSENT)
    return not server_states.agrees(row.vm_state, row.power_state, state)


def look_again(row: Expected, states: Mapping[str, PowerState]) -> bool:
    """Whether a guest is not what its row says, and what is being done with the server may not tell of it."""
    state = states.get(row.server_id)
    return server_states.died_while_built(row.vm_state, state) or server_states.differs_meanwhile(
        row.vm_state, row.task_state, row.power_state, state or server_states.ABSENT
    )


async def take_over(cloud: Cloud, changed: Sequence[Expected], states: Mapping[str, PowerState]) -> list[str]:
    """Write the power states that a host tells, but for servers to which something happened since; return whose."""
    now = cloud.clock.now()
    written = await cloud.db.write(lambda conn: _write_states(conn, changed, states, now))
    for row in written:
        if row.server_id not in states:
            log.warning("the guest of server %s is no longer on host %s", row.server_id, row.host)
    return [row.server_id for row in written]


def _write_states(
    conn: Connection, changed: Sequence[Expected], states: Mapping[str, PowerState], now: datetime
) -> list[Expected]:
    written = []
    latest = guests.named(conn, [row.server_id for row in changed])
    for row in changed:
        if latest.get(row.server_id) != row:
            continue
        state = states.get(row.server_id, server_states.ABSENT)
        vm_state = server_states.follow(row.vm_state, state)
        servers.change(conn, row.server_id, vm_state=vm_state, power_state=int(state), updated_at=now)
        written.append(row)
    return written


def strays(conn: Connection, host: str, row: Expected) -> list[Stray]:
    """Decide whether a guest found on a host should not be there, and be careful: a host may have been renamed.

    Beyond doubt is what belongs to a deleted server, or to one that was begun on this very host and is elsewhere, or
    in ERROR, now.
    """
    touched = holdings.find(conn, row.server_id)
    if row.deleted:
        latest = actions.find(conn, row.server_id, kind=DELETE.kind, limit=1) or actions.find(
            conn, row.server_id, limit=1
        )
        action_id = latest[0].id if latest else row.server_id
        return [Stray(row.server_id, row.guest_name, action_id, final=True)]
    if row.host != host and host in touched:
        return [Stray(row.server_id, row.guest_name, touched[host], final=False)]
    log.warning(
        "host %s has the guest of server %s, which belongs on %s; it is left alone", host, row.server_id, row.host
    )
    return []


def owed(conn: Connection, host: str) -> list[Stray]:
    """Return what may be on a host of servers that are gone or elsewhere: when it was to go, the host was not there."""
    return [
        Stray(item.server_id, guest_name(item.number), item.action_id, final=item.deleted, seen=False)
        for item in holdings.owed(conn, host)
    ]


def destroy(stray: Stray) -> Destroy:
    """Return what the host is told."""
    return Destroy(action_id=stray.action_id, server_id=stray.server_id, guest_name=stray.guest_name, final=stray.final)


def destroyed(
    conn: Connection, host: str, stray: Stray, steps: Sequence[StepTime], now: datetime, *, text: str = _STILL
) -> None:
    """Note that nothing is left of a guest on a host, and tell of it in its server's history if there was something."""
    holdings.delete(conn, stray.server_id, host, None if stray.final else stray.action_id)
    if stray.seen or steps:
        told = text.format(host=host)
        actions.note(conn, entries.recovery(stray.action_id, 0, told, now, host=host))
