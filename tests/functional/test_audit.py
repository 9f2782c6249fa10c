"""The audit of a running cloud finds what is not as it must be, and mends what is safe."""

from __future__ import annotations

import asyncio
import sqlite3
import uuid
from collections.abc import AsyncIterator, Callable
from datetime import timedelta
from typing import Any, cast

import httpx
import pytest
from msgspec.structs import replace

from floe.api.operator import audit as audit_reply
from floe.cloud import audits, floating_ips
from floe.conductor.conductor import Conductor
from floe.core.context import Context
from floe.core.guests import PowerState
from floe.core.host_network import HostNetwork
from floe.core.messages import Inspect, Inspected
from floe.dataplane.fake import FakePlane
from floe.store import hosts as host_rows
from floe.store import networks as network_rows
from floe.store import ports as port_rows
from floe.store import quota_usages, quotas, shelved_servers
from floe.store import servers as server_rows
from floe.store.actions import actions
from floe.store.engine import Transactions
from floe.testing import EmbeddedCloud

COMPUTE = {"OpenStack-API-Version": "compute 2.96"}


class Operator:
    """The user `admin`, and what stands behind the API."""

    def __init__(self, cloud: EmbeddedCloud) -> None:
        self.cloud = cloud
        self.http = httpx.AsyncClient(base_url=cloud.url, timeout=60)

    async def login(self, name: str = "admin") -> None:
        domain = {"name": "Default"}
        user = {"name": name, "password": self.cloud.passwords[name], "domain": domain}
        identity = {"methods": ["password"], "password": {"user": user}}
        body = {"auth": {"identity": identity, "scope": {"project": {"name": name, "domain": domain}}}}
        reply = await self.http.post("/identity/v3/auth/tokens", json=body)
        self.http.headers = httpx.Headers(COMPUTE | {"X-Auth-Token": reply.headers["x-subject-token"]})

    async def server(self, status: str = "active") -> tuple[str, str]:
        """Make a server as `demo`, and return its id and its host."""
        await self.login("demo")
        image = {"name": "i", "disk_format": "raw", "container_format": "bare"}
        image_id = (await self.http.post("/image/v2/images", json=image)).json()["id"]
        kind = {"Content-Type": "application/octet-stream"}
        await self.http.put(f"/image/v2/images/{image_id}/file", content=b"\0" * 4096, headers=kind)
        server = {"name": "a", "imageRef": image_id, "flavorRef": "0", "networks": "auto"}
        reply = await self.http.post("/compute/v2.1/servers", json={"server": server})
        server_id = reply.json()["server"]["id"]
        await self.cloud.settled()
        await self.login()
        row = await self.row(server_id)
        assert row.vm_state == status
        return server_id, row.host

    async def row(self, server_id: str) -> Any:
        return await self.cloud.node.cloud.db.read(lambda conn: server_rows.get(conn, server_id, deleted=True))

    async def delete(self, server_id: str) -> None:
        assert (await self.http.delete(f"/compute/v2.1/servers/{server_id}")).status_code == 204
        await self.cloud.settled()

    async def audit(self) -> set[tuple[str, str]]:
        reply = await self.http.get("/floe/v1/audit")
        assert reply.status_code == 200, reply.text
        return {(item["rule"], item["subject"]) for item in reply.json()["violations"]}

    async def repair(self) -> dict[str, Any]:
        reply = await self.http.post("/floe/v1/audit/repair")
        assert reply.status_code == 200, reply.text
        answer: dict[str, Any] = reply.json()
        return answer

    async def set_action(self, server_id: str, kind: str, **values: Any) -> None:
        """Change the row of a server's action."""
        row = actions.c
        chosen = actions.update().where(row.subject_id == server_id, row.kind == kind).values(values)
        await self.cloud.node.cloud.db.write(lambda conn: conn.execute(chosen))

    def guests(self, host: str) -> Any:
        return self.cloud.node.fake_hosts[host].guests

    def plane(self, host: str) -> FakePlane:
        (agent,) = (agent for agent in self.cloud.node.agents if agent.host == host)
        plane = agent._plane
        assert isinstance(plane, FakePlane)
        return plane


@pytest.fixture
async def operator(embedded: EmbeddedCloud) -> AsyncIterator[Operator]:
    someone = Operator(embedded)
    await someone.login()
    yield someone
    await someone.http.aclose()


async def test_a_cloud_in_order_has_nothing_to_find(operator: Operator) -> None:
    await operator.server()
    assert await operator.audit() == set()
    assert await operator.repair() == {"done": [], "mended": [], "violations": [], "count": 0}


async def test_builds_under_way_are_not_reported(operator: Operator) -> None:
    await operator.server()

    async def build() -> None:
        for _ in range(2):
            await operator.server()

    found, _ = await asyncio.gather(operator.audit(), build())
    assert found == set()


async def test_the_guest_of_a_deleted_server_is_found_and_destroyed(operator: Operator) -> None:
    server_id, host = await operator.server()
    await operator.delete(server_id)
    operator.guests(host)[server_id] = PowerState.RUNNING
    assert ("a guest is left on a host that should not have it", server_id) in await operator.audit()
    answer = await operator.repair()
    assert answer["violations"] == []
    assert any(server_id in text for text in answer["done"])
    assert server_id not in operator.guests(host)


async def test_a_guest_that_its_servers_own_host_has_too_is_destroyed_where_it_was_called_off(
    operator: Operator,
) -> None:
    failing, *_ = sorted(operator.cloud.node.fake_hosts)
    machine = operator.cloud.node.fake_hosts[failing]
    machine.fail("create_overlay")
    for _ in range(5):
        server_id, host = await operator.server()
        if not any(machine.faults.values()):
            break
    assert host != failing
    operator.guests(failing)[server_id] = PowerState.SHUTDOWN
    assert ("a guest is left on a host that should not have it", server_id) in await operator.audit()
    assert (await operator.repair())["violations"] == []
    assert server_id not in operator.guests(failing)
    assert server_id in operator.guests(host)


async def test_files_of_a_deleted_server_are_found_and_removed(operator: Operator) -> None:
    server_id, host = await operator.server()
    await operator.delete(server_id)
    guests = operator.cloud.folder / "hosts" / host / "guests"
    for name in (server_id, "notes"):
        (guests / name).mkdir()
    assert await operator.audit() == {("files are left of a guest that is not there", server_id)}
    assert (await operator.repair())["violations"] == []
    assert [entry.name for entry in guests.iterdir()] == ["notes"], "what is not Floe's is never touched"


async def test_a_guest_that_nobody_can_account_for_is_found_and_left_alone(operator: Operator) -> None:
    _, host = await operator.server()
    foreign = str(uuid.uuid4())
    operator.guests(host)[foreign] = PowerState.RUNNING
    answer = await operator.repair()
    assert {item["subject"] for item in answer["violations"]} == {foreign}
    assert foreign in operator.guests(host)


async def test_a_server_without_its_guest_is_found_and_shown_as_stopped(operator: Operator) -> None:
    server_id, host = await operator.server()
    del operator.guests(host)[server_id]
    assert ("a server has no guest", server_id) in await operator.audit()
    answer = await operator.repair()
    assert ("a server has no guest", server_id) in {(v["rule"], v["subject"]) for v in answer["violations"]}
    row = await operator.row(server_id)
    assert (row.vm_state, row.host) == ("stopped", host)
    folder = operator.cloud.folder / "hosts" / host / "guests" / server_id
    assert folder.is_dir(), "the disk of a server is nobody's to remove"


async def test_a_power_state_that_no_event_told_of_is_taken_over(operator: Operator) -> None:
    server_id, host = await operator.server()
    operator.guests(host)[server_id] = PowerState.SHUTDOWN
    assert await operator.audit() == {("a guest is not in the state its server is in", server_id)}
    answer = await operator.repair()
    assert answer["violations"] == []
    assert [item["subject"] for item in answer["mended"]] == [server_id]
    assert (await operator.row(server_id)).vm_state == "stopped"


async def test_a_network_changed_behind_the_agents_back_is_found_and_made_whole(operator: Operator) -> None:
    _, host = await operator.server()
    plane = operator.plane(host)
    good = plane.applied
    plane.applied = HostNetwork()
    assert await operator.audit() == {("a host's network differs from what its agent wants", host)}
    assert (await operator.repair())["violations"] == []
    assert replace(plane.applied, generation=0) == replace(good, generation=0)


async def test_a_host_that_missed_a_network_change_is_found_and_told(operator: Operator) -> None:
    _, host = await operator.server()
    (agent,) = (agent for agent in operator.cloud.node.agents if agent.host == host)
    assert agent._ledger is not None
    port_id = next(iter(agent._ledger.network.ports))
    port = agent._ledger.network.ports[port_id]
    agent._ledger.network.ports[port_id] = replace(port, up=False)
    await agent._plane.apply(agent._ledger.network.snapshot())
    assert await operator.audit() == {("a port is out of date on its host", port_id)}
    answer = await operator.repair()
    assert (answer["violations"], [item["subject"] for item in answer["mended"]]) == ([], [port_id])


async def test_what_a_server_that_is_gone_still_holds_is_found_and_given_back(operator: Operator) -> None:
    server_id, _ = await operator.server()
    other, host = await operator.server()
    db, now = operator.cloud.node.cloud.db, operator.cloud.node.cloud.clock.now()
    del operator.guests(host)[other]
    await db.write(lambda conn: server_rows.mark_deleted(conn, other, now))
    found = await operator.audit()
    assert ("an allocation outlives its server", other) in found
    assert "a port outlives its server" in {rule for rule, _ in found}
    assert (await operator.repair())["violations"] == []
    assert await operator.audit() == set()
    assert (await operator.row(server_id)).vm_state == "active"


async def test_what_is_claimed_of_a_host_is_summed_up_anew_where_it_is_wrong(operator: Operator) -> None:
    _, host = await operator.server()
    db, now = operator.cloud.node.cloud.db, operator.cloud.node.cloud.clock.now()
    before = await db.read(host_rows.every)
    await db.write(lambda conn: host_rows.change(conn, host, now, vcpus_used=77, memory_used=0))
    wrong = ("what is claimed of the host is not the sum of its allocations", host)
    assert wrong in await operator.audit()
    answer = await operator.repair()
    assert wrong in {(item["rule"], item["subject"]) for item in answer["mended"]}
    assert answer["violations"] == []
    after = await db.read(host_rows.every)
    assert [known.used for known in after] == [known.used for known in before]
    assert [new.generation - old.generation for new, old in zip(after, before, strict=True)] == [
        int(known.name == host) for known in before
    ]


async def test_an_address_whose_port_is_gone_is_found_and_freed(operator: Operator) -> None:
    """The schema forbids it to Floe; anybody else at the database has to ask SQLite for that."""
    await operator.server()
    port_id = str(uuid.uuid4())
    with sqlite3.connect(operator.cloud.folder / "floe.db") as other:
        other.execute(
            "INSERT INTO port_addresses SELECT network_id, MAX(address) + 1, subnet_id, ? FROM port_addresses",
            [port_id],
        )
    other.close()
    assert await operator.audit() == {("an address outlives its port", port_id)}
    assert (await operator.repair())["violations"] == []
    assert await operator.audit() == set()


async def test_a_shelved_server_that_is_on_a_host_or_of_which_nobody_knows_the_image_is_found(
    operator: Operator,
) -> None:
    server_id, host = await operator.server()
    other, _ = await operator.server()
    asked = await operator.http.post(f"/compute/v2.1/servers/{server_id}/action", json={"shelve": None})
    assert asked.status_code == 202
    await operator.cloud.settled()
    assert (await operator.row(server_id)).vm_state == "shelved_offloaded"
    assert await operator.audit() == set()
    db = operator.cloud.node.cloud.db
    kept = await db.read(lambda conn: shelved_servers.get(conn, server_id))
    assert kept is not None
    await db.write(lambda conn: shelved_servers.delete(conn, server_id))
    await db.write(lambda conn: shelved_servers.insert(conn, replace(kept, server_id=other)))
    lost = ("a server is shelved, and nothing says in which image", server_id)
    assert await operator.audit() == {lost, ("a server is kept in an image, and is not shelved", other)}
    await db.write(lambda conn: server_rows.change(conn, server_id, host=host))
    assert {lost, ("a server that left its host is on one", server_id)} < await operator.audit()


async def test_a_host_that_does_not_answer_is_a_finding_of_its_own(operator: Operator) -> None:
    await operator.cloud.node.cloud.bus.withdraw("fake-2")
    assert await operator.audit() == {("a host does not answer: not looked at", "fake-2")}
    answer = await operator.repair()
    assert [item["subject"] for item in answer["violations"]] == ["fake-2"]


async def test_an_action_that_nobody_takes_up_is_found_until_a_conductor_does(operator: Operator) -> None:
    server_id, _ = await operator.server()
    node, now = operator.cloud.node, operator.cloud.node.cloud.clock.now()
    await node.conductor.stop()
    assert (await operator.http.delete(f"/compute/v2.1/servers/{server_id}")).status_code == 204
    assert await operator.audit() == set(), "it was asked for just now"
    await operator.set_action(server_id, "delete", created_at=now - timedelta(minutes=1))
    assert await operator.audit() == set(), "two minutes are not over"
    await operator.set_action(server_id, "delete", created_at=now - timedelta(minutes=3))
    (found,) = (await operator.http.get("/floe/v1/audit")).json()["violations"]
    assert (found["rule"], found["subject"]) == ("nobody takes up an action", server_id)
    assert found["text"].startswith("delete, since 20")
    assert "see that a conductor runs" in found["text"]
    answer = await operator.repair()
    assert [item["subject"] for item in answer["violations"]] == [server_id], "a nudge that nobody hears mends nothing"
    conductor = Conductor(node.cloud)
    await conductor.start()
    await conductor.idle()
    assert await operator.audit() == set()
    assert (await operator.row(server_id)).deleted_at is not None
    await conductor.stop()


async def test_an_action_that_is_tried_again_or_waits_its_turn_is_not_found(operator: Operator) -> None:
    first, _ = await operator.server()
    second, _ = await operator.server()
    node, now = operator.cloud.node, operator.cloud.node.cloud.clock.now()
    await node.conductor.stop()
    for server_id in (first, second):
        assert (await operator.http.delete(f"/compute/v2.1/servers/{server_id}")).status_code == 204
    early, late, soon = now - timedelta(minutes=9), now - timedelta(minutes=5), now + timedelta(minutes=9)
    given_back = {"attempts": 3, "updated_at": now, "lease_owner": None, "lease_until": None}
    await operator.set_action(first, "delete", created_at=early, **given_back)
    await operator.set_action(second, "delete", created_at=late, updated_at=now)
    assert await operator.audit() == set(), "somebody was at them a moment ago"
    await operator.set_action(first, "delete", lease_owner="c", lease_until=soon)
    await operator.set_action(second, "delete", updated_at=None)
    assert await operator.audit() == set(), "an older one is in hand"
    await operator.set_action(first, "delete", lease_until=now - timedelta(seconds=30))
    assert await operator.audit() == {("nobody takes up an action", second)}, "its owner is only just dead"
    await operator.set_action(first, "delete", lease_until=late)
    assert {subject for _, subject in await operator.audit()} == {first, second}


async def test_a_quota_set_below_what_is_used_is_no_fault_and_what_comes_after_it_is(operator: Operator) -> None:
    server_id, _ = await operator.server()
    await operator.server()
    row = await operator.row(server_id)
    db, clock = operator.cloud.node.cloud.db, operator.cloud.node.cloud.clock
    compute = {"quota_set": {"instances": 1, "cores": 1, "force": True}}
    assert (await operator.http.put(f"/compute/v2.1/os-quota-sets/{row.project_id}", json=compute)).status_code == 200
    network = {"quota": {"port": 1, "force": True}}
    assert (await operator.http.put(f"/network/v2.0/quotas/{row.project_id}", json=network)).status_code == 200
    assert await operator.audit() == set()
    over = replace(row, id=str(uuid.uuid4()), created_at=clock.now())
    await db.write(lambda conn: server_rows.add(conn, over))
    found = {rule for rule, subject in await operator.audit() if subject == row.project_id}
    assert found == {"the quota of instances is exceeded in project", "the quota of cores is exceeded in project"}
    await db.write(lambda conn: conn.execute(port_rows.ports.update().values(created_at=clock.now())))
    assert ("the quota of port is exceeded in project", row.project_id) in await operator.audit()


async def test_a_quota_is_set_after_what_is_there_though_that_was_made_by_a_clock_ahead(operator: Operator) -> None:
    server_id, _ = await operator.server()
    row, db = await operator.row(server_id), operator.cloud.node.cloud.db
    ahead = operator.cloud.node.cloud.clock.now() + timedelta(seconds=30)
    for table in (server_rows.servers, port_rows.ports):
        await db.write(lambda conn, table=table: conn.execute(table.update().values(created_at=ahead)))
    below = {"quota_set": {"instances": 0, "force": True}}
    of_user = f"/compute/v2.1/os-quota-sets/{row.project_id}?user_id={row.user_id}"
    for body, path in (
        (below, of_user),
        (below, f"/compute/v2.1/os-quota-sets/{row.project_id}"),
        ({"quota": {"port": 0, "force": True}}, f"/network/v2.0/quotas/{row.project_id}"),
    ):
        assert (await operator.http.put(path, json=body)).status_code == 200
        assert await operator.audit() == set()


async def test_counts_that_quotas_are_held_against_are_looked_at_and_mended(operator: Operator) -> None:
    server_id, _ = await operator.server()
    project_id = (await operator.row(server_id)).project_id
    db, table = operator.cloud.node.cloud.db, quota_usages.quota_usages
    before = await db.read(lambda conn: quota_usages.of(conn, project_id))
    assert before["instances"] == 1
    wrong = table.update().where(table.c.owner == project_id).values(used=table.c.used + 7)
    await db.write(lambda conn: conn.execute(wrong))
    await db.write(lambda conn: conn.execute(table.insert().values(owner="nobody", resource="ram", used=5)))
    rule = "what quotas limit is not counted right"
    assert await operator.audit() == {(rule, project_id), (rule, "nobody")}
    answer = await operator.repair()
    assert answer["violations"] == []
    assert f"what {project_id} has of instances was counted anew: 1, not 8" in answer["done"]
    assert await db.read(lambda conn: quota_usages.of(conn, project_id)) == before
    assert await db.read(lambda conn: quota_usages.of(conn, "nobody")) == {}


async def test_a_reply_names_so_many_violations_and_says_how_many_there_are(operator: Operator) -> None:
    table = quota_usages.quota_usages
    rows = [{"owner": f"nobody-{number}", "resource": "ram", "used": 1} for number in range(audit_reply.MOST + 7)]
    await operator.cloud.node.cloud.db.write(lambda conn: conn.execute(table.insert(), rows))
    answer = (await operator.http.get("/floe/v1/audit")).json()
    assert (len(answer["violations"]), answer["count"]) == (audit_reply.MOST, audit_reply.MOST + 7)
    answer = await operator.repair()
    assert (len(answer["mended"]), len(answer["done"]), answer["count"]) == (audit_reply.MOST, audit_reply.MOST, 0)


class NoReads:
    """A database whose reads on the event loop are refused."""

    def __init__(self, db: Any) -> None:
        self.scan, self.write = db.scan, db.write


async def test_an_audit_reads_beside_the_event_loop(operator: Operator) -> None:
    await operator.server()
    cloud = replace(operator.cloud.node.cloud, db=cast("Transactions", NoReads(operator.cloud.node.cloud.db)))
    assert await audits.run(cloud) == []


async def test_the_port_of_a_dhcp_server_needs_no_room_in_the_quota(operator: Operator) -> None:
    server_id, _ = await operator.server()
    project_id = (await operator.row(server_id)).project_id
    db = operator.cloud.node.cloud.db
    used = (await db.read(lambda conn: quota_usages.of(conn, project_id)))["port"]
    await db.write(lambda conn: quotas.put(conn, project_id, {"port": used}))
    await operator.login("demo")
    network = (await operator.http.post("/network/v2.0/networks", json={"network": {"name": "n"}})).json()["network"]
    subnet = {"network_id": network["id"], "cidr": "10.7.0.0/24", "ip_version": 4}
    assert (await operator.http.post("/network/v2.0/subnets", json={"subnet": subnet})).status_code == 201
    assert (await db.read(lambda conn: quota_usages.of(conn, project_id)))["port"] == used + 1
    refused = await operator.http.post("/network/v2.0/ports", json={"port": {"network_id": network["id"]}})
    assert refused.status_code == 409
    await operator.login()
    assert await operator.audit() == set()


async def test_a_server_under_a_command_is_told_as_busy(operator: Operator) -> None:
    _, host = await operator.server()
    bus = operator.cloud.node.cloud.bus
    (agent,) = (agent for agent in operator.cloud.node.agents if agent.host == host)
    assert agent._commands is not None
    operator.plane(host).applied = HostNetwork()
    async with agent._commands._server("under-way"):
        answer = await bus.request(host, Inspect(), timeout=10)
    assert isinstance(answer, Inspected)
    assert (answer.busy, answer.drift) == (("under-way",), ())


async def test_only_administrators_may_look(operator: Operator) -> None:
    await operator.login("demo")
    shown, mended = await operator.http.get("/floe/v1/audit"), await operator.http.post("/floe/v1/audit/repair")
    assert (shown.status_code, mended.status_code) == (403, 403)
    assert shown.json()["error"]["title"] == "Forbidden"
    operator.http.headers.pop("X-Auth-Token")
    assert (await operator.http.get("/floe/v1/audit")).status_code == 401


async def _reset(operator: Operator, server_id: str, state: str) -> httpx.Response:
    body = {"os-resetState": {"state": state}}
    return await operator.http.post(f"/compute/v2.1/servers/{server_id}/action", json=body)


async def _shown(operator: Operator, server_id: str) -> dict[str, Any]:
    server: dict[str, Any] = (await operator.http.get(f"/compute/v2.1/servers/{server_id}")).json()["server"]
    return server


async def test_a_server_set_to_error_by_hand_keeps_all_it_holds_and_is_in_order(operator: Operator) -> None:
    server_id, host = await operator.server()
    assert (await _reset(operator, server_id, "error")).status_code == 202
    shown = await _shown(operator, server_id)
    assert (shown["status"], shown["OS-EXT-STS:power_state"]) == ("ERROR", 1)
    assert "administrator" in shown["fault"]["message"]
    assert await operator.audit() == set()
    assert server_id in operator.guests(host)
    assert (await operator.repair())["done"] == []
    await operator.delete(server_id)
    assert server_id not in operator.guests(host)
    assert await operator.audit() == set()


@pytest.mark.parametrize(
    ("power", "status"),
    [
        (PowerState.RUNNING, "ACTIVE"),
        (PowerState.PAUSED, "PAUSED"),
        (PowerState.SUSPENDED, "SUSPENDED"),
        (PowerState.SHUTDOWN, "SHUTOFF"),
        (PowerState.CRASHED, "SHUTOFF"),
    ],
)
async def test_a_server_set_back_to_active_is_what_its_guest_does(
    operator: Operator, power: PowerState, status: str
) -> None:
    server_id, host = await operator.server()
    await _reset(operator, server_id, "error")
    operator.guests(host)[server_id] = power
    assert await operator.audit() == (
        set() if power is PowerState.RUNNING else {("a guest is not in the state its server is in", server_id)}
    ), "in ERROR too the power state is the host's"
    assert (await operator.repair())["violations"] == []
    assert (await _shown(operator, server_id))["status"] == "ERROR", "a guest that changes takes no error back"
    assert (await _reset(operator, server_id, "active")).status_code == 202
    shown = await _shown(operator, server_id)
    assert (shown["status"], shown["OS-EXT-STS:power_state"], "fault" in shown) == (status, int(power), False)
    assert await operator.audit() == set()


@pytest.mark.parametrize("power", [PowerState.PAUSED, PowerState.SUSPENDED])
async def test_a_guest_that_its_host_stopped_for_a_while_is_shown_as_it_is(
    operator: Operator, power: PowerState
) -> None:
    server_id, host = await operator.server()
    for state, status in ((power, power.name), (PowerState.SHUTDOWN, "SHUTOFF"), (power, power.name)):
        operator.guests(host)[server_id] = state
        await operator.repair()
        assert (await _shown(operator, server_id))["status"] == status
        assert await operator.audit() == set()
    assert (await operator.repair())["done"] == [], "a state that was taken over is not taken over again"


async def test_a_guest_lost_in_error_is_told_of_as_in_any_state(operator: Operator) -> None:
    server_id, host = await operator.server()
    await _reset(operator, server_id, "error")
    del operator.guests(host)[server_id]
    assert await operator.audit() == {("a server has no guest", server_id)}, "its files are its own, and not left over"


async def test_a_failed_build_holds_nothing_whatever_an_operator_says_it_is(operator: Operator) -> None:
    for agent in operator.cloud.node.agents:
        for _ in range(20):
            operator.cloud.node.fake_hosts[agent.host].fail("start")
    server_id, _ = await operator.server(status="error")
    cause = (await _shown(operator, server_id))["fault"]["message"]
    refused = await _reset(operator, server_id, "active")
    assert refused.status_code == 409
    assert "build failed" in refused.json()["conflictingRequest"]["message"]
    assert (await _reset(operator, server_id, "error")).status_code == 202
    shown = await _shown(operator, server_id)
    assert (shown["status"], shown["fault"]["message"]) == ("ERROR", cause)
    assert await operator.audit() == set()


@pytest.mark.parametrize("held", ["allocation", "port"])
async def test_what_a_failed_build_still_holds_is_found(operator: Operator, held: str) -> None:
    server_id, _ = await operator.server()
    db = operator.cloud.node.cloud.db
    await _reset(operator, server_id, "error")
    await db.write(lambda conn: server_rows.change(conn, server_id, host=None))
    assert f"a server on no host holds {'an' if held == 'allocation' else 'a'} {held}" in {
        rule for rule, _ in await operator.audit()
    }


async def test_a_built_server_on_no_host_is_found(operator: Operator) -> None:
    server_id, _ = await operator.server()
    await operator.cloud.node.cloud.db.write(lambda conn: server_rows.change(conn, server_id, host=None))
    assert ("a server that was built is on no host", server_id) in await operator.audit()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(20):
        while not condition():  # the host's network changes without telling
            await asyncio.sleep(0.02)


async def routed(operator: Operator, server_id: str) -> Any:
    """Give a server a floating IP of the network that there is from the start; return that."""
    cloud, root = operator.cloud.node.cloud, Context(request_id="", user_id="root", roles=frozenset({"admin"}))
    root = replace(root, project_id="0" * 32)
    (port,) = await cloud.db.read(lambda conn: port_rows.of_server(conn, server_id))
    outside = await cloud.db.read(network_rows.default)
    (made,) = await floating_ips.create(cloud, root, [{"network_id": outside, "port_id": port.id}])
    return made


async def test_a_router_that_a_host_lost_comes_back(operator: Operator) -> None:
    server_id, host = await operator.server()
    floating = await routed(operator, server_id)
    plane = operator.plane(host)
    await until(lambda: bool(plane.applied.routers and plane.applied.routers[0].floating))
    assert await operator.audit() == set()
    plane.applied = replace(plane.applied, routers=())
    assert await operator.audit() == {("a host's network differs from what its agent wants", host)}
    answer = await operator.repair()
    assert answer["violations"] == []
    assert [each.router_id for each in plane.applied.routers] == [floating.router_id]


async def test_a_network_that_was_renamed_is_not_out_of_date(operator: Operator) -> None:
    server_id, _ = await operator.server()
    (port,) = await operator.cloud.node.cloud.db.read(lambda conn: port_rows.of_server(conn, server_id))
    await operator.login()
    body = {"network": {"name": "renamed"}}
    assert (await operator.http.put(f"/network/v2.0/networks/{port.network_id}", json=body)).status_code == 200
    assert await operator.audit() == set()


async def test_a_guest_that_goes_takes_its_floating_ip_from_its_host_and_leaves_the_others(operator: Operator) -> None:
    """A guest beside it keeps the router there; the command that takes the one away says nothing of routers."""
    every = [await operator.server() for _ in range(5)]
    host = next(name for _, name in every if [there for _, there in every].count(name) > 1)
    (server_id, *_), (other, *_), *_ = (each for each in every if each[1] == host)
    floating = await routed(operator, server_id)
    plane = operator.plane(host)
    await until(lambda: bool(plane.applied.routers and plane.applied.routers[0].floating))
    await operator.delete(server_id)
    assert await operator.audit() == set()
    (router,) = plane.applied.routers
    assert (router.router_id, router.floating) == (floating.router_id, ())
    assert other in {each.server_id for each in plane.applied.ports}
