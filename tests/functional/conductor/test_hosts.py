"""What hosts say, and what becomes of it."""

from __future__ import annotations

import asyncio
import logging
import random
from datetime import timedelta
from typing import Any

import pytest
from msgspec.structs import replace

from floe.cloud import hosts as cloud_hosts
from floe.conductor.conductor import Conductor
from floe.core.guest_metadata import describe, fingerprint
from floe.core.guests import PowerState
from floe.core.host_network import HostNetwork
from floe.core.hosts import Host
from floe.core.messages import (
    ApplyNetwork,
    Destroy,
    GuestChanged,
    Heartbeat,
    HostDown,
    ListGuests,
    Progress,
    Report,
    Spawn,
    Spawned,
    UpdateMetadata,
)
from floe.core.servers import ServerFlavor
from floe.store import actions, group_members, guests, host_networks, hosts, servers

from .conftest import SETTINGS, ScriptedHost, new_server


async def slow_rounds(conductor: Any) -> None:
    """Go through two: the first leaves out the hosts that were compared since the one before."""
    await conductor.sweeps.slow()
    await conductor.sweeps.slow()


async def until(condition: Any) -> None:
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it did not come to pass")


async def built(site: Any, **values: Any) -> Any:
    server = await site.post(**values)
    await site.settle()
    found = site.server(server.id)
    assert found.vm_state == "active"
    return found


async def test_a_guest_that_stops_is_seen_at_once_and_so_is_its_return(site: Any) -> None:
    await site.add_host("h1")
    server = await built(site)
    stopped = GuestChanged(host="h1", server_id=server.id, power_state=PowerState.SHUTDOWN)
    await site.cloud.bus.publish(stopped)
    await until(lambda: site.server(server.id).vm_state == "stopped")
    assert site.server(server.id).power_state is PowerState.SHUTDOWN
    await site.cloud.bus.publish(GuestChanged(host="h1", server_id=server.id, power_state=PowerState.RUNNING))
    await until(lambda: site.server(server.id).vm_state == "active")


async def test_what_another_host_says_of_a_guest_changes_nothing(site: Any) -> None:
    await site.add_host("h1")
    server = await built(site)
    await site.add_host("h2")
    await site.cloud.bus.publish(GuestChanged(host="h2", server_id=server.id, power_state=PowerState.SHUTDOWN))
    await site.cloud.bus.withdraw("h2")
    await site.cloud.bus.publish(HostDown(host="h2"))
    await until(lambda: not site.conductor.fleet.alive("h2"))
    assert site.server(server.id).vm_state == "active"


async def test_a_guest_that_died_while_its_build_ended_is_not_shown_as_running(site: Any) -> None:
    host = await site.add_host("h1")
    gate = asyncio.Event()
    host.script.append(gate)
    server = await site.post()
    await until(lambda: host.sent(Spawn))
    await site.cloud.bus.publish(GuestChanged(host="h1", server_id=server.id, power_state=PowerState.SHUTDOWN))
    await until(lambda: server.id in site.conductor.fleet.power)
    gate.set()
    await site.settle()
    assert site.server(server.id).power_state is PowerState.SHUTDOWN
    await slow_rounds(site.conductor)


async def test_a_guest_that_is_gone_from_its_host_is_found_stopped_and_foreign_ones_are_left(site: Any) -> None:
    host = await site.add_host("h1")
    server = await built(site)
    host.guests = {"somebody-elses": PowerState.RUNNING}
    await slow_rounds(site.conductor)
    assert site.server(server.id).vm_state == "stopped"
    assert "somebody-elses" in host.guests


async def test_a_renamed_host_keeps_its_guests(site: Any) -> None:
    host = await site.add_host("h1")
    server = await built(site)
    await site.take_down(host)
    host.name = "h1-new"
    await site.cloud.bus.serve("h1-new", host.handle)
    await site.announce(host)
    await site.settle()
    assert host.guests == {server.id: PowerState.RUNNING}
    assert host.sent(Destroy) == []
    assert site.server(server.id).vm_state == "active"


async def test_a_guest_left_by_an_abandoned_build_is_removed_when_its_host_returns(site: Any) -> None:
    lost, other = await site.add_host("h1"), await site.add_host("h2", memory_mib=2048)
    gate = asyncio.Event()
    lost.script.append(gate)
    server = await site.post()
    await until(lambda: lost.sent(Spawn))
    await site.take_down(lost)
    await site.settle()
    assert site.server(server.id).host == "h2"
    lost.guests[server.id] = PowerState.RUNNING
    await site.cloud.bus.serve("h1", lost.handle)
    await site.announce(lost)
    await site.settle()
    assert lost.guests == {}
    assert other.guests.keys() == {server.id}
    assert not lost.sent(Destroy)[-1].final


async def test_no_server_goes_to_a_host_that_stopped_or_fell_silent(site: Any) -> None:
    host = await site.add_host("h1")
    await site.take_down(host)
    first = await site.post()
    await site.settle()
    assert site.server(first.id).fault.message == "No valid host: 1 host considered; 1 is down."
    await site.cloud.bus.serve("h1", host.handle)
    await site.cloud.bus.publish(Heartbeat(host="h1"))
    await until(lambda: site.conductor.fleet.alive("h1"))
    await built(site)
    site.cloud.clock.advance(31)
    await site.conductor.sweeps.quick()
    second = await site.post()
    await site.settle()
    assert site.server(second.id).vm_state == "error"


async def test_those_that_fell_silent_are_found_whatever_the_order_in_which_they_were_heard(site: Any) -> None:
    """They are looked for from the longest silent one on, and no further than to the first that is not late."""
    names = [(await site.add_host(f"h{number}")).name for number in range(6)]
    fleet, dice = site.conductor.fleet, random.Random(1)
    heard = dict.fromkeys(names, 0.0)
    for _ in range(300):
        site.cloud.clock.advance(dice.choice((0, 1, 7)))
        if dice.random() < 0.1:
            fleet.lost(dice.choice(names))
        else:
            fleet.heard(name := dice.choice(names))
            heard[name] = site.cloud.clock.monotonic()
        late = site.cloud.clock.monotonic() - fleet.settings.host_down
        assert set(fleet.silent()) == {name for name in names if heard[name] < late and fleet.alive(name)}


async def test_what_an_operator_sets_holds_for_the_next_server(site: Any) -> None:
    await site.add_host("h1")
    await built(site)
    now = site.cloud.clock.now()
    await site.cloud.db.write(lambda conn: hosts.change(conn, "h1", now, enabled=False, disabled_reason="disks"))
    refused = await site.post()
    await site.settle()
    assert site.server(refused.id).fault.message == "No valid host: 1 host considered; 1 is disabled."
    assert site.server(refused.id).fault.details == "h1: it is disabled: disks"
    await site.cloud.db.write(lambda conn: hosts.change(conn, "h1", now, enabled=True))
    await built(site)


@pytest.mark.once
async def test_many_heartbeats_are_one_commit(site: Any) -> None:
    await site.add_host("h1")
    await site.add_host("h2")
    await site.conductor.sweeps.write_seen()
    before = site.cloud.db.commits
    site.cloud.clock.advance(15)
    for _ in range(10):
        await site.cloud.bus.publish(Heartbeat(host="h1"))
        await site.cloud.bus.publish(Heartbeat(host="h2"))
    await until(lambda: len(site.conductor.fleet._unwritten) == 2)
    assert site.cloud.db.commits == before
    await site.conductor.sweeps.write_seen()
    assert site.cloud.db.commits == before + 1
    seen = site.cloud.db.read_now(lambda conn: [host.last_seen for host in hosts.every(conn)])
    assert seen == [site.cloud.clock.now()] * 2


async def test_a_slow_build_can_be_watched_and_a_quick_one_costs_nothing(site: Any) -> None:
    host = await site.add_host("h1")
    gate = asyncio.Event()
    host.script.append(gate)
    server = await site.post()
    await until(lambda: host.sent(Spawn))
    (action,) = site.actions(server.id)

    def parts() -> dict[str, str]:
        journal = site.cloud.db.read_now(lambda conn: actions.journal(conn, action.id))
        return {step.name: step.state for step in journal if step.parent == "spawn"}

    await site.cloud.bus.publish(Progress(host="h1", action_id=action.id, step="image", started=2.0))
    await until(lambda: parts() == {"image": "begun"})
    await site.cloud.bus.publish(Progress(host="h1", action_id=action.id, step="image", started=2.0, seconds=0.2))
    await site.cloud.bus.publish(Progress(host="h1", action_id=action.id, step="disk", started=2.2))
    await until(lambda: parts() == {"image": "done", "disk": "begun"})
    gate.set()
    await site.settle()
    assert parts()["image"] == "done"


async def test_a_stale_host_is_sent_its_whole_network_once(site: Any) -> None:
    host = await site.add_host("h1")
    await site.settle()
    host.commands.clear()
    for _ in range(3):
        await site.cloud.db.write(lambda conn: host_networks.want(conn, ["h1"]))
    await site.cloud.network_nudge()
    await site.cloud.network_nudge()
    await site.settle()
    assert [type(command.network) for command in host.sent(ApplyNetwork)] == [HostNetwork]
    assert site.cloud.db.read_now(host_networks.stale) == []


async def test_a_server_whose_row_changed_since_the_guests_were_listed_is_left_alone(site: Any) -> None:
    host = await site.add_host("h1")
    server = await built(site)
    gone, host.guests = host.guests, {}
    await site.cloud.db.write(lambda conn: servers.change(conn, server.id, task_state="powering-on"))
    await slow_rounds(site.conductor)
    assert site.server(server.id).vm_state == "active"
    host.guests = gone


async def test_a_stray_guest_that_was_destroyed_is_told_of_in_the_servers_history(site: Any) -> None:
    host = await site.add_host("h1")
    server = await built(site)
    await site.take_down(host)
    await site.delete(server)
    await site.settle()
    await site.cloud.bus.serve("h1", host.handle)
    await site.announce(host)
    await site.settle()
    journals = [
        site.cloud.db.read_now(lambda conn, ident=action.id: actions.journal(conn, ident))
        for action in site.actions(server.id)
        if action.kind == "delete"
    ]
    told = [step.remark for step in journals[0] if step.name == "recovered"]
    assert told == [
        "host h1 is down; it is told to destroy the guest when it is back",
        "host h1 still had the guest of this server; it was destroyed there",
    ]


async def test_a_removed_host_leaves_no_row_and_its_return_is_believed(site: Any) -> None:
    host = await site.add_host("h1")
    await site.take_down(host)
    await site.cloud.db.write(lambda conn: host_networks.want(conn, ["h1"]))
    await cloud_hosts.remove(site.cloud, "h1")
    assert site.cloud.db.read_now(host_networks.stale) == []
    assert site.cloud.db.read_now(lambda conn: host_networks.wanted(conn, "h1")) == 0
    host.commands.clear()
    await site.cloud.bus.serve("h1", host.handle)
    await site.cloud.bus.publish(replace(host.up(), network_generation=3, network_newest=50))
    await until(lambda: host.sent(ApplyNetwork))
    assert host.sent(ApplyNetwork)[0].network.generation == 51, "a host believes nothing older than it has heard of"


async def test_a_removed_host_is_chosen_no_more_though_it_still_speaks(site: Any) -> None:
    host = await site.add_host("h1")
    await site.take_down(host)
    await cloud_hosts.remove(site.cloud, "h1")
    await site.cloud.bus.publish(Heartbeat(host="h1"))
    await site.settle()
    server = await site.post()
    await site.settle()
    fault = site.server(server.id).fault
    assert fault.message == "No valid host: the cloud has no hosts (yet)."
    fleet = site.conductor.fleet
    assert (list(fleet.table.names), fleet.alive("h1"), fleet.uncompared()) == ([], False, [])
    await site.bring_up(host)
    await built(site)


async def test_hosts_that_another_conductor_removes_and_adds_are_as_many_as_there_are(site: Any) -> None:
    down = await site.add_host("h1")
    await site.add_host("h2")
    await site.take_down(down)
    fleet, row = site.conductor.fleet, site.cloud.db.read_now(lambda conn: hosts.get(conn, "h2"))
    await cloud_hosts.remove(site.cloud, "h1")
    await site.cloud.db.write(lambda conn: hosts.put(conn, replace(row, name="h3")))
    await fleet.refresh()
    assert sorted(fleet.table.names) == ["h2", "h3"]
    assert await fleet.refresh() == 0


async def test_a_host_that_is_only_heard_of_costs_no_read_of_all_hosts(
    site: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.add_host("h1")
    await site.conductor.fleet.refresh()
    every, read = hosts.every, list[Any]()
    monkeypatch.setattr(hosts, "every", lambda conn, since=None: read.append(since) or every(conn, since))
    for _ in range(3):
        await site.cloud.bus.publish(Heartbeat(host="of another cloud"))
        await site.settle()
        await site.conductor.fleet.refresh()
    assert len(read) == 3
    assert None not in read


async def test_a_host_that_missed_a_guests_metadata_is_told_when_it_returns(site: Any) -> None:
    host = await site.add_host("h1")
    server = await built(site)
    await site.cloud.db.write(lambda conn: servers.change(conn, server.id, metadata={"a": "b"}))
    right = fingerprint(describe(site.server(server.id), "nova"))
    for told, missing in ((right, []), ("an older one", [{"a": "b"}])):
        await site.take_down(host)
        await site.cloud.bus.serve("h1", host.handle)
        await site.cloud.db.write(
            lambda conn: servers.change(conn, server.id, metadata={"a": "b"}, updated_at=site.cloud.clock.now())
        )
        await site.cloud.bus.publish(replace(host.up(), told={server.id: told}))
        await until(lambda: site.conductor.fleet.alive("h1"))
        await site.settle()
        assert [dict(command.metadata.metadata) for command in host.sent(UpdateMetadata)] == missing


async def test_what_is_read_of_guests_is_what_their_whole_servers_say(site: Any) -> None:
    await site.add_host("h1")
    flavor = ServerFlavor(flavor_id="1", name="large", vcpus=1, memory_mib=512, root_gib=1)
    made = [
        await built(site),
        await built(site, name="löwe", metadata={"a": "b"}, keys=(("k", "ssh", "ssh-ed25519 A"),), user_data="aGk="),
        await built(site, flavor=flavor, launch_index=2, image_properties={"kernel_id": "k1", "ramdisk_id": "r1"}),
        await built(site, password="a\0b", password_turn=1),
    ]
    expected = {server.id: describe(server, "far") for server in made}
    assert len({fingerprint(metadata) for metadata in expected.values()}) == 4

    def look(conn: Any) -> dict[str, Any]:
        found, after = {}, 0
        while part := guests.described(conn, "h1", "far", after=after, limit=2):
            found |= {guest.server_id: guest.metadata for guest in part}
            after = part[-1].number
        return found

    assert await site.cloud.db.read(look) == expected
    now = site.cloud.clock.now()
    await site.cloud.db.write(lambda conn: servers.change(conn, made[1].id, name="n", updated_at=now + timedelta(1)))
    lately = await site.cloud.db.read(
        lambda conn: guests.described(conn, "h1", "far", since=now + timedelta(1), limit=9)
    )
    assert [guest.server_id for guest in lately] == [made[1].id]


async def test_every_guest_is_compared_however_many_a_host_has(site: Any) -> None:
    host = await site.add_host("h1", memory_mib=1024)
    running = {"vm_state": "active", "power_state": PowerState.RUNNING, "updated_at": site.cloud.clock.now()}
    far = [replace(new_server(site.cloud, 1), host="h1", **running) for _ in range(450)]
    host.guests = {server.id: PowerState.RUNNING for server in far}
    await site.cloud.db.write(lambda conn: [servers.add(conn, server) for server in far])
    known = {server.id: fingerprint(describe(server, "nova")) for server in far}
    missed = {far[number].id for number in (0, 199, 200, 449)}
    await site.cloud.bus.publish(replace(host.up(), told=known | dict.fromkeys(missed, "an older one")))
    await until(lambda: len(host.sent(UpdateMetadata)) == 4)
    await site.settle()
    assert {command.server_id for command in host.sent(UpdateMetadata)} == missed


async def test_what_can_wait_is_compared_when_no_host_is_awaited_any_more(cloud: Any) -> None:
    host, now = ScriptedHost("h1"), cloud.clock.now()
    server = replace(new_server(cloud, 1), host="h1", vm_state="active", power_state=PowerState.RUNNING)
    host.guests[server.id] = PowerState.RUNNING

    def before(conn: Any) -> None:
        servers.add(conn, server)
        for name in ("h1", "h2"):
            hosts.put(conn, Host(name=name, created_at=now, updated_at=now, started_at=now, last_seen=now))

    await cloud.db.write(before)
    await cloud.bus.serve("h1", host.handle)
    again = Conductor(cloud, settings=replace(SETTINGS, start_grace=3600.0))
    await again.start()
    try:
        for _ in range(3):  # told again and again, it is compared once
            await cloud.bus.publish(replace(host.up(), told={server.id: "an older one"}))
        await until(lambda: not again.fleet.awaited("h1"))
        await again.idle()
        assert host.sent(UpdateMetadata) == []
        assert again.fleet.awaited("h2")
        again.fleet.stop_awaiting()
        await again.idle()
        assert len(host.sent(UpdateMetadata)) == 1
    finally:
        await again.stop()


async def test_what_a_host_says_of_itself_is_kept_beside_what_operators_set(site: Any) -> None:
    await site.add_host("h1")
    db, now = site.cloud.db, site.cloud.clock.now()
    known = db.read_now(lambda conn: hosts.get(conn, "h1"))
    await db.write(lambda conn: hosts.change(conn, "h1", now, enabled=False, connected=False))
    same = await db.write(lambda conn: hosts.put(conn, replace(known, started_at=now + timedelta(1))))
    assert same == replace(known, enabled=False, started_at=now + timedelta(1), updated_at=same.updated_at)
    grown = replace(known, traits=("B", "A"), enabled=True, generation=77)
    more = await db.write(lambda conn: hosts.put(conn, grown))
    assert (more.traits, more.enabled, more.generation) == (("A", "B"), False, known.generation + 1)
    assert more == db.read_now(lambda conn: hosts.get(conn, "h1"))


async def test_a_guest_that_died_unheard_while_its_server_was_built_is_not_taken_to_run(impatient: Any) -> None:
    site = impatient
    host = await site.add_host("h1")

    async def dies_at_once(command: Any) -> Any:
        if not isinstance(command, Spawn):
            return await host.handle(command)
        host.guests[command.guest.server_id] = PowerState.SHUTDOWN
        await site.conductor.events.check("h1")
        return Spawned(power_state=PowerState.RUNNING)

    await site.cloud.bus.serve("h1", dies_at_once)
    server = await site.post()
    await until(lambda: site.server(server.id).vm_state == "stopped")
    assert site.server(server.id).power_state == int(PowerState.SHUTDOWN)


async def test_a_server_whose_guest_was_off_when_the_build_ended_is_stopped(site: Any) -> None:
    host = await site.add_host("h1")

    async def off(command: Any) -> Any:
        if not isinstance(command, Spawn):
            return await host.handle(command)
        host.guests[command.guest.server_id] = PowerState.SHUTDOWN
        return Spawned(power_state=PowerState.SHUTDOWN)

    await site.cloud.bus.serve("h1", off)
    server = await site.post()
    await site.settle()
    assert site.server(server.id).vm_state == "stopped"


async def test_work_that_waits_for_a_host_says_so_once_and_once_that_it_goes_on(
    site: Any, caplog: pytest.LogCaptureFixture
) -> None:
    host = await site.add_host("h1")
    await site.cloud.bus.withdraw("h1")
    caplog.set_level(logging.DEBUG, logger="floe.conductor")

    def lines(level: int, text: str) -> list[str]:
        return [record.getMessage() for record in caplog.records if record.levelno >= level and text in record.msg]

    server = await site.post()
    await until(lambda: len(lines(logging.DEBUG, "waits:")) >= 3)
    await site.cloud.bus.serve("h1", host.handle)
    await site.settle()
    assert site.server(server.id).vm_state == "active"
    assert lines(logging.INFO, "waits:") == ["Spawn to host h1 waits: Host 'h1' does not answer: no agent serves it."]
    (went_on,) = lines(logging.INFO, "was answered")
    assert went_on.startswith("Spawn to host h1 was answered at try ")


async def test_a_host_whose_network_waits_is_told_of_once(site: Any, caplog: pytest.LogCaptureFixture) -> None:
    host = await site.add_host("h1")
    await site.cloud.bus.withdraw("h1")
    await site.cloud.db.write(lambda conn: host_networks.want(conn, ["h1"]))
    caplog.set_level(logging.INFO, logger="floe.conductor")
    for _ in range(3):
        await site.cloud.network_nudge()
        await site.settle()
    await site.cloud.bus.serve("h1", host.handle)
    await site.cloud.network_nudge()
    await site.settle()
    told = [
        record.getMessage()
        for record in caplog.records
        if "network of host" in record.msg or "its network" in record.msg
    ]
    assert told == [
        "network of host h1 is not up to date, and is tried again: Host 'h1' does not answer: no agent serves it.",
        "host h1 takes changes of its network again",
    ]
    assert site.cloud.db.read_now(host_networks.stale) == []


async def test_files_left_of_a_deleted_server_are_removed_when_their_host_tells_of_them(site: Any) -> None:
    host = await site.add_host("h1")
    server = await built(site)
    await site.delete(server)
    await site.settle()
    host.commands.clear()
    await site.cloud.bus.publish(replace(host.up(), files=(server.id, "11111111-2222-4333-8444-555555555555")))
    await until(lambda: host.sent(Destroy))
    await site.settle()
    (command,) = host.sent(Destroy)
    assert (command.server_id, command.final) == (server.id, True)


async def test_files_of_a_server_whose_guest_is_not_there_are_left_alone(site: Any) -> None:
    host = await site.add_host("h1")
    server = await built(site)
    del host.guests[server.id]
    await site.cloud.bus.publish(replace(host.up(), files=(server.id,)))
    await site.conductor.events.check("h1")
    await site.settle()
    assert host.sent(Destroy) == []


async def test_what_changed_while_a_server_was_built_is_told_when_its_host_returns(site: Any) -> None:
    host = await site.add_host("h1")
    host.script.append(gate := asyncio.Event())
    server = await site.post()
    await until(lambda: host.sent(Spawn))
    await site.cloud.db.write(lambda conn: servers.change(conn, server.id, metadata={"a": "b"}))
    await site.cloud.bus.publish(replace(host.up(), told={server.id: "what it was before"}))
    await until(lambda: host.sent(UpdateMetadata))
    gate.set()
    await site.settle()
    assert [dict(command.metadata.metadata) for command in host.sent(UpdateMetadata)] == [{"a": "b"}]


async def test_a_host_that_returns_unannounced_is_rid_of_what_was_deleted_without_it(impatient: Any) -> None:
    site = impatient
    host = await site.add_host("h1")
    server = await built(site)
    await site.take_down(host)
    await site.delete(server)
    await until(lambda: site.server(server.id).vm_state == "deleted")
    assert server.id in host.guests
    await site.cloud.bus.serve("h1", host.handle)
    async with asyncio.timeout(20):
        while host.guests:
            await site.cloud.bus.publish(Heartbeat(host="h1"))
            await asyncio.sleep(0.001)
    assert host.sent(Destroy)[-1].final


async def test_a_host_that_fell_silent_is_not_thought_alive_because_its_row_changed(site: Any) -> None:
    await site.add_host("h1", memory_mib=1024)
    silent = await site.add_host("h2", memory_mib=8192)
    await site.cloud.bus.withdraw("h2")
    site.conductor.fleet.lost("h2")
    made = await site.post_together(1, 3)
    await site.cloud.db.write(lambda conn: hosts.change(conn, "h2", site.cloud.clock.now(), enabled=True))
    await site.settle()
    assert await site.conductor.fleet.refresh() == 0, "the row changed, what the table knows of it did not"
    assert not site.conductor.fleet.alive("h2")
    assert [site.server(server.id).vm_state for server in made] == ["active", "deleted", "deleted"]
    await site.cloud.bus.serve("h2", silent.handle)
    await site.announce(silent)
    assert site.conductor.fleet.alive("h2")


@pytest.mark.once
async def test_a_host_that_says_nothing_new_costs_no_write_and_no_question(site: Any) -> None:
    host = await site.add_host("h1")
    await built(site)
    other = await site.add_host("h2")
    state = await site.cloud.db.read(lambda conn: host_networks.wanted(conn, "h1"))
    said = replace(host.up(), network_generation=state, network_newest=state)
    host.commands.clear()
    commits = site.cloud.db.commits
    for _ in range(5):
        await site.cloud.bus.publish(said)
    await site.take_down(other)  # what was published before has been taken in, then
    await site.settle()
    await site.conductor.sweeps.slow()
    assert site.cloud.db.commits == commits + 1, "that h2 stops"
    assert host.sent(ListGuests) == []


@pytest.mark.parametrize(("at", "newest"), [(4, 4), (5, 6)])
async def test_a_host_that_missed_members_of_groups_or_knows_later_ones_is_sent_its_network(
    site: Any, at: int, newest: int
) -> None:
    """All else that it says is known; it was told up to position 5, which is the latest."""
    host = await site.add_host("h1")
    await built(site)
    await site.add_host("h2")
    table = host_networks.host_networks

    def tell(conn: Any) -> int:
        group_members.catch_up(conn, 4)
        host_networks.want(conn, ["h1"])
        conn.execute(table.update().where(table.c.host == "h1").values(members=5, applied=table.c.wanted))
        return host_networks.wanted(conn, "h1")

    state = await site.cloud.db.write(tell)
    assert await site.cloud.db.read(group_members.position) == 5
    said = replace(host.up(), network_generation=state, network_newest=state, members_at=at, members_newest=newest)
    await site.cloud.bus.publish(said)
    await until(lambda: site.cloud.db.read_now(lambda conn: host_networks.wanted(conn, "h1")) > state)


async def test_a_host_that_says_otherwise_than_the_rows_is_asked_and_believed(site: Any) -> None:
    host = await site.add_host("h1")
    server = await built(site)
    host.guests = {server.id: PowerState.SHUTDOWN}
    await site.cloud.bus.publish(host.up())
    await until(lambda: site.server(server.id).vm_state == "stopped")
    assert len(host.sent(ListGuests)) >= 1


@pytest.mark.once
async def test_hosts_that_come_together_share_commits(site: Any) -> None:
    commits = site.cloud.db.commits
    many = await asyncio.gather(*(site.add_host(f"many-{number}") for number in range(200)))
    await site.settle()
    assert all(site.conductor.fleet.alive(host.name) for host in many)
    assert site.cloud.db.commits - commits < 100


async def test_that_a_host_stops_comes_late_where_it_answers_and_changes_nothing(site: Any) -> None:
    host = await site.add_host("h1")
    await site.cloud.bus.publish(HostDown(host="h1"))
    await until(lambda: host.sent(Report))
    await site.settle()
    assert site.conductor.fleet.alive("h1")
    row = site.cloud.db.read_now(lambda conn: hosts.get(conn, "h1"))
    assert row is not None
    assert row.connected


async def test_what_a_host_says_is_taken_in_in_its_order(site: Any) -> None:
    host = await site.add_host("h1")
    await site.cloud.bus.withdraw("h1")
    for _ in range(10):
        await site.cloud.bus.publish(HostDown(host="h1"))
        await site.cloud.bus.publish(host.up())
    await site.cloud.bus.publish(HostDown(host="h1"))
    for _ in range(30):  # until all of it has come through the bus
        await asyncio.sleep(0)
    await site.settle()
    assert not site.conductor.fleet.alive("h1")
    row = site.cloud.db.read_now(lambda conn: hosts.get(conn, "h1"))
    assert row is not None
    assert not row.connected
