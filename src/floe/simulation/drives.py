"""Hosts with fast drives: aggregates that operators change all the time, and a flavor that asks for them.

Where its server may come to is decided by what is so when it is claimed; what changes later moves no server.
"""

from __future__ import annotations

from typing import Any

from floe.cloud import aggregates
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.aggregates import SCOPE, Aggregate, demands, fitting
from floe.core.context import Context
from floe.core.hosts import FORMER
from floe.core.listing import Listing
from floe.core.servers import ServerFlavor
from floe.store import aggregates as rows
from floe.store import hosts
from floe.store.allocations import allocations
from floe.store.engine import Connection
from floe.store.servers import servers

FAST = ServerFlavor(
    flavor_id="fast", name="m1.fast", vcpus=1, memory_mib=512, root_gib=1, extra_specs={f"{SCOPE}drives": "fast"}
)
SHELVES = ("left", "right")
"""The aggregates. At first the left one has fast drives, and every other host."""
Places = frozenset[tuple[str, str]]
"""The hosts that servers have a place on which ask for fast drives."""

_PLACED = (
    servers.join(allocations, allocations.c.server_id == servers.c.id)
    .select()
    .with_only_columns(servers.c.id, allocations.c.host, allocations.c.purpose, servers.c.flavor_id, servers.c.former)
    .where((servers.c.flavor_id == FAST.flavor_id) | servers.c.former.is_not(None), servers.c.deleted_at.is_(None))
)


async def change(cloud: Cloud, operator: Context, args: dict[str, Any]) -> None:
    """Move a host to the other shelf, or move the drives of both to the other shelf; first of all, put shelves up."""
    left, right = await _shelves(cloud, operator)
    names = await cloud.db.read(lambda conn: [host.name for host in hosts.every(conn)])
    if args["drives"]:
        for shelf in (left, right):
            # Whoever put it up may have died before it was said what is on it.
            speed = "slow" if shelf.items.get("drives") == "fast" else "fast"
            await aggregates.set_metadata(cloud, operator, str(shelf.id), {"metadata": {"drives": speed}})
    elif names:
        host = {"host": names[args["pick"] % len(names)]}
        source, target = (left, right) if host["host"] in left.hosts else (right, left)
        await aggregates.add_host(cloud, operator, str(target.id), host)
        if host["host"] in source.hosts:
            await aggregates.remove_host(cloud, operator, str(source.id), host)


async def _shelves(cloud: Cloud, operator: Context) -> tuple[Aggregate, Aggregate]:
    known = {each.name: each for each in await aggregates.find(cloud, operator, Listing())}
    for number, name in enumerate(SHELVES):
        if name not in known:
            (made,) = await aggregates.create(cloud, operator, [{"name": name}])
            speed = {"metadata": {"drives": ("fast", "slow")[number]}}
            known[name] = await aggregates.set_metadata(cloud, operator, str(made.id), speed)
            for host in (await cloud.db.read(hosts.every))[number::2]:
                known[name] = await aggregates.add_host(cloud, operator, str(made.id), {"host": host.name})
    return known[SHELVES[0]], known[SHELVES[1]]


def places(conn: Connection) -> Places:
    """Return where the servers have a place; one that was resized may be what it was again, where that was.

    Until something is claimed for what it is to be, what it has is the place of what it was.
    """
    found = conn.execute(_PLACED).all()
    halved = {row.id for row in found if row.purpose == FORMER}
    return frozenset(
        (row.id, row.host)
        for row in found
        for was in (row.former is not None and (row.purpose == FORMER or row.id not in halved),)
        if FAST.flavor_id == (row.former.flavor.flavor_id if was else row.flavor_id)
    )


def misplaced(conn: Connection, came: Places) -> list[Violation]:
    """Return which of these, that the transaction before this look has put there, it should not have."""
    fast = fitting(rows.described(conn), demands(FAST.extra_specs))
    return [
        Violation("a server came to a host that its flavor does not allow", server_id, name)
        for server_id, name in sorted(came)
        for host in (hosts.get(conn, name),)
        if host is None or any(having.isdisjoint(host.aggregates) for having in fast.values())
    ]
