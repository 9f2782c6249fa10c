"""What a host reports each minute: compared when it or the rows are new, and taken as read when neither is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any

import pytest
import sqlalchemy as sa
from msgspec.structs import replace

from floe.conductor.reports import NEW, REPORTS, SAME
from floe.core.guest_metadata import describe, fingerprint
from floe.core.guests import GuestState, PowerState
from floe.core.ids import random_id
from floe.core.messages import Destroy, Failed, HostDown, HostUp, ListGuests, UpdateMetadata
from floe.core.resources import Inventory
from floe.store import group_members, host_networks, host_stamps, hosts, servers
from floe.store.engine import Connection

HOUR = 3600.0
SECOND = timedelta(seconds=1)
WORDS = (NEW, SAME)


class Quiet:
    """A host with one server, whose report was found in order an hour ago."""

    def __init__(self, site: Any, host: Any, server: Any, report: HostUp) -> None:
        self.site, self.host, self.server, self.report = site, host, server, report

    async def says(self, report: HostUp | None = None) -> str:
        """Let the host report; return what it was counted as."""
        counters = self.site.cloud.counters
        before = {word: counters.total(REPORTS, word) for word in WORDS}
        await self.site.conductor.events.take(report or self.report)
        await self.site.settle()
        (counted,) = [word for word in WORDS if counters.total(REPORTS, word) > before[word]]
        return counted

    async def change(self, **values: Any) -> None:
        await self.site.cloud.db.write(lambda conn: servers.change(conn, self.server.id, **values))


@pytest.fixture
async def quiet(site: Any) -> AsyncIterator[Quiet]:
    host = await site.add_host("h1")
    server = await site.post()
    await site.settle()
    server = site.server(server.id)
    site.cloud.clock.advance(HOUR)
    wanted = await site.cloud.db.write(lambda conn: host_networks.advance(conn, "h1", site.cloud.clock.now()))
    report = replace(
        host.up(),
        network_generation=wanted,
        network_newest=wanted,
        told={server.id: fingerprint(describe(server, "nova"))},
    )
    made = Quiet(site, host, server, report)
    await made.says()
    assert await made.says() == SAME, "or none of these tests says anything"
    yield made


async def test_a_report_that_says_the_same_over_the_same_rows_is_not_compared_again(quiet: Quiet) -> None:
    quiet.host.commands.clear()
    commits = quiet.site.cloud.db.commits
    assert [await quiet.says() for _ in range(20)] == [SAME] * 20
    await quiet.site.conductor.sweeps.slow()
    await quiet.site.conductor.sweeps.slow()
    assert (quiet.site.cloud.db.commits, quiet.host.commands) == (commits, [ListGuests()]), "the second round asks"


OTHERWISE: dict[str, Any] = {
    "hypervisor_type": "QEMU",
    "hypervisor_version": 2,
    "inventories": (Inventory(resource_class="VCPU", total=9),),
    "traits": (),
    "cpu_info": {"arch": "aarch64"},
    "address": "127.0.0.2",
    "availability_zone": "zone-2",
    "guests": (GuestState(server_id=random_id(), power_state=PowerState.RUNNING),),
    "files": (random_id(),),
    "network_generation": 77,
    "network_newest": 78,
    "members_at": 5,
    "members_newest": 6,
    "told": {random_id(): "0" * 16},
}


@pytest.mark.parametrize("field", [name for name in HostUp.__struct_fields__ if name != "host"])
async def test_a_report_that_differs_in_anything_is_compared(quiet: Quiet, field: str) -> None:
    assert await quiet.says(replace(quiet.report, **{field: OTHERWISE[field]})) == NEW


def _another(conn: Connection, server: Any) -> None:
    servers.add(conn, replace(server, id=random_id()))


ROWS: dict[str, Callable[[Connection, Any], Any]] = {
    "its zone": lambda conn, _: conn.execute(hosts.hosts.update().values(availability_zone="z")),
    "its inventories": lambda conn, _: conn.execute(hosts.hosts.update().values(inventories=[])),
    "that it is there": lambda conn, _: conn.execute(hosts.hosts.update().values(connected=False)),
    "its row": lambda conn, _: hosts.remove(conn, "h1"),
    "the generation it should be at": lambda conn, _: host_networks.want(conn, ["h1"]),
    "the members it should know": lambda conn, _: conn.execute(host_networks.host_networks.update().values(members=9)),
    "a server's power": lambda conn, server: servers.change(conn, server.id, power_state=int(PowerState.SHUTDOWN)),
    "a server's state": lambda conn, server: servers.change(conn, server.id, vm_state="stopped"),
    "a server's task": lambda conn, server: servers.change(conn, server.id, task_state="deleting"),
    "that a server changed": lambda conn, server: servers.change(
        conn, server.id, updated_at=server.created_at + SECOND
    ),
    "where a server is": lambda conn, server: servers.change(conn, server.id, host="h2"),
    "that a server is gone": lambda conn, server: servers.change(conn, server.id, deleted_at=server.created_at),
    "one server more": _another,
}


@pytest.mark.parametrize("changed", ROWS)
async def test_a_report_over_rows_that_changed_is_compared_though_it_says_the_same(quiet: Quiet, changed: str) -> None:
    await quiet.site.cloud.db.write(lambda conn: ROWS[changed](conn, quiet.server))
    assert await quiet.says() == NEW


async def test_changes_of_other_hosts_do_not_have_a_report_compared(quiet: Quiet) -> None:
    other = await quiet.site.add_host("h2")
    await quiet.site.take_down(other)
    await quiet.site.cloud.db.write(lambda conn: host_networks.want(conn, ["h2"]))
    await quiet.site.cloud.db.write(lambda conn: group_members.catch_up(conn, 100))
    assert await quiet.says() == SAME


async def test_a_host_that_was_silent_is_compared_when_it_is_back(quiet: Quiet) -> None:
    quiet.site.conductor.fleet.lost("h1")
    assert await quiet.says() == NEW
    assert quiet.site.conductor.fleet.alive("h1")


async def test_a_row_that_says_otherwise_is_put_right_by_the_next_report_of_a_quiet_host(quiet: Quiet) -> None:
    await quiet.change(vm_state="stopped", power_state=int(PowerState.SHUTDOWN))
    assert await quiet.says() == NEW
    assert quiet.site.server(quiet.server.id).vm_state == "active"


async def test_what_is_not_in_order_is_compared_at_every_report(quiet: Quiet) -> None:
    """A guest of a deleted server, which its host fails to destroy: asked for again and again."""
    gone = random_id()
    await quiet.site.cloud.db.write(
        lambda conn: servers.add(conn, replace(quiet.server, id=gone, deleted_at=quiet.server.created_at))
    )
    guests = (*quiet.report.guests, GuestState(server_id=gone, power_state=PowerState.RUNNING))
    for times in (1, 2, 3):
        quiet.host.destroy_script.append(Failed(kind="host_failure", message="It is stuck.", stage="guest"))
        assert await quiet.says(replace(quiet.report, guests=guests)) == NEW
        assert len(quiet.host.sent(Destroy)) == times


async def test_servers_that_changed_a_moment_ago_are_compared_again(quiet: Quiet) -> None:
    """Two changes of metadata at one moment leave the same time behind."""
    for name in ("one", "two"):
        await quiet.change(metadata={name: ""}, updated_at=quiet.site.cloud.clock.now())
        told = {quiet.server.id: fingerprint(describe(quiet.site.server(quiet.server.id), "nova"))}
        report = replace(quiet.report, told=told)
        assert [await quiet.says(report) for _ in range(3)] == [NEW] * 3
    quiet.site.cloud.clock.advance(15)
    assert [await quiet.says(report) for _ in range(2)] == [NEW, SAME]


async def test_metadata_that_did_not_reach_a_host_is_told_until_it_does(quiet: Quiet) -> None:
    await quiet.change(metadata={"a": "b"}, updated_at=quiet.site.cloud.clock.now())
    for _ in range(5):
        assert await quiet.says() == NEW
        quiet.site.cloud.clock.advance(HOUR)
    assert [dict(command.metadata.metadata) for command in quiet.host.sent(UpdateMetadata)] == [{"a": "b"}] * 5
    told = {quiet.server.id: fingerprint(describe(quiet.site.server(quiet.server.id), "nova"))}
    assert [await quiet.says(replace(quiet.report, told=told)) for _ in range(2)] == [NEW, SAME]


async def test_of_a_thousand_reports_at_once_the_latest_of_each_host_is_taken_in(site: Any) -> None:
    many = [await site.add_host(f"many-{number}") for number in range(20)]
    site.cloud.clock.advance(HOUR)
    for host in many:
        site.conductor.fleet.heard(host.name)
    await asyncio.gather(*(site.conductor.events.take(host.up()) for host in many))
    await site.settle()
    before = site.cloud.counters.total(REPORTS, SAME)
    await asyncio.gather(*(site.conductor.events.take(host.up()) for _ in range(50) for host in many))
    await site.settle()
    assert site.cloud.counters.total(REPORTS, SAME) - before == 20
    for version in range(2, 50):
        for host in many:
            await site.conductor.events.take(replace(host.up(), hypervisor_version=version))
    await site.settle()
    found = site.cloud.db.read_now(hosts.every)
    assert {host.hypervisor_version for host in found} == {49}
    assert len(site.conductor.events._reports._waiting) == 0


async def test_what_says_again_what_was_in_order_waits_for_no_news_of_its_host(quiet: Quiet) -> None:
    """The latest counts, whichever it is; what was said before is not taken in after it."""
    take, report = quiet.site.conductor.events.take, quiet.report
    news = replace(report, hypervisor_version=7)

    def version() -> int:
        return int(quiet.site.cloud.db.read_now(lambda conn: hosts.get(conn, "h1")).hypervisor_version)

    for said, expected in (((report, news), 7), ((news, report), report.hypervisor_version), ((news, news), 7)):
        for event in said:
            await take(event)
        await quiet.site.settle()
        assert version() == expected


async def test_a_host_that_stops_is_not_back_by_what_it_said_before(quiet: Quiet) -> None:
    take = quiet.site.conductor.events.take
    await take(quiet.report)
    await quiet.site.cloud.bus.withdraw("h1")
    await take(HostDown(host="h1"))
    await quiet.site.settle()
    assert not quiet.site.conductor.fleet.alive("h1")
    assert await quiet.says() == NEW
    assert quiet.site.conductor.fleet.alive("h1")


@pytest.mark.parametrize("many", [1, 2, 300])
async def test_hosts_rows_are_told_apart_however_many_are_looked_at_together(site: Any, many: int) -> None:
    await site.add_host("h1")
    server = await site.post()
    await site.settle()
    names = [f"x{number}" for number in range(many - 1)] + ["h1"]

    def look(conn: Connection, heard_of: int = 0) -> Any:
        return host_stamps.stamps(conn, dict.fromkeys(names, heard_of))

    read = site.cloud.db.read_now
    before = read(look)
    assert list(before) == names
    assert before == read(look)
    assert before["h1"].held
    assert [name for name in names if before[name].held] == ["h1"]
    assert len({stamp.digest for stamp in before.values()}) == min(many, 2), "nothing is known of any other"
    alone = read(lambda conn: host_stamps.stamps(conn, {"h1": 0}))
    assert alone["h1"] == before["h1"], "company makes no difference"
    await site.cloud.db.write(lambda conn: servers.change(conn, server.id, power_state=int(PowerState.SHUTDOWN)))
    after = read(look)
    assert [name for name in names if after[name] != before[name]] == ["h1"]
    assert all(stamp != after[name] for name, stamp in read(lambda conn: look(conn, 9)).items())


def test_the_stamp_has_every_column_that_a_host_says_of_itself() -> None:
    said = set(HostUp.__struct_fields__)
    assert set(hosts.SAID) == said & {column.name for column in sa.inspect(hosts.hosts).c}
