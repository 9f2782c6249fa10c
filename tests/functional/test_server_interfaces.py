"""NICs that servers are given and lose: what users may ask for, what hosts and guests have of it, what fails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from msgspec.structs import replace
from sites import PORTS, SERVERS, Site, furnished, refused

from floe.agent.agent import Agent
from floe.api.compute import server_addresses
from floe.cloud import server_interfaces
from floe.core.context import Context
from floe.core.errors import HostFailure, Unavailable
from floe.core.nics import PlannedNic
from floe.hypervisors.fake import FakeHost, FakeHypervisor
from floe.store import servers
from floe.store.actions import actions as action_rows
from floe.testing import EmbeddedCloud

NOBODY = "99999999-9999-4999-8999-999999999999"


@pytest.fixture
async def site(embedded: EmbeddedCloud) -> AsyncIterator[Site]:
    """Give a cloud with an image, a network that is joined to an outside, and another that is not."""
    async with furnished(embedded) as made:
        other = await made.made("network", name="other")
        await made.made("subnet", network_id=other["id"], cidr="10.78.0.0/28", ip_version=4)
        made.ids["other"] = other["id"]
        yield made


async def attach(site: Site, server: str, settled: bool = True, version: str = "2.96", **asked: Any) -> httpx.Response:
    path = f"{SERVERS}/{server}/os-interface"
    reply: httpx.Response = await site.ask("POST", path, {"interfaceAttachment": asked}, version=version)
    if settled:
        await site.cloud.settled()
    return reply


async def attached(site: Site, server: str, **asked: Any) -> dict[str, Any]:
    reply = await attach(site, server, **asked)
    assert reply.status_code == 200, reply.text
    found: dict[str, Any] = reply.json()["interfaceAttachment"]
    return found


async def detach(site: Site, server: str, port_id: str, settled: bool = True) -> httpx.Response:
    reply: httpx.Response = await site.ask("DELETE", f"{SERVERS}/{server}/os-interface/{port_id}")
    if settled:
        await site.cloud.settled()
    return reply


async def interfaces(site: Site, server: str) -> list[str]:
    """Return the ports of a server's NICs, as the API lists them."""
    found = (await site.ask("GET", f"{SERVERS}/{server}/os-interface")).json()["interfaceAttachments"]
    return [each["port_id"] for each in found]


def agent_of(site: Site, server: str) -> Agent:
    """Return the agent of the host that has a server's guest."""
    return next(agent for agent in site.cloud.node.agents if server in _machine(agent).guests)


def _machine(agent: Agent) -> FakeHost:
    assert isinstance(agent._hypervisor, FakeHypervisor)
    return agent._hypervisor.host


def machine(site: Site, server: str) -> FakeHost:
    return _machine(agent_of(site, server))


async def agrees(site: Site, server: str) -> list[str]:
    """See that rows, host and guest have the same NICs of a server, and return their ports."""
    listed = await interfaces(site, server)
    assert machine(site, server).nics.get(server, set()) == set(listed)
    told = {port.port_id for network in site.told() for port in network.ports if port.server_id == server}
    assert told == set(listed)
    return listed


async def events(site: Site, server: str) -> dict[str, str | None]:
    """Return the server's actions by name, with why they failed, the latest of each."""
    path = f"{SERVERS}/{server}/os-instance-actions"
    found = (await site.ask("GET", path, version="2.96")).json()["instanceActions"]
    return {each["action"]: each["message"] for each in reversed(found)}


async def test_a_running_guest_is_given_a_nic_on_a_network_and_loses_it(site: Site) -> None:
    server = await site.server("one")
    (first,) = await agrees(site, server)
    made = await attached(site, server, net_id=site.ids["other"])
    assert (made["net_id"], made["tag"]) == (site.ids["other"], None)
    assert made["fixed_ips"][0]["ip_address"].startswith("10.78.0.")
    assert await agrees(site, server) == [first, made["port_id"]]
    port = (await site.ask("GET", f"{PORTS}/{made['port_id']}")).json()["port"]
    assert (port["status"], port["device_id"], port["mac_address"]) == ("ACTIVE", server, made["mac_addr"])
    assert (await detach(site, server, made["port_id"])).status_code == 202
    assert await agrees(site, server) == [first]
    assert (await site.ask("GET", f"{PORTS}/{made['port_id']}")).status_code == 404
    assert await events(site, server) == {"create": None, "attach_interface": None, "detach_interface": None}


async def test_a_nic_is_there_when_that_is_answered_and_may_be_taken_at_once(site: Site) -> None:
    server = await site.server("one")
    reply = await attach(site, server, settled=False, net_id=site.ids["other"])
    made = reply.json()["interfaceAttachment"]
    assert made["port_state"] == "ACTIVE"
    assert made["port_id"] in machine(site, server).nics[server]
    assert (await detach(site, server, made["port_id"])).status_code == 202
    assert made["port_id"] not in await agrees(site, server)


async def test_a_nic_that_its_host_is_slow_to_plug_is_answered_before(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    server, free = await site.server("one"), asyncio.Event()
    hypervisor = agent_of(site, server)._hypervisor
    real = hypervisor.attach_nic

    async def slow(*arguments: Any) -> None:
        await free.wait()
        await real(*arguments)

    monkeypatch.setattr(hypervisor, "attach_nic", slow)
    monkeypatch.setattr(server_addresses, "_PATIENCE", 0.1)
    reply = await attach(site, server, settled=False, net_id=site.ids["other"])
    assert (reply.status_code, reply.json()["interfaceAttachment"]["port_state"]) == (200, "BUILD")
    free.set()
    await site.cloud.settled()
    assert reply.json()["interfaceAttachment"]["port_id"] in await agrees(site, server)


async def test_nobody_waits_for_a_host_that_is_down(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    server = await site.server("one")
    await agent_of(site, server).stop()
    monkeypatch.setattr(server_addresses, "_PATIENCE", 1e9)
    async with asyncio.timeout(60):
        reply = await attach(site, server, settled=False, net_id=site.ids["other"])
    assert (reply.status_code, reply.json()["interfaceAttachment"]["port_state"]) == (200, "BUILD")


async def test_who_waits_for_a_nic_that_was_given_up_is_told_so(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    server, free, begun = await site.server("one"), asyncio.Event(), asyncio.Event()
    hypervisor = agent_of(site, server)._hypervisor

    async def slow(*_arguments: Any) -> None:
        begun.set()
        await free.wait()

    monkeypatch.setattr(hypervisor, "attach_nic", slow)
    waiting = asyncio.create_task(attach(site, server, settled=False, net_id=site.ids["other"]))
    await begun.wait()
    db, give_up = site.cloud.node.cloud.db, action_rows.update().where(action_rows.c.kind == "attach_interface")
    await db.write(lambda conn: conn.execute(give_up.values(state="cancelled")).rowcount)
    refused(await waiting, 409, "was deleted or reset before")
    free.set()


async def test_a_database_that_fails_meanwhile_does_not_have_it_asked_for_again(site: Site) -> None:
    server, cloud = await site.server("one"), site.cloud.node.cloud

    class Failing:
        write = cloud.db.write

        async def read(self, *_arguments: Any) -> Any:
            raise Unavailable("The database is away.")

    asked = PlannedNic(network_id=site.ids["other"])
    row = await cloud.db.read(lambda conn: servers.get(conn, server))
    assert row is not None
    owner = Context(request_id="req-1", project_id=row.project_id, roles=frozenset({"member"}))
    port = await server_interfaces.attach(replace(cloud, db=Failing()), owner, server, asked, 60.0)
    await site.cloud.settled()
    assert port.port_id in await agrees(site, server)


async def test_what_is_asked_for_by_address_port_or_not_at_all(site: Site) -> None:
    server = await site.server("one")
    by_address = await attached(site, server, net_id=site.ids["other"], fixed_ips=[{"ip_address": "10.78.0.9"}])
    assert by_address["fixed_ips"][0]["ip_address"] == "10.78.0.9"
    own = await site.made("port", network_id=site.ids["other"])
    by_port = await attached(site, server, port_id=own["id"])
    assert by_port["mac_addr"] == own["mac_address"]
    listed = await agrees(site, server)
    assert listed[1:] == [by_address["port_id"], own["id"]]
    assert (await detach(site, server, own["id"])).status_code == 202
    given_back = (await site.ask("GET", f"{PORTS}/{own['id']}")).json()["port"]
    assert (given_back["device_id"], given_back["status"]) == ("", "DOWN"), "it is its user's, and stays"
    again = await attached(site, server, port_id=own["id"])
    assert again["port_id"] == own["id"]
    assert await agrees(site, server) == listed
    with_one = await site.server("whichever")
    reply = await site.ask("POST", f"{SERVERS}/{with_one}/os-interface", {}, version="2.96")
    assert reply.status_code == 409 and "Multiple possible networks" in reply.text, "as if nothing was asked for"
    lone = await site.server("lone", None)
    refused(await attach(site, lone), 409, "Multiple possible networks found")


@pytest.mark.parametrize(
    ("asked", "status", "text"),
    [
        ({"net_id": NOBODY}, 404, f"Network {NOBODY} could not be found"),
        ({"port_id": NOBODY}, 404, f"Port id {NOBODY} could not be found"),
        ({"net_id": "other", "port_id": NOBODY}, 400, "Must not input both network_id and port_id"),
        ({"fixed_ips": [{"ip_address": "10.78.0.9"}]}, 400, "Must input network_id when request IP address"),
        ({"net_id": "other", "fixed_ips": [{"ip_address": "10.78.0.2"}]}, 409, "is already in use on instance network"),
        ({"net_id": "other", "fixed_ips": [{"ip_address": "192.0.2.1"}]}, 400, "is not a valid ip address for network"),
        ({"net_id": "other", "fixed_ips": [{"ip_address": "fd00::1"}]}, 400, "is no IPv4 address"),
        ({"net_id": "other", "fixed_ips": []}, 400, "fixed_ips"),
        ({"net_id": "other", "tag": "a/b"}, 400, "tag"),
        ({"net_id": "other", "tag": "a,b"}, 400, "tag"),
        ({"net_id": "other", "tag": ""}, 400, "tag"),
        ({"net_id": "other", "tag": "a" * 61}, 400, "tag"),
        ({"net_id": "other", "tag": None}, 400, "tag"),
        ({"net_id": "x"}, 400, "net_id"),
        ({"nic": 1}, 400, "nic"),
    ],
)
async def test_what_cannot_be_is_refused_and_leaves_nothing(site: Site, asked: Any, status: int, text: str) -> None:
    server = await site.server("one")
    before = (await site.ask("GET", PORTS)).json()["ports"]
    if asked.get("net_id") == "other":
        asked = {**asked, "net_id": site.ids["other"]}
    refused(await attach(site, server, **asked), status, text)
    assert (await site.ask("GET", PORTS)).json()["ports"] == before
    assert len(await agrees(site, server)) == 1


async def test_a_tag_is_no_field_before_its_version(site: Site) -> None:
    server = await site.server("one")
    refused(await attach(site, server, version="2.48", net_id=site.ids["other"], tag="a"), 400, "tag")
    assert "tag" not in (await attach(site, server, version="2.48", net_id=site.ids["other"])).text


async def test_a_port_of_another_server_is_not_taken_and_none_of_another_detached(site: Site) -> None:
    one, two = await site.server("one"), await site.server("two")
    (port,) = await interfaces(site, one)
    refused(await attach(site, two, port_id=port), 409, "is still in use")
    refused(await detach(site, two, port), 404, f"Port id {port} could not be found.")
    refused(await detach(site, one, NOBODY), 404, "could not be found")
    assert await agrees(site, one) == [port]


async def test_a_guest_that_is_off_has_at_its_start_what_it_was_given_meanwhile(site: Site) -> None:
    server = await site.server("one")
    (first,) = await interfaces(site, server)
    await site.act(server, "os-stop")
    made = await attached(site, server, net_id=site.ids["other"])
    assert (await detach(site, server, first)).status_code == 202
    await site.act(server, "os-start")
    assert await agrees(site, server) == [made["port_id"]]


async def test_a_suspended_guest_is_given_none(site: Site) -> None:
    server = await site.server("one")
    await site.act(server, "suspend")
    refused(await attach(site, server, net_id=site.ids["other"]), 409, "while it is in vm_state suspended")
    (port,) = await interfaces(site, server)
    refused(await detach(site, server, port), 409, "while it is in vm_state suspended")


async def test_what_a_hypervisor_does_not_take_is_given_back_and_says_why(site: Site) -> None:
    server = await site.server("one")
    machine(site, server).fail("attach_nic", HostFailure("No more slots.", stage="guest"))
    reply = await attach(site, server, net_id=site.ids["other"])
    refused(reply, 500, f"Failed to attach network adapter device to {server}: ")
    assert len((await site.ask("GET", f"{PORTS}?device_id={server}")).json()["ports"]) == 1
    assert len(await agrees(site, server)) == 1
    assert (await events(site, server))["attach_interface"] is not None
    shown = (await site.ask("GET", f"{SERVERS}/{server}")).json()["server"]
    assert (shown["status"], shown["OS-EXT-STS:task_state"]) == ("ACTIVE", None)


async def test_a_guest_that_does_not_let_go_keeps_its_nic(site: Site) -> None:
    server = await site.server("one")
    (port,) = await interfaces(site, server)
    commands = agent_of(site, server)._commands
    assert commands is not None

    async def at_once(_seconds: float) -> None:
        await asyncio.sleep(0)

    commands._nics = replace(commands._nics, sleep=at_once)
    machine(site, server).deaf.add(server)
    assert (await detach(site, server, port)).status_code == 202
    assert await agrees(site, server) == [port]
    assert (await site.ask("GET", f"{PORTS}/{port}")).json()["port"]["status"] == "ACTIVE"
    assert (await events(site, server))["detach_interface"] is not None
    machine(site, server).deaf.clear()
    assert (await detach(site, server, port)).status_code == 202
    assert await agrees(site, server) == []


async def test_many_at_once_are_each_done_and_have_a_bound(site: Site) -> None:
    server = await site.server("one", None)
    large = await site.made("network", name="large")
    await site.made("subnet", network_id=large["id"], cidr="10.79.0.0/24", ip_version=4)
    replies = await asyncio.gather(*(attach(site, server, settled=False, net_id=large["id"]) for _ in range(30)))
    await site.cloud.settled()
    done = [reply.json()["interfaceAttachment"]["port_id"] for reply in replies if reply.status_code == 200]
    assert sorted(await agrees(site, server)) == sorted(done)
    assert len(done) == 26
    for reply in replies:
        if reply.status_code != 200:
            refused(reply, 409, "has 26 interfaces, and takes no more")
    twice = await asyncio.gather(*(detach(site, server, done[0], settled=False) for _ in range(3)))
    assert sorted(reply.status_code for reply in twice)[0] == 202
    assert {reply.status_code for reply in twice} <= {202, 404, 409}
    await site.cloud.settled()
    assert sorted(await agrees(site, server)) == sorted(done[1:])


async def test_a_server_that_is_deleted_meanwhile_leaves_nothing(site: Site) -> None:
    server = await site.server("one")
    made, gone = await asyncio.gather(
        attach(site, server, settled=False, net_id=site.ids["other"]), site.ask("DELETE", f"{SERVERS}/{server}")
    )
    assert gone.status_code == 204
    await site.cloud.settled()
    assert made.status_code in {200, 404, 409}
    assert all(_machine(agent).nics == {} for agent in site.cloud.node.agents)
    assert [port for network in site.told() for port in network.ports] == []
    left = (await site.ask("GET", f"{PORTS}?device_id={server}")).json()["ports"]
    assert left == []


async def stalled(site: Site, server: str) -> asyncio.Event:
    """Have a guest let go of nothing until what is returned is set: then it does, when it is asked again."""
    commands, heard = agent_of(site, server)._commands, asyncio.Event()
    assert commands is not None

    async def wait(_seconds: float) -> None:
        await heard.wait()
        machine(site, server).deaf.clear()
        await asyncio.sleep(0)

    commands._nics = replace(commands._nics, sleep=wait)
    machine(site, server).deaf.add(server)
    return heard


@pytest.mark.parametrize(
    "asked",
    [({"reboot": {"type": "SOFT"}}, {"reboot": {"type": "HARD"}}), ({"os-resetState": {"state": "active"}},)],
    ids=["overtaken", "reset"],
)
async def test_what_gives_up_changes_of_power_leaves_a_detach_under_way(site: Site, asked: Any) -> None:
    """Given up with them, the port would be the server's for ever, and on no host."""
    server = await site.server("one")
    (port,) = await interfaces(site, server)
    heard = await stalled(site, server)
    assert (await detach(site, server, port, settled=False)).status_code == 202
    for body in asked:
        assert (await site.ask("POST", f"{SERVERS}/{server}/action", body, "admin")).status_code == 202
    heard.set()
    await site.cloud.settled()
    assert await agrees(site, server) == []
    assert (await site.ask("GET", f"{PORTS}/{port}")).status_code == 404


async def test_a_guest_is_not_suspended_while_a_nic_is_under_way(site: Site) -> None:
    """Its memory would be kept with a NIC that its host takes away, and could not go on."""
    server = await site.server("one")
    (port,) = await interfaces(site, server)
    heard = await stalled(site, server)
    assert (await detach(site, server, port, settled=False)).status_code == 202
    reply = await site.ask("POST", f"{SERVERS}/{server}/action", {"suspend": None})
    refused(reply, 409, "while 'detach_interface' of it is under way")
    heard.set()
    await site.cloud.settled()
    await site.act(server, "suspend")
    assert await interfaces(site, server) == []


async def test_a_host_that_forgot_its_guest_takes_the_nic_all_the_same(site: Site) -> None:
    """It is told of the guest as the rows have it, which is without that NIC."""
    server = await site.server("one")
    (port,) = await interfaces(site, server)
    ledger = agent_of(site, server)._ledger
    assert ledger is not None
    ledger.guests.pop(server)
    assert (await detach(site, server, port)).status_code == 202
    assert await agrees(site, server) == []


async def test_an_agent_that_failed_to_follow_the_network_finds_its_guest_astray_again(site: Site) -> None:
    server = await site.server("one")
    (port,) = await interfaces(site, server)
    agent = agent_of(site, server)
    assert agent._ledger is not None and agent._commands is not None
    nics, ledger = agent._commands._nics, agent._ledger
    ledger.network.remove_ports((port,), ledger.network.newest + 1)
    machine(site, server).fail("detach_nic")
    with pytest.raises(HostFailure):
        await nics.follow(server)
    assert nics.astray() == [server]
    await nics.follow(server)
    assert (nics.astray(), machine(site, server).nics[server]) == ([], set())


async def test_a_guest_whose_nics_could_not_follow_is_tried_again_soon(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = await site.server("one")
    (port,) = await interfaces(site, server)
    agent = agent_of(site, server)
    assert agent._ledger is not None and agent._commands is not None
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    monkeypatch.setattr(agent._commands._following, "_sleep", sleep)
    agent._ledger.network.remove_ports((port,), agent._ledger.network.newest + 1)
    for _ in range(3):
        machine(site, server).fail("detach_nic")
    agent._commands.follow_network()
    agent._commands.follow_network()  # once is enough
    while agent._commands._following._followed:
        await asyncio.gather(*agent._commands._late)
    assert (pauses, machine(site, server).nics[server]) == ([1.0, 2.0, 4.0], set())


async def test_the_nics_of_a_suspended_guest_follow_the_network_once_it_goes_on(site: Site) -> None:
    server = await site.server("one")
    (port,) = await interfaces(site, server)
    await site.act(server, "suspend")
    agent = agent_of(site, server)
    assert agent._ledger is not None and agent._commands is not None
    nics, ledger = agent._commands._nics, agent._ledger
    ledger.network.remove_ports((port,), ledger.network.newest + 1)
    await nics.follow(server)
    assert (nics.astray(), machine(site, server).nics[server]) == ([server], {port})
    await site.act(server, "resume")
    await nics.follow(server)
    assert (nics.astray(), machine(site, server).nics[server]) == ([], set())
