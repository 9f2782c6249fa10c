"""The first choice of host is full when the claim arrives: the alternate is taken, and nobody notices."""

from __future__ import annotations

from typing import Any

from floe.core.hosts import Allocation
from floe.core.resources import Resources
from floe.store import allocations, hosts
from floe.store.engine import Connection


async def test_a_host_filled_by_somebody_else_meanwhile_costs_no_server(start: Any, kit: Any) -> None:
    user = await start(hosts=2)
    db, clock = user.cloud.node.cloud.db, user.cloud.node.cloud.clock

    def fill(conn: Connection) -> None:
        host = hosts.get(conn, "fake-1")
        assert host is not None
        everything = Resources(0, host.inventory("MEMORY_MB").capacity, 0)
        wanted = Allocation(
            server_id="s" * 32,
            host="fake-1",
            project_id="p" * 32,
            user_id="u" * 32,
            resources=everything,
            created_at=clock.now(),
        )
        allocations.claim(conn, wanted)

    await db.write(fill)
    table = user.cloud.node.conductor.fleet.table
    row = table.row("fake-1")
    made = [await user.built(name=f"s{number}") for number in range(4)]
    assert row is not None
    guests = user.cloud.node.fake_hosts
    assert set(guests["fake-2"].guests) == set(made), "an empty host weighs more, so each wanted the full one first"
    assert guests["fake-1"].guests == {}
