"""Creating servers through the API: what is taken, and every way in which it is refused."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from floe.api.compute.server_shapes import USER, traits
from floe.cloud import sealing
from floe.cloud.cloud import Cloud
from floe.store import actions, server_views, servers

IMAGE = "11111111-1111-4111-8111-111111111111"
UNKNOWN = "99999999-9999-4999-8999-999999999999"


def body(**values: Any) -> dict[str, Any]:
    known = {"name": "web", "flavorRef": "0", "imageRef": IMAGE, "networks": "none"}
    return {"server": {key: value for key, value in {**known, **values}.items() if value is not ...}}


async def test_a_create_makes_row_and_action_and_nudges_a_conductor(
    client: Any, compute_cloud: Cloud, nudges: list[str]
) -> None:
    reply = await client("ann").post("/servers", json=body(metadata={"a": "b"}, tags=["x"]))
    assert reply.status_code == 202, reply.text
    made = reply.json()["server"]
    assert reply.headers["location"].endswith(f"/v2.1/servers/{made['id']}")
    assert made["adminPass"] and made["security_groups"] == [{"name": "default"}]
    server = await compute_cloud.db.read(lambda conn: servers.get(conn, made["id"]))
    assert server is not None
    assert (server.vm_state, server.task_state, server.hostname) == ("building", "scheduling", "web")
    (action,) = await compute_cloud.db.read(lambda conn: actions.of_server(conn, made["id"]))
    await compute_cloud.bus.idle()  # type: ignore[attr-defined]
    assert action.kind == "create" and nudges == [action.id]
    assert sealing.given(compute_cloud, action)["admin_password"] == made["adminPass"]
    assert action.input["image"]["image_id"] == IMAGE and action.input["kernel"] is None
    shown = (await client("ann").get(f"/servers/{made['id']}")).json()["server"]
    assert (shown["status"], shown["tags"], shown["metadata"]) == ("BUILD", ["x"], {"a": "b"})


async def test_several_are_made_together_with_numbered_names(client: Any, compute_cloud: Cloud) -> None:
    reply = await client("ann").post(
        "/servers", json=body(min_count=2, max_count="3", return_reservation_id=True, hostname="h")
    )
    reservation = reply.json()["reservation_id"]
    query = f"reservation_id={reservation}&sort_key=display_name&sort_dir=asc"
    found = (await client("ann").get(f"/servers/detail?{query}")).json()
    assert [server["name"] for server in found["servers"]] == ["web-1", "web-2", "web-3"]
    assert [server["OS-EXT-SRV-ATTR:hostname"] for server in found["servers"]] == ["h-1", "h-2", "h-3"]


async def test_a_hundred_are_made_in_one_call(client: Any) -> None:
    room = {"instances": 100, "cores": -1, "ram": -1}
    await client("root").put(f"/os-quota-sets/{'a' * 32}", json={"quota_set": room})
    asked = body(min_count=100, max_count=100, return_reservation_id=True)
    reservation = (await client("ann").post("/servers", json=asked)).json()["reservation_id"]
    found = (await client("ann").get(f"/servers?reservation_id={reservation}")).json()["servers"]
    assert {server["name"] for server in found} == {f"web-{number}" for number in range(1, 101)}
    assert len(found) == 100
    assert (await client("ann").post("/servers", json=body())).status_code == 403


async def test_between_min_and_max_as_many_are_made_as_the_quota_allows(client: Any) -> None:
    assert (await client("ann").post("/servers", json=body(min_count=8))).status_code == 202
    assert (await client("ann").post("/servers", json=body(min_count=1, max_count=5))).status_code == 202
    assert len((await client("ann").get("/servers")).json()["servers"]) == 10
    reply = await client("ann").post("/servers", json=body())
    assert reply.status_code == 403
    assert "instances: requested 1, already used 10, limit 10" in reply.json()["forbidden"]["message"]


@pytest.mark.parametrize(
    ("values", "status", "words"),
    [
        ({"flavorRef": "nope"}, 400, ["Flavor nope could not be found", "flavorRef"]),
        ({"flavorRef": ...}, 400, ["flavorRef"]),
        ({"imageRef": UNKNOWN}, 400, ["imageRef", UNKNOWN]),
        ({"imageRef": "55555555-5555-4555-8555-555555555555"}, 400, ["imageRef"]),
        ({"imageRef": "x"}, 400, ["imageRef", '"x"']),
        ({"imageRef": ""}, 400, ["imageRef"]),
        ({"imageRef": "22222222-2222-4222-8222-222222222222"}, 400, ["queued"]),
        ({"imageRef": "33333333-3333-4333-8333-333333333333"}, 400, ["3221225472", "1 GiB"]),
        ({"imageRef": "44444444-4444-4444-8444-444444444444"}, 400, ["min_ram", "1024", "128"]),
        ({"imageRef": "66666666-6666-4666-8666-666666666666"}, 400, ["min_disk", "10"]),
        ({"key_name": "nokey"}, 400, ["key_name", "nokey"]),
        ({"networks": [{"uuid": UNKNOWN}]}, 400, [UNKNOWN]),
        ({"networks": [{"port": UNKNOWN}]}, 400, [UNKNOWN]),
        ({"networks": [{}]}, 400, ["networks[0]"]),
        ({"networks": [{"uuid": UNKNOWN, "fixed_ip": "10.0.0.300"}]}, 400, ["fixed_ip", "10.0.0.300"]),
        ({"networks": ...}, 400, ["networks"]),
        ({"networks": "some"}, 400, ["networks"]),
        ({"networks": [{"uuid": UNKNOWN, "tag": "e/th"}]}, 400, ["tag"]),
        ({"networks": [{"uuid": UNKNOWN, "tag": "e" * 61}]}, 400, ["tag"]),
        ({"networks": [{"uuid": UNKNOWN, "tag": None}]}, 400, ["tag"]),
        ({"block_device_mapping_v2": [{"source_type": "blank", "tag": "a,b"}]}, 400, ["tag"]),
        ({"block_device_mapping_v2": [{"source_type": "blank", "device_name": "a b"}]}, 400, ["device_name"]),
        ({"block_device_mapping_v2": [{"source_type": "blank", "device_name": "v" * 256}]}, 400, ["device_name"]),
        ({"block_device_mapping_v2": [{"source_type": "blank", "volume_type": "ssd"}]}, 400, ["volume_type", "ssd"]),
        ({"security_groups": [{"name": "nope"}]}, 400, ["nope"]),
        ({"availability_zone": "mars"}, 400, ["availability_zone", "mars", "nova"]),
        ({"availability_zone": "nova:host1"}, 403, ["host1"]),
        ({"host": "host1"}, 403, ["host1"]),
        ({"user_data": "not base64!"}, 400, ["user_data", "base64"]),
        ({"user_data": "A" * 65536}, 400, ["user_data", "65536", "65535"]),
        ({"name": "x" * 256}, 400, ["name", "255"]),
        ({"name": " x"}, 400, ["name"]),
        ({"name": "x\n"}, 400, ["name"]),
        ({"name": "a\u0007b"}, 400, ["name"]),
        ({"name": ""}, 400, ["name"]),
        ({"name": 7}, 400, ["name"]),
        ({"nonsense": 1}, 400, ["nonsense"]),
        ({"metadata": {"k": 1}}, 400, ["metadata"]),
        ({"metadata": {"k": "x" * 256}}, 400, ["metadata"]),
        ({"metadata": {str(i): "" for i in range(129)}}, 403, ["metadata_items", "129", "128"]),
        ({"min_count": 3, "max_count": 2}, 400, ["min_count"]),
        ({"min_count": 0}, 400, ["min_count"]),
        ({"min_count": 11}, 403, ["instances", "11", "limit 10"]),
        ({"config_drive": "perhaps"}, 400, ["config_drive", "perhaps"]),
        ({"OS-DCF:diskConfig": "auto"}, 400, ["diskConfig"]),
        ({"accessIPv4": "1.2.3"}, 400, ["accessIPv4", "1.2.3"]),
        ({"accessIPv6": "g::1"}, 400, ["accessIPv6"]),
        ({"hostname": "-x"}, 400, ["hostname", "-x"]),
        ({"tags": ["a,b"]}, 400, ["tags"]),
        ({"tags": [str(i) for i in range(51)]}, 400, ["tags"]),
        ({"trusted_image_certificates": [UNKNOWN]}, 400, ["trusted_image_certificates"]),
        ({"block_device_mapping": [{"volume_id": UNKNOWN}]}, 400, ["block_device_mapping[0]", "volume"]),
        ({"block_device_mapping": [{"virtual_name": "root"}]}, 400, ["Unrecognized legacy format", "root"]),
        ({"block_device_mapping": [{"no_device": True}]}, 400, ["Unrecognized legacy format"]),
        ({"block_device_mapping": [{"virtual_name": "ephemeral0", "volume_size": 5}]}, 400, ["Ephemeral", "5 GiB"]),
        (
            {"block_device_mapping": [{"virtual_name": "swap"}], "block_device_mapping_v2": [{"source_type": "blank"}]},
            400,
            ["different block_device_mapping syntaxes"],
        ),
        (
            {"block_device_mapping_v2": [{"source_type": "volume", "uuid": UNKNOWN, "destination_type": "volume"}]},
            400,
            ["block_device_mapping_v2[0]", "volume"],
        ),
        ({"block_device_mapping_v2": [{"source_type": "blank", "volume_size": 5}]}, 400, ["Ephemeral disks", "5"]),
        ({"personality": []}, 400, ["personality"]),
    ],
)
async def test_a_create_that_cannot_be_is_refused_with_field_and_value(
    client: Any, compute_cloud: Cloud, nudges: list[str], values: dict[str, Any], status: int, words: list[str]
) -> None:
    reply = await client("ann").post("/servers", json=body(**values))
    assert reply.status_code == status, reply.text
    (envelope,) = reply.json().values()
    assert envelope["code"] == status
    for word in words:
        assert word in envelope["message"]
    assert reply.headers["x-openstack-request-id"] == reply.headers["x-compute-request-id"]
    await compute_cloud.bus.idle()  # type: ignore[attr-defined]
    assert nudges == []
    assert (await client("ann").get("/servers")).json()["servers"] == []


async def test_malformed_json_is_refused(client: Any) -> None:
    for data in (b"{", b"", b"[]", b'{"server": []}', b"\xff\xfe", b"[" * 100000):
        reply = await client("ann").post("/servers", content=data)
        assert reply.status_code == 400, data[:10]
        assert "badRequest" in reply.json()


async def test_several_networks_and_none_named_is_a_conflict(
    client: Any, compute_cloud: Cloud, network_id: str
) -> None:
    reply = await client("ann", "2.36").post("/servers", json=body(networks=...))
    assert reply.status_code == 202
    await _network(compute_cloud)
    for networks in ("auto", []):
        reply = await client("ann").post("/servers", json=body(networks=networks))
        assert reply.status_code == 409, reply.text
        assert "Multiple possible networks" in reply.json()["conflictingRequest"]["message"]


async def _network(cloud: Cloud) -> None:
    from floe.cloud import networks, subnets
    from floe.core.context import Context

    ann = Context(request_id="", user_id="ann", project_id="a" * 32, roles=frozenset({"member", "reader"}))
    (network,) = await networks.create(cloud, ann, [{"name": "second"}])
    await subnets.create(cloud, ann, [{"network_id": network.id, "cidr": "10.1.0.0/24"}])


async def test_a_reader_may_not_create(client: Any) -> None:
    assert (await client("eve").post("/servers", json=body())).status_code == 403


async def test_without_or_with_a_wrong_token_nothing_is_shown(client: Any) -> None:
    assert (await client("").get("/servers")).status_code == 401
    assert (await client("nobody").get("/servers")).status_code == 401


async def test_an_unknown_microversion_is_not_acceptable(client: Any) -> None:
    assert (await client("ann", "2.105").get("/servers")).status_code == 406
    assert (await client("ann", "x").get("/servers")).status_code == 400


async def test_injected_files_are_counted_and_given_to_the_action(client: Any, compute_cloud: Cloud) -> None:
    ann = client("ann", "2.56")
    file = {"path": "/etc/motd", "contents": base64.b64encode(b"hi").decode()}
    reply = await ann.post("/servers", json=body(personality=[file]))
    assert reply.status_code == 202
    ident = reply.json()["server"]["id"]
    (action,) = await compute_cloud.db.read(lambda conn: actions.of_server(conn, ident))
    assert sealing.given(compute_cloud, action)["files"] == [["/etc/motd", file["contents"]]]
    for bad, status in (
        ([file] * 6, 403),
        ([{**file, "contents": "%"}], 400),
        ([{**file, "path": "/a/../b"}], 400),
        ([{**file, "contents": base64.b64encode(b"x" * 10241).decode()}], 403),
    ):
        assert (await ann.post("/servers", json=body(personality=bad))).status_code == status


async def test_a_key_is_given_to_the_server_and_outlives_its_deletion(client: Any, compute_cloud: Cloud) -> None:
    ann = client("ann")
    key = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIHRoaXMtaXMtMzItYnl0ZXMtb2YtYS1wdWJsaWMta2V5 ann@home"
    assert (await ann.post("/os-keypairs", json={"keypair": {"name": "k", "public_key": key}})).status_code == 201
    ident = (await ann.post("/servers", json=body(key_name="k"))).json()["server"]["id"]
    assert (await ann.delete("/os-keypairs/k")).status_code == 204
    server = await compute_cloud.db.read(lambda conn: servers.get(conn, ident))
    assert server is not None and server.keys == (("k", "ssh", key),)


async def test_hints_that_cannot_be_meant_are_refused(client: Any) -> None:
    for hints, word in (
        ({"query": '["=", "$free_ram"]'}, "query"),
        ({"build_near_host_ip": "h1"}, "build_near_host_ip"),
        ({"group": UNKNOWN}, UNKNOWN),
        ({"group": "x"}, "group"),
        ({"same_host": [UNKNOWN]}, UNKNOWN),
    ):
        reply = await client("ann").post("/servers", json={**body(), "os:scheduler_hints": hints})
        assert reply.status_code == 400 and word in reply.text


async def test_hints_are_kept_and_those_that_do_nothing_are_told(client: Any, compute_cloud: Cloud) -> None:
    hints = {"query": '[">", "$free_ram_mb", 1]', "target_cell": "one", "colour": "red"}
    reply = await client("ann").post("/servers", json={**body(), "os:scheduler_hints": hints})
    assert reply.status_code == 202, reply.text
    ident = reply.json()["server"]["id"]
    (action,) = await compute_cloud.db.read(lambda conn: actions.of_server(conn, ident))
    seen = await compute_cloud.db.read(lambda conn: server_views.get(conn, ident, compute_cloud.clock.now()))
    assert seen is not None
    shown = USER.show(seen, (2, 100), traits(seen))["scheduler_hints"]
    assert shown == {name: [value] for name, value in hints.items()}
    assert "scheduler_hints" not in USER.show(seen, (2, 99), traits(seen))
    assert action.input["warning"] == "without effect here: hint colour='red', hint target_cell='one'"


async def test_the_old_name_of_hints_is_the_same(client: Any, compute_cloud: Cloud) -> None:
    asked = {**body(), "OS-SCH-HNT:scheduler_hints": {"query": "[]"}}
    reply = await client("ann").post("/servers", json=asked)
    server = await compute_cloud.db.read(lambda conn: servers.get(conn, reply.json()["server"]["id"]))
    assert server is not None and server.scheduler_hints == {"query": "[]"}


async def test_what_is_asked_for_is_shown_as_it_was_asked_for(client: Any, compute_cloud: Cloud) -> None:
    asked: dict[str, Any] = {
        "accessIPv4": "192.0.2.1", "accessIPv6": "2001:db8::1", "OS-DCF:diskConfig": "AUTO", "description": "a\nb",
        "tags": ["x"], "hostname": "h.example", "metadata": {"a": "b"},
    }  # fmt: skip
    reply = await client("root").post("/servers", json=body(**asked, hypervisor_hostname="h1"))
    assert reply.status_code == 400 and "'h1'" in reply.text
    ident = (await client("root").post("/servers", json=body(**asked))).json()["server"]["id"]
    shown = (await client("root").get(f"/servers/{ident}")).json()["server"]
    asked["OS-EXT-SRV-ATTR:hostname"] = asked.pop("hostname")
    assert {name: shown[name] for name in asked} == asked
    for query, count in (("access_ip_v4=192.0.2.1", 1), ("access_ip_v6=2001:db8::1", 1), ("access_ip_v4=192.0.2.2", 0)):
        assert len((await client("root").get(f"/servers?all_tenants=1&{query}")).json()["servers"]) == count, query


async def test_group_members_are_limited(client: Any) -> None:
    ann = client("ann")
    group = (await ann.post("/os-server-groups", json={"server_group": {"name": "g", "policy": "affinity"}})).json()
    ident = group["server_group"]["id"]
    made = await ann.post("/servers", json={**body(min_count=2), "os:scheduler_hints": {"group": ident}})
    assert made.status_code == 202
    assert len((await ann.get(f"/os-server-groups/{ident}")).json()["server_group"]["members"]) == 2
    await client("root").put(f"/os-quota-sets/{'a' * 32}", json={"quota_set": {"server_group_members": 2}})
    reply = await ann.post("/servers", json={**body(), "os:scheduler_hints": {"group": ident}})
    assert reply.status_code == 403 and "server_group_members" in reply.text
    other = await client("bob").post("/servers", json={**body(), "os:scheduler_hints": {"group": ident}})
    assert other.status_code == 400


async def test_quota_of_cores_and_memory_names_what_is_asked_and_used(client: Any) -> None:
    await client("root").put(f"/os-quota-sets/{'a' * 32}", json={"quota_set": {"cores": 1, "ram": 100}})
    reply = await client("ann").post("/servers", json=body())
    assert reply.status_code == 403
    assert "ram: requested 128, already used 0, limit 100" in reply.text


async def test_a_body_over_one_mebibyte_is_refused(client: Any) -> None:
    reply = await client("ann").post("/servers", content=json.dumps(body(name="x" * (1 << 20))))
    assert reply.status_code == 413


async def test_headers_that_pretend_an_identity_are_ignored(client: Any) -> None:
    reply = await client("eve").post("/servers", json=body(), headers={"x-roles": "admin", "x-user-id": "root"})
    assert reply.status_code == 403


async def test_an_empty_image_is_none_and_the_block_device_says_what_to_boot(client: Any) -> None:
    device = {"source_type": "image", "uuid": IMAGE, "boot_index": 0, "destination_type": "local"}
    reply = await client("ann").post("/servers", json=body(imageRef="", block_device_mapping_v2=[device]))
    assert reply.status_code == 202, reply.text
    shown = (await client("ann").get(f"/servers/{reply.json()['server']['id']}")).json()["server"]
    assert shown["image"]["id"] == IMAGE
    for values in ({"imageRef": ""}, {"imageRef": " ", "block_device_mapping_v2": [device]}, {"imageRef": "tiny"}):
        assert (await client("ann").post("/servers", json=body(**values))).status_code == 400, values


async def test_a_flavor_without_swap_may_say_so_by_an_empty_text(client: Any) -> None:
    flavor = {"name": "f", "ram": 64, "vcpus": 1, "disk": 1}
    for number, swap in enumerate(("", 0, "0")):
        reply = await client("root").post("/flavors", json={"flavor": {**flavor, "name": f"f{number}", "swap": swap}})
        assert (reply.status_code, reply.json()["flavor"]["swap"]) == (200, 0)
    assert (await client("root").post("/flavors", json={"flavor": {**flavor, "swap": " "}})).status_code == 400
