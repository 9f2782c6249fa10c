"""How the delete of a server begins: its ports leave their hosts, and it is noted where its guest has to be ended."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial

import msgspec

from floe.cloud import server_ports
from floe.cloud.own_actions import Begun, Leases
from floe.core.actions import RUNNING, Action, Step
from floe.core.entries import BEGUN, DONE
from floe.store import actions, holdings, ports
from floe.store.engine import Connection
from floe.store.foresight import foresee

BEGIN, DESTROY = "begin", "destroy"
"""The first steps of the workflow `delete`."""


class Target(msgspec.Struct, frozen=True):
    """A host to destroy the guest on, and the generation of its network without the server's ports."""

    host: str
    generation: int


class Targets(msgspec.Struct, frozen=True):
    """Where the guest may be."""

    guest_name: str
    ports: tuple[str, ...] = ()
    hosts: tuple[Target, ...] = ()


def unplug(conn: Connection, server_id: str, now: datetime) -> Targets:
    """Take a server's ports off their hosts, ahead of the commands that end its guest there."""
    foresee(
        conn,
        partial(holdings.whereabouts, server_id=server_id),
        partial(ports.of_server, server_id=server_id),
    )
    name, hosts = holdings.whereabouts(conn, server_id) or ("", set())
    if not hosts:
        return Targets("")
    unplugged = server_ports.unplug(conn, server_id, now)
    found = tuple(Target(host, unplugged.generations.get(host, 0)) for host in sorted(hosts))
    return Targets(name, unplugged.ports, found)


def begin(conn: Connection, action: Action, leases: Leases | None, now: datetime) -> Begun | None:
    """Insert a delete; where this process has a conductor, with its lease and its first step done.

    None where that is left to whichever conductor takes it up, and of a server that no host ever had.
    """
    targets = Targets("") if leases is None else unplug(conn, action.subject_id, now)
    if leases is None or not targets.hosts:
        actions.add(conn, action)
        return None
    until = now + timedelta(seconds=leases.lease)
    held = replace(
        action, state=RUNNING, lease_owner=leases.owner, lease_until=until, attempts=1, writes=1, updated_at=now
    )
    host, output = targets.hosts[0].host, msgspec.to_builtins(targets)
    done = Step(
        action_id=action.id,
        seq=1,
        name=BEGIN,
        state=DONE,
        host=host,
        output=output,
        started_at=now,
        finished_at=now,
    )
    next_ = Step(action_id=action.id, seq=2, name=DESTROY, state=BEGUN, host=host, started_at=now)
    actions.add(conn, held)
    actions.write_steps(conn, [done, next_])
    return Begun(action=held, steps=(done, next_), known={Targets: targets})
