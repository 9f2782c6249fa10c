"""Hosts are read in portions: a list has each of them once, in order, and none of it is begun anew in a thread."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from floe.cloud import hosts as cloud_hosts
from floe.cloud import network_agents
from floe.cloud.cloud import Cloud
from floe.cloud.hosts import Wanted
from floe.core.counters import Counters
from floe.core.hosts import Host
from floe.core.resources import Inventory
from floe.store import hosts
from floe.store.engine import Connection, Database
from floe.store.readers import MOVED
from floe.store.schema import create_all

pytestmark = pytest.mark.sqlite("on the event loop reads nobody but SQLite")

MANY = 1300
NAMES = [f"h{number}" for number in range(MANY)]


@pytest.fixture
async def crowd(compute_cloud: Cloud, tmp_path: Path) -> AsyncIterator[Cloud]:
    """Give a cloud with many hosts, and see to it that no read of them went to a thread."""
    counters = Counters()
    db = Database(tmp_path / "crowd.db", counters=counters)
    db.open()
    cloud, now = replace(compute_cloud, db=db), compute_cloud.clock.now()

    def write(conn: Connection) -> None:
        for name in NAMES:
            host = Host(
                name=name,
                inventories=(Inventory(resource_class="VCPU", total=8, allocation_ratio=1.5),),
                traits=("B", "A"),
                cpu_info={"arch": "x86_64"},
                created_at=now,
                updated_at=now,
                started_at=now,
                last_seen=now,
            )
            hosts.put(conn, host)

    await db.write(create_all)
    await db.write(write)
    yield cloud
    db.close()
    assert counters.total(MOVED) == 0


@pytest.mark.parametrize("limit", [0, 1, 399, 400, 401, 800, 1200, MANY, MANY + 1, None])
async def test_a_list_of_any_length_has_each_host_once_and_in_order(crowd: Cloud, limit: int | None) -> None:
    found = await cloud_hosts.listed(crowd, Wanted(limit=limit))
    assert [each.host.name for each in found] == NAMES[:limit]


async def test_a_list_goes_on_behind_a_host_and_finds_parts_of_names_in_every_portion(crowd: Cloud) -> None:
    after = (await cloud_hosts.named(crowd, "h700")).host.number
    assert [each.host.name for each in await cloud_hosts.listed(crowd, Wanted(after=after))] == NAMES[701:]
    found = await cloud_hosts.listed(crowd, Wanted(part="99", limit=9))
    assert [each.host.name for each in found] == [name for name in NAMES if "99" in name][:9]


async def test_what_hosts_have_alike_is_each_ones_own(crowd: Cloud) -> None:
    """What is taken apart once for all of them: nobody can change it for another."""
    await crowd.db.write(
        lambda conn: conn.execute(hosts.hosts.update().where(hosts.hosts.c.name == "h1").values(traits=["C"]))
    )
    found = {each.host.name: each.host for each in await cloud_hosts.listed(crowd)}
    assert (found["h0"].traits, found["h1"].traits) == (("A", "B"), ("C",))
    assert found["h0"].inventories == (Inventory(resource_class="VCPU", total=8, allocation_ratio=1.5),)
    with pytest.raises(TypeError):
        found["h0"].cpu_info["arch"] = "another"  # type: ignore[index]  # that is what is tried


async def test_the_network_agents_of_many_hosts_are_three_each(crowd: Cloud) -> None:
    agents = await network_agents.find(crowd)
    assert [agent.host.name for agent in agents[::3]] == NAMES
    assert len({agent.id for agent in agents}) == 3 * MANY
