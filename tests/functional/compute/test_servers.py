"""Servers through the API once they are there: seeing, finding, changing, deleting."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import httpx
import pytest

from floe.cloud.cloud import Cloud
from floe.core.actions import CANCELLED
from floe.core.messages import Command, ConsoleOutput, Done, ReadConsole, Result, UpdateMetadata
from floe.core.servers import ACTIVE, ERROR, ServerFault
from floe.store import actions, servers

IMAGE = "11111111-1111-4111-8111-111111111111"
NEW = {"flavorRef": "0", "imageRef": IMAGE, "networks": "none"}


async def make(client: Any, name: str = "web", **values: Any) -> str:
    reply = await client.post("/servers", json={"server": {**NEW, "name": name, **values}})
    assert reply.status_code == 202, reply.text
    return reply.json()["server"]["id"]


async def set_row(cloud: Cloud, ident: str, **values: Any) -> None:
    await cloud.db.write(lambda conn: servers.change(conn, ident, **values))


async def found(client: Any, query: str = "") -> list[str]:
    reply = await client.get(f"/servers?{query}")
    assert reply.status_code == 200, reply.text
    return [server["name"] for server in reply.json()["servers"]]


async def test_another_projects_server_is_not_found_whatever_is_asked_of_it(client: Any) -> None:
    ident = await make(client("ann"))
    bob = client("bob")
    for method, path, body in (
        ("GET", "", None),
        ("PUT", "", {"server": {"name": "x"}}),
        ("DELETE", "", None),
        ("GET", "/metadata", None),
        ("POST", "/metadata", {"metadata": {"a": "b"}}),
        ("GET", "/tags", None),
        ("PUT", "/tags/x", None),
        ("GET", "/ips", None),
        ("GET", "/os-interface", None),
        ("POST", "/action", {"lock": None}),
        ("POST", "/action", {"os-getConsoleOutput": {}}),
    ):
        reply = await bob.request(method, f"/servers/{ident}{path}", json=body)
        assert reply.status_code == 404, (method, path)
        assert "itemNotFound" in reply.json()
    assert await found(bob) == []
    assert (await client("root").get(f"/servers/{ident}")).status_code == 200
    assert await found(client("root")) == []
    assert await found(client("root"), "all_tenants=1") == ["web"]
    assert (await bob.get("/servers?all_tenants=1")).status_code == 403


async def test_pages_follow_each_other_to_the_end(client: Any, compute_cloud: Cloud) -> None:
    ann = client("ann")
    for number in range(5):
        compute_cloud.clock.advance(1)  # type: ignore[attr-defined]
        await make(ann, f"s{number}")
    assert await found(ann) == ["s4", "s3", "s2", "s1", "s0"]
    seen: list[str] = []
    url = "http://cloud:8774/compute/v2.1/servers?limit=2"
    while url:
        page = (await ann.get(url)).json()
        seen += [server["name"] for server in page["servers"]]
        url = page.get("servers_links", [{"href": ""}])[0]["href"]
    assert seen == ["s4", "s3", "s2", "s1", "s0"]
    assert await found(ann, "sort_key=display_name&sort_dir=asc&limit=2") == ["s0", "s1"]
    for query in ("limit=-1", "limit=x", "marker=nope", "sort_key=nope", "sort_dir=up", "sort_dir=asc&sort_dir=asc"):
        assert (await ann.get(f"/servers?{query}")).status_code == 400, query
    assert (await ann.get("/servers?sort_key=host")).status_code == 403
    assert await found(ann, "sort_dir=asc") == ["s0", "s1", "s2", "s3", "s4"]
    assert await found(ann, "sort_key=progress&sort_key=kernel_id&sort_key=created_at") == [
        "s4",
        "s3",
        "s2",
        "s1",
        "s0",
    ]
    for version, status in (("2.74", 200), ("2.75", 400)):
        assert (await client("ann", version).get("/servers?sort_key=memory_mb")).status_code == status


async def test_sorting_by_what_may_be_empty_pages_through_all(client: Any, compute_cloud: Cloud) -> None:
    ann = client("ann")
    for number in range(4):
        ident = await make(ann, f"s{number}")
        if number % 2:
            await set_row(compute_cloud, ident, task_state=None)
    seen, marker = [], ""
    for _ in range(4):
        query = f"sort_key=task_state&sort_dir=asc&limit=1{marker}"
        (server,) = (await ann.get(f"/servers?{query}")).json()["servers"]
        seen.append(server["name"])
        marker = f"&marker={server['id']}"
    assert sorted(seen) == ["s0", "s1", "s2", "s3"]


async def test_filters_find_what_they_name(client: Any, compute_cloud: Cloud) -> None:
    ann = client("ann")
    one = await make(ann, "web.one", tags=["red", "big"], metadata={"k": "v"})
    two = await make(ann, "web_two", tags=["blue"], flavorRef="1")
    await set_row(compute_cloud, one, vm_state=ACTIVE, task_state=None, locked=True)
    for query, names in (
        ("name=web", {"web.one", "web_two"}),
        ("name=^web%5C.", {"web.one"}),
        ("name=two$", {"web_two"}),
        ("name=WEB_", {"web_two"}),
        ("name=^WEB[._]t[a-z]%2B$", {"web_two"}),
        ("name=[._]one", {"web.one"}),
        ("status=active", {"web.one"}),
        ("status=BUILD&status=ACTIVE", {"web.one", "web_two"}),
        ("status=nonsense&status=build", {"web_two"}),
        ("status=shelved", set()),
        ("flavor=1", {"web_two"}),
        (f"image={IMAGE}", {"web.one", "web_two"}),
        ("tags=red,big", {"web.one"}),
        ("tags-any=red,blue", {"web.one", "web_two"}),
        ("not-tags=red", {"web_two"}),
        ("not-tags-any=red,blue", set()),
        ("locked=true", {"web.one"}),
        ("locked=0", {"web_two"}),
        ("vm_state=building", {"web_two"}),
        ("ip6=fe80", set()),
        ("availability_zone=mars", set()),
        ("host=nowhere", {"web.one", "web_two"}),
        ("name=^web%5CW", {"web.one"}),
        ("name=one|two", {"web.one", "web_two"}),
        ("name=^(web.)%3Ftwo&status=build", {"web_two"}),
        ("name=^(.%2Ba)%2B", set()),
        ("name=w%25", set()),
        ("hostname=^web-[a-z]%2B$", {"web.one", "web_two"}),
        ("key_name=k", set()),
        ("progress=^0$", {"web_two"}),
        ("availability_zone=.", set()),
        ("name=web.*&limit=1&sort_key=display_name&sort_dir=asc", {"web.one"}),
        (f"name=web.*&marker={one}&sort_key=display_name&sort_dir=asc", {"web_two"}),
        # for administrators alone
        ("display_name=one", {"web.one", "web_two"}),
        ("description=x", {"web.one", "web_two"}),
        ("locked_by=admin", {"web.one", "web_two"}),
    ):
        assert set(await found(ann, query)) == names, query
    for query, names in (
        (f"uuid={two}", {"web_two"}),
        ("display_name=^web%5C.", {"web.one"}),
        ("display_name=o.e", {"web.one"}),
        ("description=.", set()),
        ("locked_by=.", set()),
        ("auto_disk_config=0", {"web.one", "web_two"}),
        ("root_device_name=vd[a-c]", {"web.one", "web_two"}),
        ("kernel_id=.", set()),
        ("kernel_id=.*", {"web.one", "web_two"}),
        ("node=.*", set()),
        (f"image_ref={IMAGE}", {"web.one", "web_two"}),
        ("deleted=perhaps", {"web.one", "web_two"}),
        ("status=deleted", set()),
    ):
        assert set(await found(client("root"), f"all_tenants=1&{query}")) == names, query
    for query in (
        "name=(a",
        "name=",
        "name=" + "a" * 256,
        "ip=",
        "ip6=(",
        "tags=",
        "flavor=",
        "status=",
        "status=nonsense",
        "nonsense=1",
        "locked=x",
        "changes-since=x",
        "changes-since=2021-01-01&changes-before=2020-01-01",
        "power_state=x",
    ):
        assert (await ann.get(f"/servers?{query}")).status_code == 400, query
    assert await found(client("ann", "2.37"), "status=nonsense") == []
    assert (await ann.get("/servers?status=deleted")).status_code == 403
    assert set(await found(client("ann", "2.74"), "nonsense=1")) == {"web.one", "web_two"}


@pytest.mark.parametrize("name", ["web (1)", "c++", "what?", "a|b", "[x]", "50% off", "a.b", "x_y"])
async def test_a_server_is_found_by_its_name_whatever_that_is(client: Any, name: str) -> None:
    ann = client("ann")
    await make(ann, name)
    await make(ann, "other")
    assert name in await found(ann, str(httpx.QueryParams(name=name)))


async def test_addresses_are_shown_and_found(client: Any, compute_cloud: Cloud, network_id: str) -> None:
    from floe.cloud import server_ports

    ann = client("ann")
    ident = await make(ann, "web", networks=[{"uuid": network_id, "fixed_ip": "10.0.0.77"}])
    await make(ann, "other")

    def bind(conn: Any) -> None:
        server = servers.get(conn, ident)
        assert server is not None
        server_ports.bind(
            conn,
            now=compute_cloud.clock.now(),
            server_id=ident,
            project_id=server.project_id,
            host="h1",
            zone="nova",
            hostname="web",
            planned=server.networks,
        )

    await compute_cloud.db.write(bind)
    shown = (await ann.get(f"/servers/{ident}")).json()["server"]
    (address,) = shown["addresses"]["private"]
    assert (address["addr"], address["version"], address["OS-EXT-IPS:type"]) == ("10.0.0.77", 4, "fixed")
    assert shown["security_groups"] == [{"name": "default"}]
    (nic,) = (await ann.get(f"/servers/{ident}/os-interface")).json()["interfaceAttachments"]
    assert nic["fixed_ips"][0]["ip_address"] == "10.0.0.77"
    assert nic["mac_addr"] == address["OS-EXT-IPS-MAC:mac_addr"]
    assert (await ann.get(f"/servers/{ident}/os-interface/{nic['port_id']}")).status_code == 200
    assert (await ann.get(f"/servers/{ident}/ips/private")).json() == {"private": [{"version": 4, "addr": "10.0.0.77"}]}
    assert (await ann.get(f"/servers/{ident}/ips/other")).status_code == 404
    assert await found(ann, "ip=10.0.0.77") == ["web"]
    assert await found(ann, "ip=^10.0.0.") == ["web"]
    assert await found(ann, "ip=10.0.0.7") == ["web"]
    for query in ("ip=10.0.0.7$", "ip=^0.0", "ip=^10%5C.0%5C.0%5C.7$", "ip=^10%5C.1%5C.", "ip=x", "ip6=10"):
        assert await found(ann, query) == [], query
    for query in (
        "ip=^10%5C.0%5C.0%5C.77$",
        "ip=^10%5C.0%5C.",
        "ip=^(10|192)%5C..*%5C.%5Cd7$",
        "ip=0.77",
        "ip=10&ip6=x",
        "ip=10&name=^w.b$",
    ):
        assert await found(ann, query) == ["web"], query
    assert await found(client("root"), "all_tenants=1&ip=%5C.77$") == ["web"]
    taken = {"server": {**NEW, "name": "x", "networks": [{"port": nic["port_id"]}]}}
    reply = await ann.post("/servers", json=taken)
    assert reply.status_code == 409 and nic["port_id"] in reply.text


async def test_an_update_changes_what_it_names_and_refuses_the_rest(client: Any) -> None:
    ann = client("ann")
    ident = await make(ann)
    body = {"name": "new", "description": "two\nlines", "accessIPv4": "192.0.2.1", "hostname": "other.example"}
    reply = await ann.put(f"/servers/{ident}", json={"server": body})
    assert reply.status_code == 200, reply.text
    shown = reply.json()["server"]
    assert (shown["name"], shown["description"]) == ("new", "two\nlines")
    assert (shown["accessIPv4"], shown["OS-EXT-SRV-ATTR:hostname"]) == ("192.0.2.1", "other.example")
    for bad in ({"name": ""}, {"name": 1}, {"accessIPv4": "x"}, {"flavorRef": "1"}, {"hostname": "a b"}):
        assert (await ann.put(f"/servers/{ident}", json={"server": bad})).status_code == 400, bad
    assert (await client("eve").put(f"/servers/{ident}", json={"server": body})).status_code == 403


async def test_a_delete_cancels_the_build_and_is_asked_for_once(
    client: Any, compute_cloud: Cloud, nudges: list[str]
) -> None:
    ann = client("ann")
    ident = await make(ann)
    assert (await ann.delete(f"/servers/{ident}")).status_code == 204
    assert (await ann.delete(f"/servers/{ident}")).status_code == 204
    listed = await compute_cloud.db.read(lambda conn: actions.of_server(conn, ident))
    assert {action.kind: action.state for action in listed} == {"create": CANCELLED, "delete": "pending"}
    await compute_cloud.bus.idle()  # type: ignore[attr-defined]
    assert len(listed) == len(nudges) == 2
    shown = (await ann.get(f"/servers/{ident}")).json()["server"]
    assert shown["OS-EXT-STS:task_state"] == "deleting"
    await compute_cloud.db.write(lambda conn: servers.mark_deleted(conn, ident, compute_cloud.clock.now()))
    assert (await ann.get(f"/servers/{ident}")).status_code == 404
    assert (await ann.delete(f"/servers/{ident}")).status_code == 404
    assert await found(client("root"), "all_tenants=1&deleted=true") == ["web"]
    since = (compute_cloud.clock.now() - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert await found(ann, f"changes-since={since}") == ["web"]
    assert await found(ann, f"changes-before={since}") == []


async def test_a_locked_server_is_left_alone_until_it_is_unlocked(client: Any) -> None:
    ann, root = client("ann"), client("root")
    ident = await make(ann)
    lock = {"lock": {"locked_reason": "mine"}}
    assert (await ann.post(f"/servers/{ident}/action", json=lock)).status_code == 202
    shown = (await ann.get(f"/servers/{ident}")).json()["server"]
    assert (shown["locked"], shown["locked_reason"]) == (True, "mine")
    reply = await ann.delete(f"/servers/{ident}")
    assert reply.status_code == 409 and "is locked" in reply.text
    assert (await ann.put(f"/servers/{ident}/metadata", json={"metadata": {}})).status_code == 409
    assert (await ann.post(f"/servers/{ident}/action", json={"unlock": None})).status_code == 202
    assert (await root.post(f"/servers/{ident}/action", json={"lock": None})).status_code == 202
    assert (await ann.post(f"/servers/{ident}/action", json={"unlock": None})).status_code == 403
    assert (await client("ann", "2.72").post(f"/servers/{ident}/action", json=lock)).status_code == 202, "as in Nova"


async def test_an_action_that_is_not_there_is_refused_by_name(client: Any) -> None:
    ident = await make(client("ann"))
    for body, word in (
        ({"os-migrateLive": {}}, "os-migrateLive"),
        ({}, "exactly one"),
        ({"lock": None, "unlock": None}, "one"),
    ):
        reply = await client("ann").post(f"/servers/{ident}/action", json=body)
        assert reply.status_code == 400 and word in reply.json()["badRequest"]["message"]
    reset = {"os-resetState": {"state": "error"}}
    assert (await client("ann").post(f"/servers/{ident}/action", json=reset)).status_code == 403


async def test_an_administrator_sets_a_state_by_hand_once_nothing_is_under_way(
    client: Any, compute_cloud: Cloud
) -> None:
    ident, root = await make(client("ann")), client("root")
    reset = {"os-resetState": {"state": "error"}}
    assert (await root.post(f"/servers/{ident}/action", json=reset)).status_code == 409
    now = compute_cloud.clock.now()
    await compute_cloud.db.write(lambda conn: actions.cancel_open(conn, ident, now, but="delete"))
    assert (await root.post(f"/servers/{ident}/action", json=reset)).status_code == 202
    assert (await root.get(f"/servers/{ident}")).json()["server"]["status"] == "ERROR"


async def test_a_fault_tells_the_user_why_and_administrators_the_details(client: Any, compute_cloud: Cloud) -> None:
    ident = await make(client("ann"))
    fault = ServerFault(code=500, message="No valid host", details="h1: no", created_at=compute_cloud.clock.now())
    await set_row(compute_cloud, ident, vm_state=ERROR, task_state=None, fault=fault)
    mine = (await client("ann").get(f"/servers/{ident}")).json()["server"]["fault"]
    assert mine == {"code": 500, "created": "2030-01-01T00:00:00Z", "message": "No valid host"}
    assert (await client("root").get(f"/servers/{ident}")).json()["server"]["fault"]["details"] == "h1: no"


async def test_metadata_is_read_changed_and_limited(client: Any) -> None:
    ann = client("ann")
    ident = await make(ann, metadata={"a": "1"})
    path = f"/servers/{ident}/metadata"
    assert (await ann.post(path, json={"metadata": {"b": "2"}})).json() == {"metadata": {"a": "1", "b": "2"}}
    assert (await ann.put(path, json={"metadata": {"c": "3"}})).json() == {"metadata": {"c": "3"}}
    assert (await ann.put(f"{path}/d", json={"meta": {"d": "4"}})).json() == {"meta": {"d": "4"}}
    assert (await ann.get(f"{path}/d")).json() == {"meta": {"d": "4"}}
    assert (await ann.delete(f"{path}/d")).status_code == 204
    assert (await ann.get(path)).json() == {"metadata": {"c": "3"}}
    assert (await ann.get(f"{path}/d")).status_code == 404
    assert (await ann.delete(f"{path}/d")).status_code == 404
    assert (await ann.put(f"{path}/d", json={"meta": {"e": "4"}})).status_code == 400
    assert (await ann.post(path, json={"metadata": {str(i): "" for i in range(128)}})).status_code == 403


async def test_tags_are_read_changed_and_limited(client: Any) -> None:
    ann = client("ann")
    ident = await make(ann)
    path = f"/servers/{ident}/tags"
    assert (await ann.put(path, json={"tags": ["b", "a"]})).json() == {"tags": ["a", "b"]}
    assert (await ann.put(f"{path}/c")).status_code == 201
    assert (await ann.put(f"{path}/c")).status_code == 204
    assert (await ann.get(f"{path}/c")).status_code == 204
    assert (await ann.delete(f"{path}/c")).status_code == 204
    assert (await ann.get(f"{path}/c")).status_code == 404
    assert (await ann.put(f"{path}/a%2Cb")).status_code == 400
    assert (await ann.put(f"{path}/{'x' * 61}")).status_code == 400
    assert (await ann.put(path, json={"tags": [str(i) for i in range(50)]})).status_code == 200
    assert (await ann.put(f"{path}/more")).status_code == 400
    assert (await ann.delete(path)).status_code == 204
    assert (await ann.get(path)).json() == {"tags": []}
    assert (await client("ann", "2.25").get(path)).status_code == 404


@pytest.fixture
async def told(compute_cloud: Cloud) -> list[Command]:
    """Give what host h1 was told; it answers every command."""
    heard: list[Command] = []

    async def answer(command: Command) -> Result:
        heard.append(command)
        return ConsoleOutput(text="login: ") if isinstance(command, ReadConsole) else Done()

    await compute_cloud.bus.serve("h1", answer)
    return heard


async def test_console_output_is_read_from_the_host(client: Any, compute_cloud: Cloud, told: list[Command]) -> None:
    ann = client("ann")
    ident = await make(ann)
    ask = {"os-getConsoleOutput": {"length": 5}}
    assert (await ann.post(f"/servers/{ident}/action", json=ask)).status_code == 409
    await set_row(compute_cloud, ident, host="h1", vm_state=ACTIVE, task_state=None)
    assert (await ann.post(f"/servers/{ident}/action", json=ask)).json() == {"output": "login: "}
    for length in (None, "10", -1, "-1", ""):
        body = {"os-getConsoleOutput": {"length": length}}
        assert (await ann.post(f"/servers/{ident}/action", json=body)).status_code == 200
    assert [command.lines for command in told if isinstance(command, ReadConsole)] == [5, None, 10, None, None, None]
    for length in (-5, "-5", "--1", "-", " ", "x", True, 1.5, []):
        bad = {"os-getConsoleOutput": {"length": length}}
        assert (await ann.post(f"/servers/{ident}/action", json=bad)).status_code == 400, length


async def test_a_host_hears_of_changed_metadata_and_a_deaf_one_stops_nobody(
    client: Any, compute_cloud: Cloud, told: list[Command]
) -> None:
    ann = client("ann")
    ident = await make(ann)
    await set_row(compute_cloud, ident, host="h1")
    await ann.post(f"/servers/{ident}/metadata", json={"metadata": {"a": "b"}})
    (command,) = told
    assert isinstance(command, UpdateMetadata) and command.metadata.metadata == {"a": "b"}
    await set_row(compute_cloud, ident, host="gone")
    reply = await ann.post(f"/servers/{ident}/metadata", json={"metadata": {"c": "d"}})
    assert reply.status_code == 200


async def test_usage_counts_the_hours_that_servers_were_there(client: Any, compute_cloud: Cloud) -> None:
    ann, project = client("ann"), "a" * 32
    ident = await make(ann)
    await make(ann, "never-launched")
    await set_row(compute_cloud, ident, vm_state=ACTIVE, task_state=None, launched_at=compute_cloud.clock.now())
    compute_cloud.clock.advance(7200)  # type: ignore[attr-defined]
    used = (await ann.get(f"/os-simple-tenant-usage/{project}")).json()["tenant_usage"]
    assert (used["total_hours"], used["total_memory_mb_usage"], used["total_vcpus_usage"]) == (2.0, 256.0, 2.0)
    (server,) = used["server_usages"]
    assert (server["instance_id"], server["uptime"], server["state"]) == (ident, 7200, "active")
    for state in ("stopped", "rescued", "resized", "shelved_offloaded"):
        await set_row(compute_cloud, ident, vm_state=state)
        used = (await ann.get(f"/os-simple-tenant-usage/{project}")).json()["tenant_usage"]
        assert used["server_usages"][0]["state"] == state, "a state, and not a status: no SHUTOFF, no VERIFY_RESIZE"
    await compute_cloud.db.write(lambda conn: servers.mark_deleted(conn, ident, compute_cloud.clock.now()))
    compute_cloud.clock.advance(7200)  # type: ignore[attr-defined]
    used = (await ann.get(f"/os-simple-tenant-usage/{project}?start=2030-01-01T01:00:00")).json()["tenant_usage"]
    assert (used["total_hours"], used["server_usages"][0]["state"]) == (1.0, "terminated")
    everybody = (await client("root").get("/os-simple-tenant-usage?detailed=1")).json()["tenant_usages"]
    assert [each["tenant_id"] for each in everybody] == [project]
    page = (await ann.get(f"/os-simple-tenant-usage/{project}?limit=1")).json()
    assert "tenant_usage_links" in page
    assert (await client("bob").get(f"/os-simple-tenant-usage/{project}")).status_code == 403
    assert (await ann.get("/os-simple-tenant-usage")).status_code == 403
    assert (await ann.get(f"/os-simple-tenant-usage/{project}?start=2031-01-01T00:00:00")).status_code == 400


async def test_an_administrator_names_a_project_together_with_all_tenants(client: Any) -> None:
    root = client("root")
    await make(client("ann"), "hers")
    for name in ("project_id", "tenant_id"):
        assert await found(root, f"{name}={'a' * 32}") == []
        assert await found(root, f"all_tenants=1&{name}={'a' * 32}") == ["hers"]
        assert await found(root, f"all_tenants=1&{name}={'b' * 32}") == []


async def test_a_delete_by_force_is_a_delete(client: Any, compute_cloud: Cloud) -> None:
    ann = client("ann")
    ident = await make(ann)
    path = f"/servers/{ident}/action"
    assert (await client("bob").post(path, json={"forceDelete": None})).status_code == 404
    assert (await ann.post(path, json={"forceDelete": None})).status_code == 202
    listed = await compute_cloud.db.read(lambda conn: actions.of_server(conn, ident))
    assert {action.kind: action.state for action in listed} == {"create": CANCELLED, "delete": "pending"}


async def test_a_server_is_found_by_the_times_that_it_shows(client: Any, compute_cloud: Cloud) -> None:
    ident = await make(client("ann"))
    at = compute_cloud.clock.now().replace(microsecond=654_321)
    await set_row(compute_cloud, ident, created_at=at, updated_at=at)
    shown = (await client("ann").get(f"/servers/{ident}")).json()["server"]
    later = (at + timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    earlier = (at - timedelta(seconds=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert await found(client("ann"), f"changes-before={shown['updated']}") == ["web"]
    assert await found(client("ann"), f"changes-since={shown['updated']}") == ["web"]
    assert await found(client("ann"), f"changes-since={shown['updated']}&changes-before={shown['updated']}") == ["web"]
    assert await found(client("ann"), f"changes-before={earlier}") == []
    assert await found(client("ann"), f"changes-since={later}") == []
    assert await found(client("ann"), f"created_at={shown['created']}") == ["web"]
    assert await found(client("ann"), f"created_at={later}") == []
    assert await found(client("ann"), "changes-before=9999-12-31T23:59:59Z") == ["web"]


async def test_an_action_is_found_by_the_time_that_it_shows(client: Any, compute_cloud: Cloud) -> None:
    ident = await make(client("ann"))
    path = f"/servers/{ident}/os-instance-actions"
    (action,) = (await client("ann").get(path)).json()["instanceActions"]
    for bound in ("changes-since", "changes-before"):
        reply = await client("ann").get(f"{path}?{bound}={action['updated_at']}")
        assert reply.json()["instanceActions"] == [action], bound
