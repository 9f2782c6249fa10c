"""No field of any noun is taken and dropped: what a create or an update says of it is what is read afterwards.

A new field fails here until it has a sample.
"""

from __future__ import annotations

from typing import Any

import pytest

from floe.api.kit.resource import VARIES, Resource, Use, Wire
from floe.api.network.surface import NOUNS

OTHER = "b" * 32
SAMPLES: dict[str, dict[str, Any]] = {
    "network": {
        "name": "front", "description": "of the shop", "project_id": OTHER, "tenant_id": OTHER,
        "admin_state_up": False, "shared": True, "mtu": 1300, "port_security_enabled": False,
        "provider:segmentation_id": 77, "provider:network_type": "flat", "provider:physical_network": "wire",
        "router:external": True, "is_default": True, "dns_domain": "floe.example.",
    },
    "subnet": {
        "name": "front", "description": "of the shop", "project_id": OTHER, "tenant_id": OTHER,
        "network_id": "{network}", "cidr": "10.9.0.0/24", "gateway_ip": "10.2.0.1", "enable_dhcp": False,
        "allocation_pools": [{"start": "10.1.0.40", "end": "10.1.0.50"}], "dns_nameservers": ["10.1.0.9"],
        "host_routes": [{"destination": "10.8.0.0/16", "nexthop": "10.1.0.8"}], "service_types": ["compute:nova"],
        "subnetpool_id": "{subnetpool}",
    },
    "port": {
        "name": "front", "description": "of the shop", "project_id": OTHER, "tenant_id": OTHER,
        "network_id": "{network}", "mac_address": "fa:16:3e:00:00:07", "admin_state_up": False,
        "device_id": "mine", "device_owner": "compute:me", "port_security_enabled": False,
        "fixed_ips": [{"subnet_id": "{subnet}", "ip_address": "10.1.0.77"}],
        "security_groups": ["{security_group}"],
        "allowed_address_pairs": [{"ip_address": "10.1.0.200", "mac_address": "fa:16:3e:00:00:08"}],
        "tags": ["a", "b"], "dns_name": "front", "dns_domain": "floe.example.",
        "extra_dhcp_opts": [{"opt_name": "bootfile-name", "opt_value": "pxelinux.0", "ip_version": 4}],
        "binding:host_id": "h1", "binding:profile": {"pci_slot": "0000:0a:00.1"},
    },
    "security_group": {"name": "front", "description": "of the shop", "project_id": OTHER, "tenant_id": OTHER},
    "security_group_rule": {
        "description": "of the shop", "security_group_id": "{security_group}", "direction": "egress",
        "ethertype": "IPv6", "protocol": "tcp", "port_range_min": 22, "port_range_max": 23,
        "remote_ip_prefix": "192.0.2.0/24", "remote_group_id": "{security_group}",
        "remote_address_group_id": "{address_group}",
    },
    "address_group": {
        "name": "front", "description": "of the shop", "project_id": OTHER, "tenant_id": OTHER,
        "addresses": ["192.0.2.0/24"],
    },
    "router": {
        "name": "front", "description": "of the shop", "project_id": OTHER, "tenant_id": OTHER,
        "admin_state_up": False,
        "external_gateway_info": {
            "network_id": "{public}", "enable_snat": False,
            "external_fixed_ips": [{"subnet_id": "{public_subnet}", "ip_address": "203.0.113.77"}],
        },
        "routes": [{"destination": "10.8.0.0/16", "nexthop": "10.1.0.8"}],
    },
    "subnetpool": {
        "name": "front", "description": "of the shop", "project_id": OTHER, "tenant_id": OTHER,
        "prefixes": ["10.0.0.0/9", "172.16.0.0/16"], "default_prefixlen": 25, "min_prefixlen": 9, "max_prefixlen": 31,
        "default_quota": 512, "shared": True, "is_default": True, "address_scope_id": "{address_scope}",
    },
    "address_scope": {
        "name": "front", "description": "of the shop", "project_id": OTHER, "tenant_id": OTHER, "ip_version": 4,
        "shared": True,
    },
    "floatingip": {
        "description": "of the shop", "project_id": OTHER, "tenant_id": OTHER,
        "floating_network_id": "{public}", "floating_ip_address": "203.0.113.78",
        "port_id": "{port}", "fixed_ip_address": "10.1.0.40",
    },
}  # fmt: skip
"""What each field is set to, unlike what it is without; `{noun}` is the id of one."""
NEEDED: dict[str, dict[str, Any]] = {
    "subnet": {"network_id": "{bare}", "ip_version": 4, "cidr": "10.1.0.0/24"},
    "port": {"network_id": "{bare}", "fixed_ips": []},
    "security_group_rule": {"security_group_id": "{bare_group}", "direction": "ingress"},
    "floatingip": {"floating_network_id": "{public}"},
    "subnetpool": {"prefixes": ["10.0.0.0/9"], "default_prefixlen": 24},
    "address_scope": {"ip_version": 4},
}
BESIDE: dict[tuple[str, str], dict[str, Any]] = {
    ("port", "fixed_ips"): {"network_id": "{network}"},
    ("port", "port_security_enabled"): {"security_groups": []},
    ("security_group_rule", "direction"): {"protocol": "tcp"},
    ("security_group_rule", "port_range_min"): {"protocol": "tcp", "port_range_max": 22},
    ("security_group_rule", "port_range_max"): {"protocol": "tcp", "port_range_min": 22},
    ("subnet", "network_id"): {"cidr": "10.3.0.0/24"},
    ("network", "provider:segmentation_id"): {"provider:network_type": "vxlan"},
    ("network", "provider:network_type"): {"provider:physical_network": "wire"},
    ("network", "provider:physical_network"): {"provider:network_type": "flat"},
    ("network", "is_default"): {"router:external": True},
    ("floatingip", "fixed_ip_address"): {"port_id": "{port}"},
}
"""What a field makes no sense without."""
OF_GROUP = {("security_group_rule", "project_id"), ("security_group_rule", "tenant_id")}
"""A rule is its group's project's, whoever is named; Neutron takes the field and does the same."""
STAYS = {("network", f"provider:{name}") for name in ("segmentation_id", "network_type", "physical_network")}
"""What an update may repeat and not change, which is tried in test_networks.py."""
ELSEWHERE = {
    ("router", "routes"), ("floatingip", "fixed_ip_address"), ("floatingip", "subnet_id"), ("subnet", "prefixlen"),
    ("subnet", "use_default_subnetpool"),
}  # fmt: skip
"""What makes no sense alone, or is not read: tried in the tests of its noun, and of subnet pools."""


def test_every_noun_has_samples() -> None:
    assert {noun.name for noun in NOUNS} == SAMPLES.keys()


def written(use: Use) -> list[Any]:
    return [
        pytest.param(noun, wire, id=f"{noun.name}-{name}")
        for noun in NOUNS
        for name, wire in noun.fields.by_name.items()
        if use in wire.use and wire.field and wire.constant is VARIES
        and (use is Use.CREATE or noun.update is not None)
        and (noun.name, name) not in OF_GROUP | ELSEWHERE | (STAYS if use is Use.UPDATE else set())
    ]  # fmt: skip


@pytest.fixture
async def idents(client: Any, make: Any) -> dict[str, str]:
    """Give the ids that samples name."""
    made = {"network": await make("root", "network"), "bare": await make("root", "network")}
    made["subnet"] = await make("root", "subnet", network_id=made["network"]["id"], cidr="10.1.0.0/24")
    made["another_bare"] = await make("root", "network")
    for name in ("security_group", "bare_group", "another_bare_group"):
        made[name] = await make("root", "security_group", name=name)
    made["address_group"] = await make("root", "address_group")
    made["address_scope"] = await make("root", "address_scope", ip_version=4)
    made["subnetpool"] = await make("root", "subnetpool", prefixes=["10.0.0.0/8"])
    made["public"] = await make("root", "network", **{"router:external": True})
    made["public_subnet"] = await make("root", "subnet", network_id=made["public"]["id"], cidr="203.0.113.0/24")
    gateway = {"network_id": made["public"]["id"]}
    made["joined"] = await make("root", "router", external_gateway_info=gateway)
    body = {"subnet_id": made["subnet"]["id"]}
    await client("root").put(f"/v2.0/routers/{made['joined']['id']}/add_router_interface", json=body)
    fixed_ips = [{"ip_address": "10.1.0.40"}]
    made["port"] = await make("root", "port", network_id=made["network"]["id"], fixed_ips=fixed_ips)
    return {name: thing["id"] for name, thing in made.items()}


def filled(value: Any, idents: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {name: filled(part, idents) for name, part in value.items()}
    if isinstance(value, list):
        return [filled(part, idents) for part in value]
    return value.format(**idents) if isinstance(value, str) else value


async def shown(client: Any, noun: Resource[Any], ident: str) -> dict[str, Any]:
    found: dict[str, Any] = (await client("root").get(f"/v2.0/{noun.plural.replace('_', '-')}/{ident}")).json()
    return dict(found[noun.name])


@pytest.mark.parametrize(("noun", "wire"), written(Use.CREATE))
async def test_a_field_of_a_create_reaches_the_row(
    client: Any, make: Any, idents: dict[str, str], noun: Resource[Any], wire: Wire[Any]
) -> None:
    sample = filled(SAMPLES[noun.name][wire.name], idents)
    needed = {**NEEDED.get(noun.name, {}), **BESIDE.get((noun.name, wire.name), {})}
    made = await make("root", noun.name, **{**filled(needed, idents), wire.name: sample})
    assert made[wire.name] == sample
    assert (await shown(client, noun, made["id"]))[wire.name] == sample
    if wire.name in {"port_range_min", "mac_address"} or wire.required:
        return
    others = {**idents, "bare": idents["another_bare"], "bare_group": idents["another_bare_group"]}
    without = await make("root", noun.name, **filled(NEEDED.get(noun.name, {}), others))
    assert without.get(wire.name) != sample


@pytest.mark.parametrize(("noun", "wire"), written(Use.UPDATE))
async def test_a_field_of_an_update_reaches_the_row(
    client: Any, make: Any, idents: dict[str, str], noun: Resource[Any], wire: Wire[Any]
) -> None:
    sample = filled(SAMPLES[noun.name][wire.name], idents)
    needed = {**NEEDED.get(noun.name, {}), **BESIDE.get((noun.name, wire.name), {})}
    made = await make("root", noun.name, **filled(needed, idents))
    path = f"/v2.0/{noun.plural.replace('_', '-')}/{made['id']}"
    reply = await client("root").put(path, json={noun.name: {wire.name: sample}})
    assert reply.status_code == 200, reply.text
    assert made.get(wire.name) != sample
    assert reply.json()[noun.name][wire.name] == sample
    after = await shown(client, noun, made["id"])
    assert after[wire.name] == sample
    assert after["revision_number"] > made["revision_number"]
