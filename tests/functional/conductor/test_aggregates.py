"""Servers go to hosts of the zone and the aggregates that are asked for, whatever a conductor believes of hosts."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa

from floe.cloud import aggregates
from floe.conductor.choices import Choices
from floe.core.context import Context
from floe.core.guest_metadata import describe, fingerprint
from floe.core.messages import Spawn, UpdateMetadata
from floe.core.servers import ServerFlavor
from floe.store import hosts

ROOT = Context(request_id="", roles=frozenset({"admin"}))


async def make(site: Any, name: str, *there: str, zone: str | None = None, **items: str) -> str:
    """Make an aggregate as an operator does."""
    (made,) = await aggregates.create(site.cloud, ROOT, [{"name": name, "zone": zone}])
    ident = str(made.id)
    await aggregates.set_metadata(site.cloud, ROOT, ident, {"metadata": items})
    for host in there:
        await aggregates.add_host(site.cloud, ROOT, ident, {"host": host})
    return ident


def asking(**items: str) -> ServerFlavor:
    specs = {f"aggregate_instance_extra_specs:{key}": value for key, value in items.items()}
    return ServerFlavor(flavor_id="1", name="m1", vcpus=1, memory_mib=64, root_gib=1, extra_specs=specs)


async def test_a_server_goes_to_the_zone_that_an_aggregate_makes(site: Any) -> None:
    await site.add_host("h1")
    west = await site.add_host("h2")
    await make(site, "a", "h2", zone="west")
    made = [await site.post(requested_zone="west", memory_mib=64) for _ in range(3)]
    await site.settle()
    assert {site.server(each.id).host for each in made} == {"h2"}
    assert {spawn.guest.metadata.availability_zone for spawn in west.sent(Spawn)} == {"west"}


async def test_a_server_of_no_zone_is_told_the_one_it_got_into(site: Any) -> None:
    """The conductor read the host when it was in another zone."""
    host = await site.add_host("h1")
    await make(site, "a", "h1", zone="west")
    assert site.conductor.fleet.table.code("west") == -1
    server = await site.post()
    await site.settle()
    assert site.server(server.id).vm_state == "active"
    (spawn,) = host.sent(Spawn)
    assert spawn.guest.metadata.availability_zone == "west"


async def test_a_host_that_left_the_zone_is_not_claimed(site: Any) -> None:
    await site.add_host("h1")
    await site.add_host("h2")
    ident = await make(site, "a", "h1", "h2", zone="west")
    await site.conductor.fleet.refresh()
    await aggregates.remove_host(site.cloud, ROOT, ident, {"host": "h1"})
    made = [await site.post(requested_zone="west", memory_mib=64) for _ in range(4)]
    await site.settle()
    assert {site.server(each.id).host for each in made} == {"h2"}


async def test_a_host_that_left_the_zone_after_it_was_chosen_is_not_claimed_though_the_table_knows(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.add_host("h1")
    ident = await make(site, "a", "h1", zone="west")
    await site.add_host("h2")
    await site.conductor.fleet.refresh()
    choose = Choices.choose

    async def chosen(self: Choices, flow: Any, excluded: Any, moves: Any) -> Any:
        """Have the host leave, and the table say so, between the choice and the claim; then come back."""
        choice = await choose(self, flow, excluded, moves)
        if not moved:
            moved.append(choice.selection.host)
            await aggregates.add_host(site.cloud, ROOT, ident, {"host": "h2"})
            await aggregates.remove_host(site.cloud, ROOT, ident, {"host": "h1"})
            await site.conductor.fleet.refresh()
        return choice

    moved = list[str]()
    monkeypatch.setattr(Choices, "choose", chosen)
    made = await site.post(requested_zone="west", memory_mib=64)
    await site.settle()
    assert (moved, site.server(made.id).host) == (["h1"], "h2")


async def test_a_change_that_was_read_over_is_found_at_the_claim(site: Any) -> None:
    """Its time is before that of what was read last: it was committed later."""
    await site.add_host("h1")
    await site.conductor.fleet.refresh()
    await make(site, "a", "h1", zone="west")
    early = site.cloud.clock.now().replace(year=2000)
    await site.cloud.db.write(lambda conn: conn.execute(hosts.hosts.update().values(updated_at=early)) and None)
    await site.conductor.fleet.refresh()
    assert site.conductor.fleet.table.code("west") == -1
    server = await site.post()
    await site.settle()
    assert site.server(server.id).vm_state == "active"


async def test_a_flavor_chooses_the_aggregates(site: Any) -> None:
    await site.add_host("h1")
    await site.add_host("h2")
    await make(site, "fast", "h1", ssd="true", generation="3")
    await make(site, "slow", "h2", ssd="false")
    fast = await site.post(flavor=asking(ssd="true", generation=">= 2"))
    none = await site.post(flavor=asking(ssd="true", generation=">= 4"))
    await site.settle()
    assert site.server(fast.id).host == "h1"
    failed = site.server(none.id)
    assert failed.vm_state == "error"
    assert failed.fault.message == (
        "No valid host: 2 hosts considered; 2 are in no aggregate with generation=>= 4, ssd=true."
    )
    assert failed.fault.details == (
        "h1: it is in no aggregate with generation=>= 4\nh2: it is in no aggregate with generation=>= 4, ssd=true"
    )


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """All statements that SQLite is given."""
    given = list[str]()

    def watch(connection: Any, _record: Any) -> None:
        connection.set_trace_callback(given.append)

    sa.event.listen(sa.Engine, "connect", watch)
    yield given
    sa.event.remove(sa.Engine, "connect", watch)


@pytest.mark.once
@pytest.mark.sqlite("it counts statements by SQLite's trace")
@pytest.mark.parametrize("together", [1, 2])
async def test_a_decision_reads_metadata_only_where_any_changed(
    statements: list[str], site: Any, together: int
) -> None:
    """Of five hundred aggregates it may be megabytes."""
    await site.add_host("h1")
    await site.add_host("h2")
    fast = await make(site, "fast", "h1", ssd="true")
    slow = await make(site, "slow", "h2", ssd="no")
    flavor = asking(ssd="true")

    async def placed() -> tuple[set[str | None], int]:
        """Have servers made, and count the reads of aggregates."""
        statements.clear()
        made = (
            await site.post_together(together, together, flavor=flavor)
            if together > 1
            else [await site.post(flavor=flavor)]
        )
        await site.settle()
        reads = [text for text in statements if "FROM aggregates" in text]
        return {site.server(each.id).host for each in made}, len(reads)

    assert await placed() == ({"h1"}, 1)
    assert await placed() == ({"h1"}, 0)
    await aggregates.update(site.cloud, ROOT, fast, {"name": "faster"})
    assert await placed() == ({"h1"}, 0)
    await aggregates.set_metadata(site.cloud, ROOT, fast, {"metadata": {"ssd": "no"}})
    await aggregates.set_metadata(site.cloud, ROOT, slow, {"metadata": {"ssd": "true"}})
    assert await placed() == ({"h2"}, 1)
    assert await placed() == ({"h2"}, 0)


async def test_servers_of_one_request_go_to_the_aggregates_too(site: Any) -> None:
    await site.add_host("h1")
    await site.add_host("h2")
    await make(site, "fast", "h2", zone="west", ssd="true")
    made = await site.post_together(2, 3, flavor=asking(ssd="true"))
    await site.settle()
    assert {site.server(each.id).host for each in made} == {"h2"}


@pytest.mark.parametrize("zone", [None, "west"])
async def test_a_host_that_comes_back_keeps_its_aggregates(site: Any, zone: str | None) -> None:
    host = await site.add_host("h1")
    ident = await make(site, "a", "h1", zone=zone)
    await site.take_down(host)
    await site.announce(host)
    row = site.cloud.db.read_now(lambda conn: hosts.get(conn, "h1"))
    assert (row.aggregates, row.zone) == ((int(ident),), zone or "nova")
    assert site.conductor.fleet.table.aggregates(0) == (int(ident),)


async def test_a_guest_is_not_told_another_zone_when_its_host_comes_back(site: Any) -> None:
    host = await site.add_host("h1")
    await make(site, "a", "h1", zone="west")
    server = await site.post()
    await site.settle()
    told = host.sent(Spawn)[0].guest.metadata
    assert told.availability_zone == "west"
    for zone, repeated in (("west", 0), ("nova", 1)):
        host.told = {server.id: fingerprint(describe(site.server(server.id), zone))}
        await site.take_down(host)
        await site.cloud.bus.serve(host.name, host.handle)
        await site.announce(host)
        assert len(host.sent(UpdateMetadata)) == repeated
    assert host.sent(UpdateMetadata)[0].metadata.availability_zone == "west"
