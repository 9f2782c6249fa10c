"""Guests that hosts have, against the rows: power states to take over, and guests that should not be there."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import msgspec

from floe.cloud.cloud import Cloud
from floe.core import entries, server_states
from floe.core.actions import DELETE
from floe.core.errors import HostFailure, Unavailable
from floe.core.guests import PowerState, guest_name
from floe.core.messages import Destroy, Guests, ListGuests
from floe.core.servers import BUILDING
from floe.core.step_times import StepTime
from floe.store import actions, allocations, guests, holdings, servers
from floe.store.engine import Connection
from floe.store.guests import Expected

log = logging.getLogger(__name__)

LIST_SECONDS = 30.0
"""How long a host has to say what it has."""
_STILL = "host {host} still had the guest of this server; it was destroyed there"


class Stray(msgspec.Struct, frozen=True):
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


def strays(conn: Connection, host: str, row: Expected, *, at_home: bool = False) -> list[Stray]:
    """Decide whether a guest found on a host should not be there, and be careful: a host may have been renamed.

    What a server was before it moved is where it should be. Beyond doubt is what belongs to a deleted server, or to one
    that is elsewhere now, and of which something may be left on this very host. What was begun here, and of which
    nothing should be left, a loss of power may have brought back: it goes where nothing can be lost with it, since the
    server is `at_home`, or was never built.
    """
    if row.deleted:
        latest = actions.find(conn, row.server_id, kind=DELETE.kind, limit=1) or actions.find(
            conn, row.server_id, limit=1
        )
        action_id = latest[0].id if latest else row.server_id
        return [Stray(row.server_id, row.guest_name, action_id, final=True)]
    if row.host == host or allocations.is_half(conn, row.server_id, host):
        return []
    begun = None
    if host in holdings.find(conn, row.server_id):
        begun = holdings.left(conn, row.server_id, host)
    elif at_home or row.host is None or row.vm_state == BUILDING:
        begun = holdings.begun(conn, row.server_id, host)
    return [] if begun is None else [Stray(row.server_id, row.guest_name, begun, final=False)]


async def strays_in_doubt(cloud: Cloud, host: str, doubtful: Collection[Expected]) -> tuple[list[Stray], set[str]]:
    """Ask the hosts that servers are on, and decide about what another host has of them too.

    Return which guests should not be there beyond doubt, and the hosts that could not be asked. A server is at home
    where its own host says that it has its guest, or its files: then that host was not renamed.
    """
    at_home, silent = set[str](), set[str]()
    for home in sorted({row.host for row in doubtful if row.host is not None}):
        try:
            answer = await cloud.bus.request(home, ListGuests(), timeout=LIST_SECONDS)
        except (HostFailure, Unavailable):
            silent.add(home)
            continue
        if isinstance(answer, Guests):
            there = {guest.server_id for guest in answer.guests} | set(answer.files)
            at_home |= {row.server_id for row in doubtful if row.host == home and row.server_id in there}
    homes = {row.server_id: row.host for row in doubtful}

    def decide(conn: Connection) -> dict[Expected, list[Stray]]:
        rows = [row for row in guests.named(conn, sorted(homes)).values() if row.host == homes[row.server_id]]
        return {row: strays(conn, host, row, at_home=row.server_id in at_home) for row in rows}

    decided = await cloud.db.read(decide)
    for row in (row for row, found in decided.items() if not found):
        log.warning(
            "host %s has something of server %s, which belongs on %s; it is left alone", host, row.server_id, row.host
        )
    return [stray for found in decided.values() for stray in found], silent


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
