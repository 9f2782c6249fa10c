"""The rules of the network surface that a reviewer should not have to repeat."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import floe
from floe.api.kit.resource import Fields, Use
from floe.api.network import quotas, surface, versions
from floe.api.network.extensions import EXTENSIONS
from floe.api.network.faults import TYPES
from floe.api.network.surface import SURFACE
from floe.core import auto_allocated, errors
from floe.core import networks as network_errors
from floe.core.context import Context

SOURCE = Path(floe.__file__).parent
_FURTHER = (
    "address_use", "addresses", "auto_allocated", "floating_ips", "gateways", "network_agents", "network_quotas",
    "network_room", "pins", "port_names", "router_interfaces", "tags",
)  # fmt: skip
RAISERS = [
    *sorted((SOURCE / "api/network").glob("*.py")),
    *(
        path
        for room in ("core", "cloud")
        for name in (*_FURTHER, *(noun.plural for noun in (*surface.NOUNS, *surface.PARTS)))
        if (path := SOURCE / room / f"{name}.py").exists()
    ),
]
KINDS = {
    name: kind.kind
    for module in (errors, network_errors, auto_allocated)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, errors.FloeError)
}
ELSEWHERE = {
    "unauthenticated", "too_large", "unavailable", "no_such_method", "over_quota",
    *(f"{noun.name}_in_use" for noun in (*surface.NOUNS, *surface.PARTS)),
}  # fmt: skip
"""Reasons of errors that other modules raise, or that a noun's name is part of."""


def _reasons() -> Iterator[str]:
    for path in RAISERS:
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call):
                continue
            if isinstance(node.func, ast.Attribute) and node.func.attr == "Owned":
                (what, *_) = node.args
                assert isinstance(what, ast.Constant)
                yield f"{str(what.value).replace(' ', '_')}_not_found"
            if not isinstance(node.func, ast.Name) or node.func.id not in KINDS:
                continue
            named = [word.value for word in node.keywords if word.arg == "reason"]
            for value in named:
                yield from (leaf.value for leaf in ast.walk(value) if isinstance(leaf, ast.Constant) and leaf.value)
            if not named and node.func.id == "NotFound":
                (what, *_) = node.args
                if isinstance(what, ast.Constant):
                    yield f"{str(what.value).replace(' ', '_')}_not_found"
            elif not named:
                yield KINDS[node.func.id]


def test_every_error_has_neutrons_name_for_it() -> None:
    assert set(_reasons()) - set(TYPES) == {
        "extension_not_found",  # Neutron has no name for it either
        "project_not_found",  # nor for an id that no project can have
        "conflict",  # a name that several groups have, which only a create of a server asks for
    }


def test_every_name_of_an_error_is_of_one_that_is_raised() -> None:
    assert set(TYPES) - set(_reasons()) - ELSEWHERE == set()


@pytest.mark.parametrize("path", sorted({route.path for route in SURFACE.routes if route.path != "/"}))
def test_every_path_may_ask_for_json(path: str) -> None:
    plain, asked = SURFACE.table.match(path), SURFACE.table.match(path + ".json")
    assert plain is not None
    assert asked == plain
    other = SURFACE.table.match(path + ".xml")
    assert other is None or other.params != plain.params


NOUNS: dict[str, Fields[Any]] = {
    **{noun.plural.replace("_", "-"): noun.fields for noun in surface.NOUNS},
    **{noun.plural: noun.fields for noun in surface.PARTS},
    "quotas": quotas.QUOTA,
}
REVISED = {noun.plural.replace("_", "-") for noun in surface.NOUNS}
ALL = frozenset(REVISED)

OF_ATTRIBUTES: dict[str, tuple[frozenset[str], dict[str, Use]]] = {
    "security-groups-remote-address-group": (
        frozenset({"security-group-rules"}),
        {"remote_address_group_id": Use.CREATE | Use.LIST},
    ),
    "allowed-address-pairs": (frozenset({"ports"}), {"allowed_address_pairs": Use.WRITE}),
    "binding": (
        frozenset({"ports"}),
        {
            "binding:host_id": Use.WRITE | Use.FILTER,
            "binding:vnic_type": Use.WRITE,
            "binding:profile": Use.WRITE,
            "binding:vif_type": Use.NONE,
            "binding:vif_details": Use.NONE,
        },
    ),
    "dns-integration": (frozenset({"networks", "ports"}), {"dns_domain": Use.WRITE | Use.FILTER}),
    "dns-domain-ports": (
        frozenset({"ports"}),
        {"dns_domain": Use.WRITE, "dns_name": Use.WRITE | Use.FILTER, "dns_assignment": Use.NONE},
    ),
    "extra_dhcp_opt": (frozenset({"ports"}), {"extra_dhcp_opts": Use.WRITE}),
    "external-net": (frozenset({"networks"}), {"router:external": Use.WRITE | Use.FILTER}),
    "expose-port-forwarding-in-fip": (frozenset({"floatingips"}), {"port_forwardings": Use.NONE}),
    "fip-port-details": (frozenset({"floatingips"}), {"port_details": Use.NONE}),
    "floating-ip-port-forwarding-description": (
        frozenset({"port_forwardings"}),
        {"description": Use.WRITE | Use.FILTER},
    ),
    "floating-ip-port-forwarding-port-ranges": (
        frozenset({"port_forwardings"}),
        {"external_port_range": Use.ALL, "internal_port_range": Use.WRITE},
    ),
    "ext-gw-mode": (frozenset({"routers"}), {"external_gateway_info": Use.WRITE}),
    "router_availability_zone": (
        frozenset({"routers"}),
        {"availability_zone_hints": Use.CREATE, "availability_zones": Use.NONE},
    ),
    "extraroute": (frozenset({"routers"}), {"routes": Use.UPDATE}),
    "net-mtu": (frozenset({"networks"}), {"mtu": Use.LIST}),
    "net-mtu-writable": (frozenset({"networks"}), {"mtu": Use.WRITE}),
    "port-security": (frozenset({"networks", "ports"}), {"port_security_enabled": Use.WRITE}),
    "project-id": (ALL, {"project_id": Use.CREATE | Use.LIST}),
    "subnet-service-types": (frozenset({"subnets"}), {"service_types": Use.WRITE}),
    "default-subnetpools": (frozenset({"subnetpools"}), {"is_default": Use.ALL}),
    "provider": (
        frozenset({"networks"}),
        {
            "provider:network_type": Use.WRITE | Use.FILTER,
            "provider:physical_network": Use.WRITE | Use.FILTER,
            "provider:segmentation_id": Use.WRITE | Use.FILTER,
        },
    ),
    "security-group": (frozenset({"ports"}), {"security_groups": Use.WRITE}),
    "standard-attr-description": (ALL, {"description": Use.CREATE | Use.FILTER}),
    "standard-attr-revisions": (ALL, {"revision_number": Use.FILTER}),
    "standard-attr-tag": (ALL, {"tags": Use.NONE}),
    "tag-ports-during-bulk-creation": (frozenset({"ports"}), {"tags": Use.CREATE}),
    "standard-attr-timestamp": (ALL, {"created_at": Use.NONE, "updated_at": Use.NONE}),
}
OF_ROUTES = {
    "address-group": {
        *(f"{method} /v2.0/address-groups" for method in ("GET", "POST")),
        *(f"{method} /v2.0/address-groups/{{id}}" for method in ("GET", "PUT", "DELETE")),
        *(f"PUT /v2.0/address-groups/{{id}}/{call}_addresses" for call in ("add", "remove")),
    },
    "address-scope": {
        *(f"{method} /v2.0/address-scopes" for method in ("GET", "POST")),
        *(f"{method} /v2.0/address-scopes/{{id}}" for method in ("GET", "PUT", "DELETE")),
    },
    "subnet_allocation": {
        *(f"{method} /v2.0/subnetpools" for method in ("GET", "POST")),
        *(f"{method} /v2.0/subnetpools/{{id}}" for method in ("GET", "PUT", "DELETE")),
    },
    "agent": {"GET /v2.0/agents", *(f"{method} /v2.0/agents/{{agent_id}}" for method in ("GET", "PUT", "DELETE"))},
    "availability_zone": {"GET /v2.0/availability_zones"},
    "service-type": {"GET /v2.0/service-providers"},
    "auto-allocated-topology": {f"{verb} /v2.0/auto-allocated-topology/{{project_id}}" for verb in ("GET", "DELETE")},
    "l3_agent_scheduler": {
        "GET /v2.0/routers/{router_id}/l3-agents", "GET /v2.0/agents/{agent_id}/l3-routers",
        "POST /v2.0/agents/{agent_id}/l3-routers", "DELETE /v2.0/agents/{agent_id}/l3-routers/{router_id}",
    },
    "dhcp_agent_scheduler": {
        "GET /v2.0/networks/{network_id}/dhcp-agents", "GET /v2.0/agents/{agent_id}/dhcp-networks",
        "POST /v2.0/agents/{agent_id}/dhcp-networks", "DELETE /v2.0/agents/{agent_id}/dhcp-networks/{network_id}",
    },
    "network-ip-availability": {
        "GET /v2.0/network-ip-availabilities", "GET /v2.0/network-ip-availabilities/{network_id}",
    },
    "floating-ip-port-forwarding": {
        *(f"{method} /v2.0/floatingips/{{above}}/port_forwardings" for method in ("GET", "POST")),
        *(f"{method} /v2.0/floatingips/{{above}}/port_forwardings/{{id}}" for method in ("GET", "PUT", "DELETE")),
    },
    "extraroute-atomic": {f"PUT /v2.0/routers/{{id}}/{verb}_extraroutes" for verb in ("add", "remove")},
    "router": {
        *(f"{method} /v2.0/{noun}" for noun in ("routers", "floatingips") for method in ("GET", "POST")),
        *(f"{m} /v2.0/{noun}/{{id}}" for noun in ("routers", "floatingips") for m in ("GET", "PUT", "DELETE")),
        *(f"PUT /v2.0/routers/{{id}}/{verb}_router_interface" for verb in ("add", "remove")),
    },
    "quotas": {"GET /v2.0/quotas", "GET /v2.0/quotas/{project_id}", "PUT /v2.0/quotas/{project_id}",
               "DELETE /v2.0/quotas/{project_id}", "GET /v2.0/quotas/{project_id}/default"},
    "quota_details": {"GET /v2.0/quotas/{project_id}/details"},
    "security-group": {
        *(f"{method} /v2.0/security-groups" for method in ("GET", "POST")),
        *(f"{method} /v2.0/security-groups/{{id}}" for method in ("GET", "PUT", "DELETE")),
        *(f"{method} /v2.0/security-group-rules" for method in ("GET", "POST")),
        *(f"{method} /v2.0/security-group-rules/{{id}}" for method in ("GET", "DELETE")),
    },
    "tag-creation": {f"POST /v2.0/{name}/{{id}}/tags" for name in REVISED},
}  # fmt: skip
OF_BEHAVIOUR = {
    "empty-string-filtering", "filter-validation", "floating-ip-port-forwarding-detail", "ip-substring-filtering",
    "pagination", "port-security-groups-filtering", "quota-check-limit", "quota-check-limit-default",
    "revision-if-match", "sorting",
}  # fmt: skip
"""Each is tried over HTTP, in tests/functional/network."""


def test_every_extension_is_known_here() -> None:
    assert set(EXTENSIONS) == OF_ATTRIBUTES.keys() | OF_ROUTES.keys() | OF_BEHAVIOUR


@pytest.mark.parametrize("alias", OF_ATTRIBUTES)
def test_an_extensions_attributes_are_there_for_what_it_says(alias: str) -> None:
    nouns, attributes = OF_ATTRIBUTES[alias]
    for noun in nouns:
        for name, use in attributes.items():
            assert use in NOUNS[noun].by_name[name].use, f"{noun}: {name}"


@pytest.mark.parametrize("alias", OF_ROUTES)
def test_an_extensions_calls_are_there(alias: str) -> None:
    assert OF_ROUTES[alias] - {f"{route.method} {route.path}" for route in SURFACE.routes} == set()


# -- who may do what ------------------------------------------------------------------------------------

READER = frozenset({"reader"})
MEMBER, ADMIN = READER | {"member"}, READER | {"member", "admin"}
TOKENS = {
    "none": Context(request_id=""),
    "unscoped": Context(request_id="", user_id="u"),
    "domain": Context(request_id="", user_id="u", domain_id="d", roles=ADMIN),
    "system": Context(request_id="", user_id="u", system=True, roles=ADMIN),
    "stranger": Context(request_id="", user_id="u", project_id="p", roles=frozenset({"cook"})),
    "reader": Context(request_id="", user_id="u", project_id="p", roles=READER),
    "member": Context(request_id="", user_id="u", project_id="p", roles=MEMBER),
    "admin": Context(request_id="", user_id="u", project_id="p", roles=ADMIN),
}
WRITERS, OF_PROJECT, EVERYBODY = {"member", "admin"}, {"stranger", "reader", "member", "admin"}, set(TOKENS) - {"none"}
"""What a list shows to everybody is what the caller may see: tests/functional/network/test_scopes.py."""
MAY = {
    "get_versions": set(TOKENS),
    "get_extension": EVERYBODY,
    **{f"get_{noun.name}": EVERYBODY for noun in (*surface.NOUNS, *surface.PARTS)},
    **{
        f"{verb}_{noun}": WRITERS
        for noun in (
            "address_group",
            "address_scope",
            "floatingip",
            "network",
            "port",
            "port_forwarding",
            "router",
            "security_group",
            "subnet",
            "subnetpool",
        )
        for verb in ("create", "update", "delete")
    },
    "create_security_group_rule": WRITERS,
    "delete_security_group_rule": WRITERS,
    **{f"get_{noun.plural}_tags": EVERYBODY for noun in surface.NOUNS},
    **{f"{verb}_{noun.plural}_tags": WRITERS for noun in surface.NOUNS for verb in ("create", "update", "delete")},
    "get_agent": EVERYBODY,
    "update_agent": {"admin"},
    "delete_agent": {"admin"},
    "get_l3-agents": {"admin"},
    "get_auto_allocated_topology": {"reader", "member", "admin"},
    "delete_auto_allocated_topology": WRITERS,
    "create_l3-router": {"admin"},
    "get_availability_zone": EVERYBODY,
    "get_service_provider": EVERYBODY,
    "get_network_ip_availability": EVERYBODY,
    "get_quota": OF_PROJECT,
    "get_quotas": {"admin"},
    "update_quota": {"admin"},
    "delete_quota": {"admin"},
}


def test_the_matrix_knows_every_rule() -> None:
    assert set(SURFACE.policies) == set(MAY)


@pytest.mark.parametrize("rule", sorted(MAY))
def test_a_rule_lets_pass_the_tokens_it_should(rule: str) -> None:
    assert {name for name, context in TOKENS.items() if SURFACE.policies[rule](context)} == MAY[rule]


def test_the_version_names_every_noun() -> None:
    named = set(versions.RESOURCES)
    assert {(noun.name, noun.plural.replace("_", "-")) for noun in surface.NOUNS} - named == set()


def test_a_noun_is_listed_once_and_tells_all_it_has() -> None:
    names = [noun.name for noun in surface.NOUNS]
    assert len(set(names)) == len(names)
    for noun in surface.NOUNS:
        assert {route.path for route in noun.routes} <= {route.path for route in SURFACE.routes}
