"""Bodies: what scripts send as text, what is sent without need, what may not be, and what comes back."""

from __future__ import annotations

from typing import Any

import pytest

from floe.api.kit.resource import Fields, Use
from floe.api.network import networks, ports, quotas, security_groups, subnets

NOUNS: dict[str, Fields[Any]] = {
    "network": networks.NETWORK.fields,
    "subnet": subnets.SUBNET.fields,
    "port": ports.PORT.fields,
    "security_group": security_groups.GROUP.fields,
    "security_group_rule": security_groups.RULE.fields,
}
ODD: list[Any] = [
    None, True, 0, -1, 1.5, 10**30, 1e300, "", " ", "zzz", "²", "9" * 5000, "x" * 300, "\x00", "a\nb", "\U0001f600",
    "0.0.0.0/0", "::/0", "255.255.255.255/32", "127.0.0.1", "10.1.0.0", "fa:16:3e:00:00:01", "default", "any",
    "00000000-0000-4000-8000-000000000000", [], {}, [None], [[]], [{}], [1], ["x"], [{"x": 1}], {"x": {"y": []}},
    [{"ip_address": "x"}], [{"ip_address": 1}], [{"ip_address": "10.1.0.9"}], [{"start": "x", "end": "y"}],
    [{"start": "10.1.0.0", "end": "10.1.0.255"}], [{"destination": "0.0.0.0/0", "nexthop": "10.1.0.1"}],
    ["1.1.1.1"] * 2,
]  # fmt: skip


@pytest.fixture
async def there(make: Any) -> dict[str, dict[str, Any]]:
    """Make one thing of each noun, and give what makes another."""
    network = await make("root", "network", name="n")
    subnet = await make("root", "subnet", network_id=network["id"], cidr="10.1.0.0/24")
    port = await make("root", "port", network_id=network["id"])
    group = await make("root", "security_group", name="g")
    rule = await make("root", "security_group_rule", security_group_id=group["id"], direction="ingress")
    return {"network": network, "subnet": subnet, "port": port, "security_group": group, "security_group_rule": rule}


def whole(there: dict[str, dict[str, Any]], kind: str) -> dict[str, Any]:
    """Return the least that makes a thing."""
    network, group = there["network"]["id"], there["security_group"]["id"]
    return {
        "network": {},
        "subnet": {"network_id": network, "cidr": "10.2.0.0/24", "ip_version": 4},
        "port": {"network_id": network},
        "security_group": {},
        "security_group_rule": {"security_group_id": group, "direction": "egress", "protocol": "udp"},
    }[kind]


def at(there: dict[str, dict[str, Any]], kind: str) -> str:
    return f"/v2.0/{kind.replace('_', '-')}s/{there[kind]['id']}"


async def test_scripts_may_send_text(client: Any, make: Any) -> None:
    root = client("root")
    network = await make("root", "network", admin_state_up="True", shared=1, mtu="1400", port_security_enabled="0")
    assert (network["admin_state_up"], network["shared"], network["mtu"]) == (True, True, 1400)
    assert network["port_security_enabled"] is False
    subnet = await make("root", "subnet", network_id=network["id"], ip_version="4", cidr="10.1.0.5/24",
                        enable_dhcp="true", host_routes=None, dns_nameservers=None)  # fmt: skip
    assert (subnet["cidr"], subnet["ip_version"], subnet["enable_dhcp"]) == ("10.1.0.0/24", 4, True)
    assert subnet["gateway_ip"] == "10.1.0.1"
    group = await make("root", "security_group", name="web", stateful="yes")
    rule = await make("root", "security_group_rule", security_group_id=group["id"], direction="ingress",
                      ethertype="ipv4", protocol="TCP", port_range_min="22", port_range_max="22",
                      remote_ip_prefix="")  # fmt: skip
    assert (rule["ethertype"], rule["protocol"]) == ("IPv4", "tcp")
    assert (rule["port_range_min"], rule["port_range_max"], rule["remote_ip_prefix"]) == (22, 22, None)
    limits = {"quota": {"port": "7", "network": " 9 "}}
    found = (await root.put(f"/v2.0/quotas/{'a' * 32}", json=limits)).json()["quota"]
    assert (found["port"], found["network"]) == (7, 9)


@pytest.mark.parametrize("kind", NOUNS)
async def test_no_value_of_an_attribute_is_too_much(client: Any, there: dict[str, dict[str, Any]], kind: str) -> None:
    root = client("root")
    for name in NOUNS[kind].by_name:
        for value in ODD:
            body = {kind: {**whole(there, kind), name: value}}
            reply = await root.post(f"/v2.0/{kind.replace('_', '-')}s", json=body)
            assert reply.status_code in {201, 400, 404, 409}, (name, value, reply.text)
            if reply.status_code == 201:
                path = f"/v2.0/{kind.replace('_', '-')}s/{reply.json()[kind]['id']}"
                assert (await root.get(path)).status_code == 200, (name, value)
                assert (await root.delete(path)).status_code in {204, 409}, (name, value)
            if Use.UPDATE in NOUNS[kind].by_name[name].use and kind != "security_group_rule":
                reply = await root.put(at(there, kind), json={kind: {name: value}})
                assert reply.status_code in {200, 400, 404, 409}, (name, value, reply.text)


async def test_no_limit_is_too_much(client: Any) -> None:
    for value in ODD:
        for name in (*quotas.QUOTA.by_name, "force", "check_limit"):
            reply = await client("root").put(f"/v2.0/quotas/{'a' * 32}", json={"quota": {name: value}})
            assert reply.status_code in {200, 400}, (name, reply.text)


async def test_a_body_that_is_no_thing_is_refused(client: Any) -> None:
    for kind in NOUNS:
        for body in (
            b"", b"{}", b"[]", b"null", b"1", b'"x"', b"{", b"\xff", b'{"%s": null}', b'{"%s": []}', b'{"%s": 1}',
            b'{"%ss": []}', b'{"%ss": {}}', b'{"%ss": [1]}', b'{"%s": {"colour": 1}}', b'{"%s": {"": 1}}',
            b'{"%s": {"id": "x"}}', b"[" * 9999,
        ):  # fmt: skip
            content = body.replace(b"%s", kind.encode())
            reply = await client("ann").post(f"/v2.0/{kind.replace('_', '-')}s", content=content)
            assert reply.status_code == 400, (body, reply.text)


@pytest.mark.parametrize("kind", [kind for kind in NOUNS if kind != "security_group_rule"])
async def test_what_may_not_be_changed_is_refused(client: Any, there: dict[str, dict[str, Any]], kind: str) -> None:
    root = client("root")
    for name, each in NOUNS[kind].by_name.items():
        if Use.UPDATE not in each.use:
            reply = await root.put(at(there, kind), json={kind: {name: there[kind].get(name)}})
            assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (400, "HTTPBadRequest"), name
            assert f"Cannot update read-only attribute {name}" in reply.text
        if Use.CREATE not in each.use:
            reply = await root.post(f"/v2.0/{kind.replace('_', '-')}s", json={kind: {**whole(there, kind), name: None}})
            assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (400, "HTTPBadRequest"), name


@pytest.mark.parametrize("kind", NOUNS)
async def test_a_project_has_two_names(client: Any, there: dict[str, dict[str, Any]], kind: str) -> None:
    path, same, other = f"/v2.0/{kind.replace('_', '-')}s", "0" * 32, "a" * 32
    both = {**whole(there, kind), "project_id": same, "tenant_id": same}
    assert (await client("root").post(path, json={kind: both})).status_code == 201
    reply = await client("root").post(path, json={kind: {**both, "tenant_id": other}})
    assert (reply.status_code, "does not match" in reply.text) == (400, True)


async def test_depth_and_length_are_refused_and_do_not_hold_others_up(client: Any, make: Any) -> None:
    ann, network = client("ann"), await make("ann", "network")
    for depth in (10, 100, 500, 800, *range(850, 1000, 5)):
        nested = b"[" * depth + b"]" * depth
        for attribute in (b"name", b"admin_state_up", b"mtu"):
            body = b'{"network": {"%s": %s, "tenant_id": %s, "project_id": %s}}' % (attribute, nested, nested, nested)
            assert (await ann.post("/v2.0/networks", content=body)).status_code == 400, depth
    for attribute, item in (("security_groups", "{:032x}"), ("fixed_ips", {"ip_address": "10.1.0.9"})):
        for count, wanted in ((257, 400), (5000, 400), (20000, 413)):
            many = [item.format(n) if isinstance(item, str) else item for n in range(count)]
            reply = await ann.post("/v2.0/ports", json={"port": {"network_id": network["id"], attribute: many}})
            assert reply.status_code == wanted, reply.text[:300]
    pools = [{"start": f"10.{n // 250}.{n % 250}.2", "end": f"10.{n // 250}.{n % 250}.9"} for n in range(65)]
    body = {"network_id": network["id"], "ip_version": 4, "cidr": "10.0.0.0/8", "allocation_pools": pools}
    assert (await ann.post("/v2.0/subnets", json={"subnet": body})).status_code == 400
    del pools[0]
    assert (await ann.post("/v2.0/subnets", json={"subnet": body})).status_code == 201


async def test_a_list_may_name_each_thing_again(client: Any) -> None:
    body = {"networks": [{"network": {"name": "one"}}, {"name": "two"}], "beside": 1}
    reply = await client("ann").post("/v2.0/networks", json=body)
    assert [network["name"] for network in reply.json()["networks"]] == ["one", "two"]


async def test_a_delete_has_no_body(client: Any, make: Any) -> None:
    network = await make("ann", "network")
    path = f"/v2.0/networks/{network['id']}"
    assert (await client("ann").request("DELETE", path, json={"network": {}})).status_code == 400
    assert (await client("ann").delete(path + ".json")).status_code == 204


async def test_texts_come_back_as_they_were_sent(client: Any, make: Any) -> None:
    network = await make("ann", "network", name="Ⅷ \u3000 <&>\"'", description=" two\nlines\t")
    assert (network["name"], network["description"]) == ("Ⅷ \u3000 <&>\"'", " two\nlines\t")
    pairs = [
        {"ip_address": "10.1.0.5/24", "mac_address": "FA-16-3E-00-00-0A"},
        {"ip_address": "0.0.0.0/0", "mac_address": "fa:16:3e:00:00:0b"},
    ]
    port = await make("ann", "port", network_id=network["id"], mac_address="FA:16:3E:00:00:0C", device_id=" d ",
                      device_owner="My:Own", allowed_address_pairs=pairs)  # fmt: skip
    assert (port["mac_address"], port["device_id"], port["device_owner"]) == ("fa:16:3e:00:00:0c", " d ", "My:Own")
    assert port["allowed_address_pairs"] == [
        {"ip_address": "10.1.0.5/24", "mac_address": "fa:16:3e:00:00:0a"}, pairs[1],
    ]  # fmt: skip
    group = await make("ann", "security_group", name=" any\ttext\n")
    assert group["name"] == " any\ttext\n"
    again = (await client("ann").get(f"/v2.0/security-groups/{group['id']}")).json()["security_group"]
    assert again["name"] == group["name"]


@pytest.mark.parametrize(
    ("sent", "shown"),
    [
        ({"protocol": "tcp", "port_range_min": 1, "port_range_max": 65535}, ("tcp", None, None)),
        ({"protocol": "icmp", "ethertype": "IPv6"}, ("ipv6-icmp", None, None)),
        ({"protocol": "icmpv6", "ethertype": "IPv6", "port_range_min": 128}, ("ipv6-icmp", 128, None)),
        ({"protocol": "1", "ethertype": "IPv6"}, ("58", None, None)),
        ({"protocol": "ANY"}, (None, None, None)),
        ({"protocol": 0}, ("0", None, None)),
        ({"protocol": "icmp", "port_range_min": "8", "port_range_max": "0"}, ("icmp", 8, 0)),
    ],
)
async def test_a_rule_is_shown_in_its_usual_form(make: Any, sent: dict[str, Any], shown: tuple[Any, ...]) -> None:
    group = await make("ann", "security_group", name="web")
    rule = await make("ann", "security_group_rule", security_group_id=group["id"], direction="ingress", **sent)
    assert (rule["protocol"], rule["port_range_min"], rule["port_range_max"]) == shown


@pytest.mark.parametrize("gateway", ["192.0.2.1", "10.1.1.1", "0.0.0.0", None])
async def test_a_gateway_outside_the_subnet_is_its_users_business(client: Any, make: Any, gateway: str | None) -> None:
    network = await make("ann", "network")
    subnet = await make("ann", "subnet", network_id=network["id"], cidr="10.1.0.0/24", gateway_ip=gateway)
    assert subnet["gateway_ip"] == gateway
    assert subnet["allocation_pools"] == [{"start": "10.1.0.1", "end": "10.1.0.254"}]
    path = f"/v2.0/subnets/{subnet['id']}"
    reply = await client("ann").put(path, json={"subnet": {"gateway_ip": "203.0.113.1"}})
    assert reply.json()["subnet"]["gateway_ip"] == "203.0.113.1"
    for wrong in ("10.1.0.0", "10.1.0.255", "fd00::1"):
        assert (await client("ann").put(path, json={"subnet": {"gateway_ip": wrong}})).status_code == 400
    inside = await client("ann").put(path, json={"subnet": {"gateway_ip": "10.1.0.9"}})
    assert (inside.status_code, inside.json()["NeutronError"]["type"]) == (409, "GatewayConflictWithAllocationPools")


async def test_pools_of_nothing_are_none(client: Any, make: Any) -> None:
    network = await make("ann", "network")
    for pools in (None, []):
        subnet = await make("ann", "subnet", network_id=network["id"], cidr="10.1.0.0/24", allocation_pools=pools,
                            enable_dhcp=False)  # fmt: skip
        assert subnet["allocation_pools"] == []
        reply = await client("ann").post("/v2.0/ports", json={"port": {"network_id": network["id"]}})
        assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (409, "IpAddressGenerationFailure")
        assert (await client("ann").delete(f"/v2.0/subnets/{subnet['id']}")).status_code == 204


async def test_an_administrator_chooses_the_segment(client: Any, make: Any) -> None:
    network = await make("root", "network", **{"provider:network_type": "vxlan", "provider:segmentation_id": "4711"})
    assert (network["provider:segmentation_id"], network["provider:network_type"]) == (4711, "vxlan")
    root, path = client("root"), f"/v2.0/networks/{network['id']}"
    again = {"provider:network_type": "vxlan", "provider:segmentation_id": 4711}
    taken = await root.post("/v2.0/networks", json={"network": again})
    assert (taken.status_code, taken.json()["NeutronError"]["type"]) == (409, "TunnelIdInUse")
    for wrong in (
        {"provider:segmentation_id": 5},
        {"provider:network_type": "vlan"},
        {"provider:network_type": "vxlan", "provider:physical_network": "eth1"},
        {"provider:network_type": "vxlan", "provider:segmentation_id": 0},
        {"provider:network_type": "vxlan", "provider:segmentation_id": 65536},
        {"provider:network_type": None},
    ):
        assert (await root.post("/v2.0/networks", json={"network": wrong})).status_code == 400, wrong
    assert (await root.put(path, json={"network": again})).status_code == 200
    assert (await root.put(path, json={"network": {"provider:segmentation_id": 4712}})).status_code == 400
    for asked in (again, {"provider:network_type": "vxlan"}):
        assert (await client("ann").post("/v2.0/networks", json={"network": asked})).status_code == 403


async def test_a_quota_is_written_as_it_may_be(client: Any, make: Any) -> None:
    root, path = client("root"), f"/v2.0/quotas/{'a' * 32}"
    for wrong in ({"rbac_policy": 1}, {"trunk": -1}, {"port": None}, {"port": "many"}, {"port": -2}, {"port": 2**31}):
        reply = await root.put(path, json={"quota": wrong})
        assert reply.status_code == 400, wrong
    for body in ({}, {"limits": {}}, {"quota": 5}):
        assert (await root.put(path, json=body)).status_code == 400
    assert (await root.put(path, json={"quota": {}})).status_code == 200
    reply = await root.delete(path)
    assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (404, "TenantQuotaNotFound")
    await make("ann", "network")
    assert (await root.put(path, json={"quota": {"network": 0}})).status_code == 400
    assert (await root.put(path, json={"quota": {"network": 0, "force": True}})).status_code == 200
    assert (await root.delete(path + ".json")).status_code == 204


async def test_an_owner_that_begins_with_network_is_for_the_networks_own(client: Any, make: Any) -> None:
    network = await make("root", "network", shared=True)
    owner = {"network_id": network["id"], "device_owner": "network:mine"}
    assert (await make("root", "port", **owner))["device_owner"] == "network:mine"
    reply = await client("bob").post("/v2.0/ports", json={"port": owner})
    assert (reply.status_code, reply.json()["NeutronError"]["type"]) == (403, "PolicyNotAuthorized")
    port = await make("bob", "port", network_id=network["id"], device_owner="mine")
    reply = await client("bob").put(f"/v2.0/ports/{port['id']}", json={"port": {"device_owner": "network:mine"}})
    assert reply.status_code == 403


@pytest.mark.parametrize("used", [False, True])
@pytest.mark.parametrize("force", [None, False, True])
@pytest.mark.parametrize("unlimited", [-1, "-1"])
async def test_a_quota_may_be_without_limit(
    client: Any, make: Any, unlimited: Any, force: bool | None, used: bool
) -> None:
    if used:
        await make("ann", "network")
    root, path = client("root"), f"/v2.0/quotas/{'a' * 32}"
    quota = dict.fromkeys(quotas.QUOTA.by_name, unlimited) | ({} if force is None else {"force": force})
    reply = await root.put(path, json={"quota": quota})
    assert reply.status_code == 200, reply.text
    assert set((await root.get(path)).json()["quota"].values()) == {-1}
