"""What the compute API passes on to other APIs until 2.35: for clients of then, over the same rows."""

from __future__ import annotations

import re
from typing import Any

import httpx
import pytest

from floe.api.compute.proxies import floating_ips, image_metadata, images, networks, security_groups
from floe.api.kit.call import Route
from floe.cloud import floating_ips as floating_rules
from floe.cloud import networks as network_rules
from floe.cloud import subnets
from floe.cloud.cloud import Cloud
from floe.core.context import Context

from .conftest import BOBS_IMAGE, CALLERS, IMAGE, QUEUED_IMAGE

ROOT = CALLERS["root"]
NOBODY = "99999999-9999-4999-8999-999999999999"
ROUTES = [r for room in (floating_ips, image_metadata, images, networks, security_groups) for r in room.ROUTES]


def refused(reply: httpx.Response, status: int, text: str) -> None:
    assert reply.status_code == status, reply.text
    (fault,) = reply.json().values()
    assert text in fault["message"]


async def external(cloud: Cloud, name: str = "public", cidr: str = "203.0.113.0/24", **fields: Any) -> str:
    """Make an external network, and return its id."""
    (network,) = await network_rules.create(cloud, ROOT, [{"name": name, "external": True, **fields}])
    await subnets.create(cloud, ROOT, [{"network_id": network.id, "cidr": cidr}])
    return network.id


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
async def test_above_its_window_a_proxy_is_not_there(client: Any, route: Route) -> None:
    path = re.sub(r"{\w+}", NOBODY, route.path.removeprefix("/v2.1"))
    if route.until == (9999, 9999):  # gone at every version
        for version in ("2.1", "2.36"):
            refused(await client("root", version).request(route.method, path, json={}), 410, "use the network API")
        return
    last = (2, 38) if "metadata" in path else (2, 35)
    assert route.until == last
    after = await client("ann", f"2.{last[1] + 1}").request(route.method, path, json={})
    refused(after, 404, f"at microversions to 2.{last[1]}")
    before = await client("ann", f"2.{last[1]}").request(route.method, path, json={})
    assert "microversion" not in before.text


# -- floating IPs ---------------------------------------------------------------------------------------


async def test_a_floating_ip_is_taken_of_a_pool_and_given_back(client: Any, compute_cloud: Cloud) -> None:
    ann = client("ann", "2.35")
    assert (await ann.get("/os-floating-ip-pools")).json() == {"floating_ip_pools": []}
    refused(await ann.post("/os-floating-ips", json={"pool": "public"}), 404, "Floating IP pool not found.")
    refused(await ann.post("/os-floating-ips"), 404, "Floating IP pool not found.")
    public = await external(compute_cloud)
    assert (await ann.get("/os-floating-ip-pools")).json() == {"floating_ip_pools": [{"name": "public"}]}
    made = []
    for body in ({"pool": "public"}, {"pool": public}, {"pool": None}, None):
        reply = await ann.post("/os-floating-ips", json=body)
        assert reply.status_code == 200, reply.text
        made.append(reply.json()["floating_ip"])
    assert (await ann.post("/os-floating-ips")).status_code == 200
    assert made[0] == {
        "id": made[0]["id"], "ip": made[0]["ip"], "pool": "public", "fixed_ip": None, "instance_id": None,
    }  # fmt: skip
    assert made[0]["ip"].startswith("203.0.113.")
    listed = (await ann.get("/os-floating-ips")).json()["floating_ips"]
    assert len(listed) == 5
    assert made[0] in listed
    assert (await ann.get(f"/os-floating-ips/{made[0]['id']}")).json() == {"floating_ip": made[0]}
    assert (await client("bob", "2.35").get("/os-floating-ips")).json() == {"floating_ips": []}
    assert (await client("root", "2.35").get("/os-floating-ips")).json() == {"floating_ips": []}, "its project has none"
    for method in ("GET", "DELETE"):
        for ident in (NOBODY, "nonsense", "1"):
            refused(
                await ann.request(method, f"/os-floating-ips/{ident}"), 404, f"Floating IP not found for ID {ident}"
            )
    refused(await client("bob", "2.35").delete(f"/os-floating-ips/{made[0]['id']}"), 404, "not found")
    assert (await ann.delete(f"/os-floating-ips/{made[0]['id']}")).status_code == 202
    refused(await ann.get(f"/os-floating-ips/{made[0]['id']}"), 404, "not found")


async def test_which_pool_is_meant(client: Any, compute_cloud: Cloud) -> None:
    ann = client("ann", "2.1")
    await external(compute_cloud, "one")
    twins = [await external(compute_cloud, "twin", f"198.51.{number}.0/24") for number in range(2)]
    refused(await ann.post("/os-floating-ips", json={}), 400, "none is the default")
    refused(await ann.post("/os-floating-ips", json={"pool": "twin"}), 400, "Multiple floating IP pools matches found")
    by_id = await ann.post("/os-floating-ips", json={"pool": twins[1]})
    assert by_id.json()["floating_ip"]["ip"].startswith("198.51.1.")
    await external(compute_cloud, "default", "192.0.2.0/24", default=True)
    assert (await ann.post("/os-floating-ips")).json()["floating_ip"]["pool"] == "default"
    (inner,) = await network_rules.create(compute_cloud, CALLERS["ann"], [{"name": "inner"}])
    for pool in ("inner", inner.id, NOBODY):
        refused(await ann.post("/os-floating-ips", json={"pool": pool}), 404, "Floating IP pool not found.")


async def test_a_pool_that_is_used_up_and_a_quota_are_told_apart(client: Any, compute_cloud: Cloud) -> None:
    await external(compute_cloud, "small", "203.0.113.0/30")
    ann, body = client("ann", "2.35"), {"pool": "small"}
    while (reply := await ann.post("/os-floating-ips", json=body)).status_code == 200:
        pass
    refused(reply, 404, "No more floating IPs in pool small.")
    refused(await ann.post("/os-floating-ips"), 404, "No more floating IPs available.")
    limits = {"quota_set": {"floating_ips": 0}}
    assert (await client("root", "2.35").put(f"/os-quota-sets/{'b' * 32}", json=limits)).status_code == 200
    refused(
        await client("bob", "2.35").post("/os-floating-ips", json=body), 403, "IP allocation over quota in pool small."
    )
    shown = (await client("bob", "2.35").get("/limits")).json()["limits"]["absolute"]
    assert (shown["maxTotalFloatingIps"], shown["totalFloatingIpsUsed"]) == (0, 0)


# -- networks -------------------------------------------------------------------------------------------


async def test_networks_have_a_name_and_no_more(client: Any, network_id: str) -> None:
    ann = client("ann", "2.35")
    (network,) = (await ann.get("/os-networks")).json()["networks"]
    assert (network.pop("id"), network.pop("label")) == (network_id, "private")
    assert set(network.values()) == {None}
    assert network.keys() >= {"cidr", "gateway", "dns1", "netmask_v6"}
    assert "vlan" not in network
    assert "vlan" in (await client("root", "2.35").get(f"/os-networks/{network_id}")).json()["network"]
    one = (await ann.get(f"/os-networks/{network_id}")).json()["network"]
    assert one == {**network, "id": network_id, "label": "private"}
    tenant = {"id": network_id, "cidr": "None", "label": "private"}
    assert (await ann.get("/os-tenant-networks")).json() == {"networks": [tenant]}
    assert (await ann.get(f"/os-tenant-networks/{network_id}")).json() == {"network": tenant}
    bob = client("bob", "2.35")
    assert (await bob.get("/os-networks")).json() == (await bob.get("/os-tenant-networks")).json() == {"networks": []}
    for kind in ("os-networks", "os-tenant-networks"):
        refused(await bob.get(f"/{kind}/{network_id}"), 404, "Network not found")


# -- security groups ------------------------------------------------------------------------------------


async def test_groups_live_and_die(client: Any, compute_cloud: Cloud) -> None:
    ann = client("ann", "2.35")
    (default,) = (await ann.get("/os-security-groups")).json()["security_groups"]
    assert (default["name"], default["tenant_id"]) == ("default", "a" * 32)
    assert [rule["group"] for rule in default["rules"]] == [{"name": "default", "tenant_id": "a" * 32}] * 2
    reply = await ann.post("/os-security-groups", json={"security_group": {"name": "web", "description": "d"}})
    assert reply.status_code == 200
    web = reply.json()["security_group"]
    assert web == {"id": web["id"], "name": "web", "description": "d", "tenant_id": "a" * 32, "rules": []}
    assert (await ann.get(f"/os-security-groups/{web['id']}")).json() == {"security_group": web}
    listed = (await ann.get("/os-security-groups")).json()["security_groups"]
    assert [group["name"] for group in listed] == ["default", "web"]
    page = (await ann.get("/os-security-groups?limit=1&offset=1")).json()["security_groups"]
    assert [group["name"] for group in page] == ["web"]
    assert (await ann.get("/os-security-groups?limit=0")).json() == {"security_groups": []}
    refused(await ann.get("/os-security-groups?offset=-1"), 400, "offset")
    change = {"security_group": {"name": "shop", "description": "e"}}
    changed = (await ann.put(f"/os-security-groups/{web['id']}", json=change)).json()["security_group"]
    assert changed == {**web, "name": "shop", "description": "e"}
    root = client("root", "2.35")
    assert len((await root.get("/os-security-groups")).json()["security_groups"]) == 1
    assert len((await root.get("/os-security-groups?all_tenants=1")).json()["security_groups"]) == 3
    refused(await client("bob", "2.35").get(f"/os-security-groups/{web['id']}"), 404, web["id"])
    for method, body in (("GET", None), ("DELETE", None), ("PUT", change)):
        refused(await ann.request(method, f"/os-security-groups/{NOBODY}", json=body), 404, NOBODY)
        refused(await ann.request(method, "/os-security-groups/7", json=body), 400, "should be uuid")
    assert (await ann.delete(f"/os-security-groups/{web['id']}")).status_code == 202
    spaced = {"security_group": {"name": "  of the shop ", "description": ""}}
    kept = (await ann.post("/os-security-groups", json=spaced)).json()["security_group"]
    assert kept["name"] == "  of the shop "
    assert (await ann.delete(f"/os-security-groups/{kept['id']}")).status_code == 202
    refused(await ann.delete(f"/os-security-groups/{default['id']}"), 400, "default")
    refused(await ann.put(f"/os-security-groups/{default['id']}", json=change), 400, "default")
    for name in ("", "  ", "n" * 256, "a\0b"):
        refused(
            await ann.post("/os-security-groups", json={"security_group": {"name": name, "description": ""}}), 400, ""
        )
    limits = {"quota_set": {"security_groups": 1}}
    assert (await root.put(f"/os-quota-sets/{'a' * 32}", json=limits)).status_code == 200
    refused(await ann.post("/os-security-groups", json=change), 403, "Quota exceeded")


async def test_rules_are_made_and_removed(client: Any, compute_cloud: Cloud) -> None:
    ann = client("ann", "2.35")
    new = {"security_group": {"name": "web", "description": ""}}
    group = (await ann.post("/os-security-groups", json=new)).json()["security_group"]

    async def rule(**fields: Any) -> httpx.Response:
        body = {"security_group_rule": {"parent_group_id": group["id"], **fields}}
        found: httpx.Response = await ann.post("/os-security-group-rules", json=body)
        return found

    ssh = {"ip_protocol": "tcp", "from_port": 22, "to_port": 22}
    made = (await rule(**ssh)).json()["security_group_rule"]
    assert made == {
        "id": made["id"], "parent_group_id": group["id"], **ssh, "group": {}, "ip_range": {"cidr": "0.0.0.0/0"},
    }  # fmt: skip
    for asked, shown in (
        ({"ip_protocol": "ICMP", "from_port": -1, "to_port": -1, "cidr": "10.0.0.7/8"}, ("icmp", -1, -1, "10.0.0.7/8")),
        ({"ip_protocol": "icmp", "from_port": "8", "to_port": "0"}, ("icmp", 8, 0, "0.0.0.0/0")),
        ({"ip_protocol": "UDP", "from_port": 1, "to_port": 65535, "cidr": "::/0"}, ("udp", 1, 65535, "::/0")),
    ):
        reply = await rule(**asked)
        assert reply.status_code == 200, reply.text
        found = reply.json()["security_group_rule"]
        assert (found["ip_protocol"], found["from_port"], found["to_port"], found["ip_range"]["cidr"]) == shown
    of_group = {"group": {"name": "web", "tenant_id": "a" * 32}, "ip_range": {}}
    for fields, shown_ports in (
        ({}, (None, None, None)),
        ({"ip_protocol": "tcp"}, ("tcp", 1, 65535)),
        ({"ip_protocol": "icmp"}, ("icmp", -1, -1)),
    ):
        found = (await rule(group_id=group["id"], **fields)).json()["security_group_rule"]
        assert {"group": found["group"], "ip_range": found["ip_range"]} == of_group
        assert (found["ip_protocol"], found["from_port"], found["to_port"]) == shown_ports
    shown_all = (await ann.get(f"/os-security-groups/{group['id']}")).json()["security_group"]["rules"]
    assert len(shown_all) == 7
    assert made in shown_all
    for status, text, fields in (
        (400, "already exists", ssh),
        (400, "Not enough parameters", {}),
        (400, "Not enough parameters", {"ip_protocol": "tcp", "cidr": "10.0.0.0/8"}),
        (400, "Invalid IP protocol", {**ssh, "ip_protocol": "gre"}),
        (400, "Invalid port range", {**ssh, "from_port": 23}),
        (400, "Invalid port range", {**ssh, "from_port": 0}),
        (400, "Invalid port range", {**ssh, "to_port": 65536}),
        (400, "For ICMP", {"ip_protocol": "icmp", "from_port": 256, "to_port": 0}),
        (400, "from_port", {**ssh, "from_port": "x"}),
        (400, "is not a valid IP network", {**ssh, "cidr": "10.0.0.0/99"}),
        (400, "Bad prefix", {**ssh, "cidr": "10.0.0.1/0"}),
        (400, "should be uuid", {**ssh, "parent_group_id": "7"}),
        (400, "should be uuid", {**ssh, "group_id": "7"}),
        (404, NOBODY, {**ssh, "parent_group_id": NOBODY}),
        (404, NOBODY, {**ssh, "group_id": NOBODY}),
    ):
        refused(await rule(**fields), status, text)
    assert (await ann.delete(f"/os-security-group-rules/{made['id']}")).status_code == 202
    refused(await ann.delete(f"/os-security-group-rules/{made['id']}"), 404, made["id"])
    refused(await ann.delete("/os-security-group-rules/7"), 400, "should be uuid")


# -- images ---------------------------------------------------------------------------------------------


async def test_images_are_shown_as_they_once_were(client: Any) -> None:
    ann = client("ann", "2.35")
    image = (await ann.get(f"/images/{IMAGE}")).json()["image"]
    assert image == {
        "id": IMAGE,
        "name": "tiny",
        "minRam": 0,
        "minDisk": 0,
        "metadata": {},
        "created": image["created"],
        "updated": image["updated"],
        "status": "ACTIVE",
        "progress": 100,
        "OS-EXT-IMG-SIZE:size": 20 << 20,
        "links": [
            {"rel": "self", "href": f"http://127.0.0.1:8774/compute/v2.1/images/{IMAGE}"},
            {"rel": "bookmark", "href": f"http://127.0.0.1:8774/compute/images/{IMAGE}"},
            {
                "rel": "alternate",
                "type": "application/vnd.openstack.image",
                "href": f"http://127.0.0.1:8774/image/images/{IMAGE}",
            },
        ],
    }
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", image["created"])
    queued = (await ann.get(f"/images/{QUEUED_IMAGE}")).json()["image"]
    assert (queued["status"], queued["progress"], queued["OS-EXT-IMG-SIZE:size"]) == ("SAVING", 25, 0)
    listed = (await ann.get("/images/detail")).json()["images"]
    assert image in listed
    names = (await ann.get("/images")).json()["images"]
    assert {"id": IMAGE, "name": "tiny", "links": image["links"]} in names
    assert len(names) == len(listed) == 5
    for ident in (BOBS_IMAGE, NOBODY, "nonsense"):
        refused(await ann.get(f"/images/{ident}"), 404, "Image not found.")


async def test_images_are_filtered_and_paged(client: Any) -> None:
    bob = client("bob", "2.35")
    meta = {"metadata": {"image_type": "snapshot", "instance_uuid": NOBODY, "k": "v", "auto_disk_config": "True"}}
    assert (await bob.post(f"/images/{BOBS_IMAGE}/metadata", json=meta)).status_code == 200

    async def found(query: str) -> list[str]:
        reply = await bob.get(f"/images?{query}")
        assert reply.status_code == 200, reply.text
        return [image["id"] for image in reply.json()["images"]]

    for query in (
        "type=snapshot", f"server={NOBODY}", f"server=http://cloud/v2.1/servers/{NOBODY}", "property-k=v",
        "property-k=v&type=snapshot&name=tiny&status=ACTIVE&nonsense=1",
    ):  # fmt: skip
        assert await found(query) == [BOBS_IMAGE], query
    assert await found("property-k=w") == await found("changes-since=2099-01-01T00:00:00Z") == []
    assert await found("name=none") == []
    assert len(await found("minRam=1024")) == len(await found("minDisk=10")) == 1
    refused(await bob.get("/images?minRam=x"), 400, "minRam")
    refused(await bob.get("/images?changes-since=x"), 400, "changes-since")
    refused(await bob.get(f"/images?marker={NOBODY}"), 400, NOBODY)
    seen: list[str] = []
    url = "/images/detail?limit=2"
    while url:
        page = (await bob.get(url)).json()
        seen += [image["id"] for image in page["images"]]
        url = page["images_links"][0]["href"] if "images_links" in page else ""
    assert sorted(seen) == sorted(await found(""))
    shown = (await bob.get(f"/images/{BOBS_IMAGE}")).json()["image"]
    assert shown["OS-DCF:diskConfig"] == "AUTO"
    assert shown["server"]["id"] == NOBODY
    assert shown["server"]["links"][0]["href"] == f"http://127.0.0.1:8774/compute/v2.1/servers/{NOBODY}"


async def test_metadata_of_an_image_is_changed(client: Any) -> None:
    bob, path = client("bob", "2.38"), f"/images/{BOBS_IMAGE}/metadata"
    assert (await bob.get(path)).json() == {"metadata": {}}
    assert (await bob.put(path, json={"metadata": {"a": "1", "b": "2"}})).json() == {"metadata": {"a": "1", "b": "2"}}
    assert (await bob.post(path, json={"metadata": {"b": "3", "c": "4"}})).json() == {
        "metadata": {"a": "1", "b": "3", "c": "4"}
    }
    assert (await bob.put(path + "/a", json={"meta": {"a": "9"}})).json() == {"meta": {"a": "9"}}
    refused(await bob.put(path + "/a", json={"meta": {"b": "9"}}), 400, "Request body and URI mismatch")
    assert (await bob.get(path + "/a")).json() == {"meta": {"a": "9"}}
    assert (await bob.delete(path + "/a")).status_code == 204
    for method in ("GET", "DELETE"):
        refused(await bob.request(method, path + "/a"), 404, "Invalid metadata key")
    assert (await bob.put(path, json={"metadata": {"only": "x"}})).json() == {"metadata": {"only": "x"}}
    assert (await bob.get(path)).json() == {"metadata": {"only": "x"}}
    limits = {"quota_set": {"metadata_items": 1}}
    await client("root", "2.35").put(f"/os-quota-sets/{'b' * 32}", json=limits)
    refused(await bob.post(path, json={"metadata": {"more": "x"}}), 403, "Image metadata limit exceeded")
    refused(await client("ann", "2.38").post(path, json={"metadata": {"a": "b"}}), 404, "Image not found.")
    public = f"/images/{IMAGE}/metadata"
    refused(await bob.post(public, json={"metadata": {"a": "b"}}), 403, "belongs to another project")
    refused(await bob.get(f"/images/{NOBODY}/metadata"), 404, "Image not found.")


async def test_an_image_of_others_is_not_removed(client: Any) -> None:
    refused(await client("eve", "2.35").delete(f"/images/{IMAGE}"), 403, "Policy does not allow")


async def test_a_floating_ip_says_which_server_it_leads_to(client: Any, compute_cloud: Cloud) -> None:
    public = await external(compute_cloud)
    ann = Context(request_id="", user_id="ann", project_id="a" * 32, roles=frozenset({"member", "reader"}))
    (floating,) = await floating_rules.create(compute_cloud, ann, [{"network_id": public}])
    shown = (await client("ann", "2.35").get(f"/os-floating-ips/{floating.id}")).json()["floating_ip"]
    assert (shown["fixed_ip"], shown["instance_id"]) == (None, None)
