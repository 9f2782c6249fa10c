"""Ports and security groups over HTTP."""

from __future__ import annotations

from ipaddress import IPv4Address
from typing import Any

import httpx
import pytest

NOTHING = "00000000-0000-4000-8000-000000000000"


async def made(client: httpx.AsyncClient, kind: str, **fields: Any) -> dict[str, Any]:
    path = kind.replace("_", "-")
    if kind == "subnet":
        fields = {"ip_version": 4, **fields}
    reply = await client.post(f"/v2.0/{path}s", json={kind: fields})
    assert reply.status_code == 201, reply.text
    return reply.json()[kind]


def refused(reply: httpx.Response, status: int, kind: str, *words: str) -> None:
    assert reply.status_code == status, reply.text
    fault = reply.json()["NeutronError"]
    assert fault["type"] == kind
    for word in words:
        assert word in fault["message"]


@pytest.fixture
async def network(client: Any) -> dict[str, Any]:
    found = await made(client("ann"), "network", name="front")
    await made(client("ann"), "subnet", network_id=found["id"], cidr="10.1.0.0/24")
    return found


async def test_a_port_gets_an_address_a_mac_and_the_default_group(client: Any, network: dict[str, Any]) -> None:
    port = await made(client("ann"), "port", network_id=network["id"], name="eth0")
    (group,) = (await client("ann").get("/v2.0/security-groups")).json()["security_groups"]
    assert group["name"] == "default"
    assert port["security_groups"] == [group["id"]]
    assert port["mac_address"].startswith("fa:16:3e:")
    (address,) = [ip["ip_address"] for ip in port["fixed_ips"]]
    assert IPv4Address("10.1.0.2") <= IPv4Address(address) <= IPv4Address("10.1.0.254")
    assert port["status"] == "DOWN"
    assert "binding:host_id" not in port
    seen = (await client("root").get(f"/v2.0/ports/{port['id']}")).json()["port"]
    assert (seen["binding:host_id"], seen["binding:vif_type"]) == ("", "unbound")
    refused(await client("bob").get(f"/v2.0/ports/{port['id']}"), 404, "PortNotFound")


async def test_an_address_belongs_to_one_port(client: Any, network: dict[str, Any]) -> None:
    ann, wanted = client("ann"), [{"ip_address": "10.1.0.77"}]
    first = await made(ann, "port", network_id=network["id"], fixed_ips=wanted)
    body = {"port": {"network_id": network["id"], "fixed_ips": wanted}}
    refused(await ann.post("/v2.0/ports", json=body), 409, "IpAddressInUse", "10.1.0.77")
    reply = await ann.put(f"/v2.0/ports/{first['id']}", json={"port": {"fixed_ips": [{"ip_address": "10.1.0.78"}]}})
    assert [ip["ip_address"] for ip in reply.json()["port"]["fixed_ips"]] == ["10.1.0.78"]
    second = await made(ann, "port", network_id=network["id"], fixed_ips=wanted)
    found = (await ann.get("/v2.0/ports?fixed_ips=ip_address%3D10.1.0.77")).json()["ports"]
    assert [port["id"] for port in found] == [second["id"]]


async def test_a_full_pool_is_said_so(client: Any) -> None:
    ann = client("ann")
    network = await made(ann, "network")
    pool = [{"start": "10.1.0.10", "end": "10.1.0.11"}]
    await made(ann, "subnet", network_id=network["id"], cidr="10.1.0.0/24", allocation_pools=pool)
    port = await made(ann, "port", network_id=network["id"])
    assert port["fixed_ips"][0]["ip_address"] == "10.1.0.11"
    reply = await ann.post("/v2.0/ports", json={"port": {"network_id": network["id"]}})
    refused(reply, 409, "IpAddressGenerationFailure", network["id"])
    assert len((await ann.get("/v2.0/ports")).json()["ports"]) == 2


@pytest.mark.parametrize(
    ("fields", "status", "kind", "words"),
    [
        ({"fixed_ips": [{"ip_address": "10.2.0.5"}]}, 400, "InvalidIpForNetwork", ("fixed_ips", "10.2.0.5")),
        ({"fixed_ips": [{"ip_address": "10.1.0.255"}]}, 400, "InvalidIpForNetwork", ("10.1.0.255",)),
        ({"fixed_ips": [{"ip_address": "ten"}]}, 400, "InvalidInput", ("ten",)),
        ({"fixed_ips": [{"subnet_id": "nowhere"}]}, 400, "HTTPBadRequest", ("nowhere",)),
        ({"fixed_ips": [{"subnet_id": NOTHING}]}, 404, "SubnetNotFound", (NOTHING,)),
        ({"fixed_ips": [{}]}, 400, "InvalidInput", ("fixed_ips",)),
        ({"mac_address": "01:00:5e:00:00:01"}, 400, "InvalidInput", ("mac_address",)),
        ({"mac_address": "fa:16:3e:00:00:01; drop"}, 400, "InvalidInput", ("mac_address",)),
        ({"security_groups": ["nothing"]}, 400, "HTTPBadRequest", ("nothing",)),
        ({"security_groups": [NOTHING]}, 404, "SecurityGroupNotFound", (NOTHING,)),
        ({"binding:vnic_type": "direct"}, 400, "InvalidInput", ("binding:vnic_type", "direct")),
        ({"binding:profile": {"pci": "x"}}, 403, "PolicyNotAuthorized", ("binding:profile",)),
        ({"binding:profile": ["x"]}, 400, "HTTPBadRequest", ("binding:profile",)),
        ({"binding:host_id": "h1"}, 403, "PolicyNotAuthorized", ("binding:host_id",)),
        ({"device_owner": "network:dhcp"}, 409, "UnsupportedPortDeviceOwner", ("device_owner",)),
        ({"allowed_address_pairs": [{"ip_address": "224.0.0.0/4"}]}, 400, "InvalidInput", ("multicast",)),
        (
            {"allowed_address_pairs": [{"ip_address": "10.1.0.9"}] * 2},
            400, "DuplicateAddressPairInRequest", ("twice",),
        ),
        (
            {"allowed_address_pairs": [{"mac_address": "fa:16:3e:00:00:01"}]},
            400, "AllowedAddressPairsMissingIP", ("ip_address",),
        ),
        (
            {"allowed_address_pairs": [{"ip_address": "10.1.0.9"}], "port_security_enabled": False},
            409, "AddressPairAndPortSecurityRequired", ("port security",),
        ),
        ({"network_id": "nowhere"}, 400, "HTTPBadRequest", ("nowhere",)),
        ({"network_id": NOTHING}, 404, "NetworkNotFound", (NOTHING,)),
        ({"extra_dhcp_opts": {}}, 400, "HTTPBadRequest", ("extra_dhcp_opts",)),
        ({"extra_dhcp_opts": [{"opt_name": "mtu"}]}, 400, "HTTPBadRequest", ("opt_value",)),
        ({"extra_dhcp_opts": [{"opt_name": 26, "opt_value": "1"}]}, 400, "HTTPBadRequest", ("opt_name",)),
        ({"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1", "x": 1}]}, 400, "HTTPBadRequest", ("opt_name",)),
        ({"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "x"}]}, 400, "InvalidInput", ("mtu", "'x'", "number")),
        ({"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1"}] * 257}, 400, "HTTPBadRequest", ("256",)),
        (
            {"extra_dhcp_opts": [{"opt_name": "mtu", "opt_value": "1", "ip_version": 6}]},
            400, "InvalidInput", ("ip_version", "6"),
        ),
        ({"dns_name": "web_1"}, 400, "HTTPBadRequest", ("dns_name", "web_1")),
        ({"dns_name": "-web"}, 400, "HTTPBadRequest", ("dns_name", "hyphen")),
        ({"dns_name": "web\n"}, 400, "HTTPBadRequest", ("dns_name",)),
        ({"dns_name": "a..b"}, 400, "HTTPBadRequest", ("empty",)),
        ({"dns_name": "a.1"}, 400, "HTTPBadRequest", ("all numeric",)),
        ({"dns_name": "x" * 64}, 400, "HTTPBadRequest", ("63",)),
        ({"dns_name": "x." * 130}, 400, "HTTPBadRequest", ("253",)),
        ({"dns_name": "x." * 121 + "x"}, 400, "HTTPBadRequest", ("cloud.internal.", "254")),
        ({"dns_name": "web.example.org."}, 400, "HTTPBadRequest", ("FQDN", "cloud.internal.")),
        ({"dns_name": "cloud.internal."}, 400, "HTTPBadRequest", ("FQDN",)),
        ({"dns_name": "localhost"}, 400, "HTTPBadRequest", ("localhost",)),
        ({"dns_name": "host-10-1-0-9"}, 400, "HTTPBadRequest", ("addresses",)),
        ({"dns_name": None}, 400, "HTTPBadRequest", ("dns_name",)),
        ({"dns_domain": "example.org"}, 400, "HTTPBadRequest", ("dns_domain", "not a FQDN")),
        ({"dns_domain": "."}, 400, "HTTPBadRequest", ("dns_domain",)),
        ({"dns_domain": "x." * 96}, 400, "HTTPBadRequest", ("dns_domain",)),
        ({"dns_assignment": []}, 400, "HTTPBadRequest", ("dns_assignment",)),
    ],
)  # fmt: skip
async def test_a_senseless_port_is_refused(
    client: Any, network: dict[str, Any], fields: dict[str, Any], status: int, kind: str, words: tuple[str, ...]
) -> None:
    body = {"port": {"network_id": network["id"], **fields}}
    refused(await client("ann").post("/v2.0/ports", json=body), status, kind, *words)
    assert len((await client("ann").get("/v2.0/ports")).json()["ports"]) == 1


async def test_a_mac_is_unique_in_its_network(client: Any, network: dict[str, Any]) -> None:
    ann = client("ann")
    await made(ann, "port", network_id=network["id"], mac_address="FA-16-3E-00-00-01")
    body = {"port": {"network_id": network["id"], "mac_address": "fa:16:3e:00:00:01"}}
    refused(await ann.post("/v2.0/ports", json=body), 409, "MacAddressInUse", "fa:16:3e:00:00:01")
    other = await made(ann, "port", network_id=network["id"])
    reply = await client("root").put(f"/v2.0/ports/{other['id']}", json={"port": {"mac_address": "fa:16:3e:00:00:01"}})
    refused(reply, 409, "MacAddressInUse")


async def test_a_mac_is_changed_by_an_administrator_or_a_manager_of_the_networks_project(
    client: Any, network: dict[str, Any]
) -> None:
    port = await made(client("ann"), "port", network_id=network["id"])
    path = f"/v2.0/ports/{port['id']}"
    body = {"port": {"mac_address": "fa:16:3e:00:00:02"}}
    refused(await client("ann").put(path, json=body), 403, "PolicyNotAuthorized", "mac_address", port["id"])
    same = {"port": {"mac_address": port["mac_address"], "name": "same"}}
    assert (await client("ann").put(path, json=same)).status_code == 200
    assert (await client("max").put(path, json=body)).json()["port"]["mac_address"] == "fa:16:3e:00:00:02"
    body = {"port": {"mac_address": "fa:16:3e:00:00:03"}}
    assert (await client("root").put(path, json=body)).json()["port"]["mac_address"] == "fa:16:3e:00:00:03"
    for bad in ("01:00:5e:00:00:01", "00:00:00:00:00:00", "ff:ff:ff:ff:ff:ff", "x", ""):
        reply = await client("root").put(path, json={"port": {"mac_address": bad}})
        assert reply.status_code == 400, bad


async def test_port_security_and_groups_exclude_each_other(client: Any, network: dict[str, Any]) -> None:
    ann = client("ann")
    port = await made(ann, "port", network_id=network["id"], allowed_address_pairs=[{"ip_address": "10.1.0.200"}])
    assert port["allowed_address_pairs"] == [{"ip_address": "10.1.0.200", "mac_address": port["mac_address"]}]
    path = f"/v2.0/ports/{port['id']}"
    refused(
        await ann.put(path, json={"port": {"port_security_enabled": False}}),
        409,
        "PortSecurityPortHasSecurityGroup",
        "security groups",
    )
    off = {"port_security_enabled": False, "security_groups": [], "allowed_address_pairs": []}
    reply = await ann.put(path, json={"port": off})
    assert reply.json()["port"]["port_security_enabled"] is False
    bare = await made(ann, "port", network_id=network["id"], port_security_enabled=False)
    assert bare["security_groups"] == []


async def test_the_default_group_lets_out_and_in_from_itself(client: Any) -> None:
    (group,) = (await client("ann").get("/v2.0/security-groups")).json()["security_groups"]
    rules = {(r["direction"], r["ethertype"], r["remote_group_id"]) for r in group["security_group_rules"]}
    assert rules == {
        ("ingress", "IPv4", group["id"]), ("ingress", "IPv6", group["id"]),
        ("egress", "IPv4", None), ("egress", "IPv6", None),
    }  # fmt: skip
    refused(await client("ann").delete(f"/v2.0/security-groups/{group['id']}"), 409, "SecurityGroupCannotRemoveDefault")
    reply = await client("ann").post("/v2.0/security-groups", json={"security_group": {"name": "default"}})
    refused(reply, 409, "SecurityGroupDefaultAlreadyExists", "default")


async def test_a_rule_is_added_once_and_removed(client: Any) -> None:
    ann = client("ann")
    group = await made(ann, "security_group", name="web")
    assert {rule["direction"] for rule in group["security_group_rules"]} == {"egress"}
    asked = {
        "security_group_id": group["id"], "direction": "ingress", "protocol": "TCP", "port_range_min": 22,
        "port_range_max": 22, "remote_ip_prefix": "10.0.0.5/8",
    }  # fmt: skip
    rule = await made(ann, "security_group_rule", **asked)
    assert (rule["protocol"], rule["remote_ip_prefix"], rule["ethertype"]) == ("tcp", "10.0.0.5/8", "IPv4")
    again = {**asked, "protocol": 6}
    reply = await ann.post("/v2.0/security-group-rules", json={"security_group_rule": again})
    refused(reply, 409, "SecurityGroupRuleExists", rule["id"])
    found = await ann.get("/v2.0/security-group-rules", params={"protocol": "tcp", "direction": "ingress"})
    assert [item["id"] for item in found.json()["security_group_rules"]] == [rule["id"]]
    path = f"/v2.0/security-group-rules/{rule['id']}"
    refused(await client("bob").delete(path), 404, "SecurityGroupRuleNotFound")
    assert (await ann.delete(path)).status_code == 204
    refused(await ann.get(path), 404, "SecurityGroupRuleNotFound")


@pytest.mark.parametrize(
    ("fields", "kind", "words"),
    [
        ({"direction": "sideways"}, "HTTPBadRequest", ("direction",)),
        ({"protocol": "carrier-pigeon"}, "SecurityGroupRuleInvalidProtocol", ("protocol", "carrier-pigeon")),
        ({"protocol": "tcp; accept"}, "SecurityGroupRuleInvalidProtocol", ("protocol",)),
        ({"protocol": 256}, "SecurityGroupRuleInvalidProtocol", ("protocol",)),
        ({"protocol": "ipv6-icmp"}, "SecurityGroupEthertypeConflictWithProtocol", ("IPv6",)),
        ({"protocol": "58"}, "SecurityGroupEthertypeConflictWithProtocol", ("IPv6",)),
        ({"port_range_min": 22, "port_range_max": 22}, "SecurityGroupProtocolRequiredWithPorts", ("protocol",)),
        (
            {"protocol": "gre", "port_range_min": 22, "port_range_max": 22},
            "SecurityGroupInvalidProtocolForPort", ("gre",),
        ),
        (
            {"protocol": "tcp", "port_range_min": 23, "port_range_max": 22},
            "SecurityGroupInvalidPortRange", ("port_range_min must be <= port_range_max", "23"),
        ),
        ({"protocol": "tcp", "port_range_min": 22}, "SecurityGroupInvalidPortRange", ("both",)),
        (
            {"protocol": "tcp", "port_range_min": 1, "port_range_max": 65536},
            "SecurityGroupInvalidPortValue", ("Invalid value for port 65536",),
        ),
        (
            {"protocol": "tcp", "port_range_min": 0, "port_range_max": 22},
            "SecurityGroupInvalidPortValue", ("Invalid value for port 0",),
        ),
        (
            {"protocol": "icmp", "port_range_min": 300}, "SecurityGroupInvalidIcmpValue",
            ("Invalid value for ICMP type 300",),
        ),
        (
            {"protocol": "icmp", "port_range_max": 3}, "SecurityGroupMissingIcmpType",
            ("ICMP type (port-range-min) is missing",),
        ),
        ({"remote_ip_prefix": "fd00::/8"}, "SecurityGroupRuleParameterConflict", ("remote_ip_prefix", "fd00::/8")),
        ({"remote_ip_prefix": "10.0.0.0/8 accept"}, "InvalidCIDR", ("remote_ip_prefix",)),
        ({"ethertype": "IPX"}, "SecurityGroupRuleInvalidEtherType", ("ethertype",)),
        (
            {"remote_ip_prefix": "10.0.0.0/8", "remote_group_id": "self"},
            "SecurityGroupMultipleRemoteEntites", ("remote_group_id",),
        ),
    ],
)  # fmt: skip
async def test_a_senseless_rule_is_refused(
    client: Any, fields: dict[str, Any], kind: str, words: tuple[str, ...]
) -> None:
    group = await made(client("ann"), "security_group", name="web")
    if "remote_group_id" in fields:
        fields = {**fields, "remote_group_id": group["id"]}
    body = {"security_group_rule": {"security_group_id": group["id"], "direction": "ingress", **fields}}
    refused(await client("ann").post("/v2.0/security-group-rules", json=body), 400, kind, *words)


async def test_a_rule_about_anothers_group_is_refused(client: Any) -> None:
    mine = await made(client("ann"), "security_group", name="web")
    theirs = await made(client("bob"), "security_group", name="web")
    body = {"direction": "ingress", "security_group_id": mine["id"], "remote_group_id": theirs["id"]}
    reply = await client("ann").post("/v2.0/security-group-rules", json={"security_group_rule": body})
    refused(reply, 404, "SecurityGroupNotFound", theirs["id"])
    body = {"direction": "ingress", "security_group_id": theirs["id"]}
    reply = await client("ann").post("/v2.0/security-group-rules", json={"security_group_rule": body})
    refused(reply, 404, "SecurityGroupNotFound", theirs["id"])


async def test_a_group_in_use_stays(client: Any, network: dict[str, Any]) -> None:
    ann = client("ann")
    group = await made(ann, "security_group", name="web")
    port = await made(ann, "port", network_id=network["id"], security_groups=[group["id"]])
    path = f"/v2.0/security-groups/{group['id']}"
    refused(await ann.delete(path), 409, "SecurityGroupInUse", group["id"])
    found = (await ann.get("/v2.0/ports", params={"security_groups": group["id"]})).json()["ports"]
    assert [item["id"] for item in found] == [port["id"]]
    await ann.put(f"/v2.0/ports/{port['id']}", json={"port": {"security_groups": []}})
    assert (await ann.delete(path)).status_code == 204
    stateless = {"security_group": {"name": "s", "stateful": False}}
    refused(await ann.post("/v2.0/security-groups", json=stateless), 400, "InvalidInput", "stateful")
