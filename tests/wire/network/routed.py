"""Exchanges about routers and what is reached by them; `<name>` is the id that the exchange of that name made."""

from __future__ import annotations

from typing import Any

ANNS = "project-of-ann"
HOST = "host1"


def _put(noun: str, ident: str, member: str = "", **body: Any) -> tuple[str, str, Any]:
    return "PUT", f"/v2.0/{noun}/<{ident}>" + (f"/{member}" if member else ""), body


def _post(path: str, **body: Any) -> tuple[str, str, Any]:
    return "POST", f"/v2.0/{path}", body


def _get(path: str) -> tuple[str, str, Any]:
    return "GET", f"/v2.0/{path}", None


def _delete(path: str) -> tuple[str, str, Any]:
    return "DELETE", f"/v2.0/{path}", None


_OUTSIDE = {"name": "public", "router:external": True, "is_default": True}
_ROUTES = [{"destination": "10.9.0.0/16", "nexthop": "10.1.0.9"}]
_BELOW = "floatingips/<floatingip-create>/port_forwardings"
_FORWARDING = {"protocol": "tcp", "external_port": 2222, "internal_port": 22, "internal_port_id": "<guest-create>"}
_FIXED = [{"subnet_id": "<inside-subnet-create>", "ip_address": "10.1.0.20"}]
_MOVES = {"fixed_ips": [{"subnet_id": "<outside-subnet-create>", "ip_address": "172.24.4.80"}]}

Said = tuple[str, str, tuple[str, str, Any]]

OUTSIDE: list[Said] = [
    ("outside-create", "root", _post("networks", network=_OUTSIDE)),
    (
        "outside-subnet-create",
        "root",
        _post("subnets", subnet={"network_id": "<outside-create>", "cidr": "172.24.4.0/24", "ip_version": 4}),
    ),
    ("address-scope-create", "ann", _post("address-scopes", address_scope={"name": "shop", "ip_version": 4})),
    ("address-scope-list", "ann", _get("address-scopes?ip_version=4")),
    ("address-scope-show", "ann", _get("address-scopes/<address-scope-create>")),
    ("address-scope-update", "ann", _put("address-scopes", "address-scope-create", address_scope={"name": "s"})),
    ("address-scope-missing", "ann", _get("address-scopes/nowhere")),
    (
        "subnetpool-create",
        "ann",
        _post(
            "subnetpools",
            subnetpool={
                "name": "ranges",
                "prefixes": ["10.1.0.0/16"],
                "default_prefixlen": 24,
                "address_scope_id": "<address-scope-create>",
            },
        ),
    ),
    ("subnetpool-list", "ann", _get("subnetpools?is_default=false")),
    ("subnetpool-show", "ann", _get("subnetpools/<subnetpool-create>")),
    ("subnetpool-update", "ann", _put("subnetpools", "subnetpool-create", subnetpool={"default_quota": 256})),
    ("subnetpool-prefixes", "ann", _put("subnetpools", "subnetpool-create", "add_prefixes", prefixes=["10.2.0.0/16"])),
    ("subnetpool-malformed", "ann", _post("subnetpools", subnetpool={"name": "none"})),
    ("subnetpool-missing", "ann", _get("subnetpools/nowhere")),
    ("inside-create", "ann", _post("networks", network={"name": "inside"})),
    (
        "inside-subnet-create",
        "ann",
        _post(
            "subnets",
            subnet={"network_id": "<inside-create>", "subnetpool_id": "<subnetpool-create>", "ip_version": 4},
        ),
    ),
    (
        "subnetpool-over-quota",
        "ann",
        _post(
            "subnets",
            subnet={"network_id": "<inside-create>", "subnetpool_id": "<subnetpool-create>", "ip_version": 4},
        ),
    ),
    ("address-scope-in-use", "ann", _delete("address-scopes/<address-scope-create>")),
    ("subnetpool-in-use", "ann", _delete("subnetpools/<subnetpool-create>")),
    ("guest-create", "ann", _post("ports", port={"network_id": "<inside-create>", "fixed_ips": _FIXED})),
]

ROUTERS: list[Said] = [
    ("router-create", "ann", _post("routers", router={"name": "r1"})),
    (
        "router-malformed",
        "ann",
        _post("routers", router={"name": "r2", "external_gateway_info": {"enable_snat": True}}),
    ),
    (
        "router-interface-add",
        "ann",
        _put("routers", "router-create", "add_router_interface", subnet_id="<inside-subnet-create>"),
    ),
    (
        "router-interface-exists",
        "ann",
        _put("routers", "router-create", "add_router_interface", subnet_id="<inside-subnet-create>"),
    ),
    ("router-interface-malformed", "ann", _put("routers", "router-create", "add_router_interface")),
    (
        "floatingip-unreachable-missing",
        "ann",
        _post("floatingips", floatingip={"floating_network_id": "<outside-create>", "port_id": "<guest-create>"}),
    ),
    (
        "router-update",
        "ann",
        _put("routers", "router-create", router={"external_gateway_info": {"network_id": "<outside-create>"}}),
    ),
    ("router-show", "ann", _get("routers/<router-create>")),
    ("router-show-admin", "root", _get("routers/<router-create>")),
    ("router-list", "ann", _get("routers?name=r1&fields=id&fields=status")),
    ("router-missing", "ann", _get("routers/nowhere")),
    ("router-in-use", "ann", _delete("routers/<router-create>")),
    ("router-routes-add", "ann", _put("routers", "router-create", "add_extraroutes", router={"routes": _ROUTES})),
    (
        "router-routes-odd",
        "ann",
        _put(
            "routers",
            "router-create",
            "add_extraroutes",
            router={"routes": [{"destination": "10.9.0.0/16", "nexthop": "192.0.2.1"}]},
        ),
    ),
    ("router-routes-remove", "ann", _put("routers", "router-create", "remove_extraroutes", router={"routes": _ROUTES})),
    ("router-gateways-missing", "ann", _put("routers", "router-create", "add_external_gateways", router={})),
]

FLOATING: list[Said] = [
    (
        "floatingip-create",
        "ann",
        _post("floatingips", floatingip={"floating_network_id": "<outside-create>", "description": "way in"}),
    ),
    (
        "floatingip-address-odd",
        "ann",
        _post(
            "floatingips",
            floatingip={"floating_network_id": "<outside-create>", "floating_ip_address": "172.24.4.77"},
        ),
    ),
    ("floatingip-inside-odd", "ann", _post("floatingips", floatingip={"floating_network_id": "<inside-create>"})),
    ("floatingip-update", "ann", _put("floatingips", "floatingip-create", floatingip={"port_id": "<guest-create>"})),
    ("floatingip-show", "ann", _get("floatingips/<floatingip-create>")),
    ("floatingip-list", "ann", _get("floatingips?port_id=<guest-create>")),
    ("floatingip-missing", "ann", _get("floatingips/nowhere")),
    (
        "router-interface-in-use",
        "ann",
        _put("routers", "router-create", "remove_router_interface", subnet_id="<inside-subnet-create>"),
    ),
    (
        "router-gateway-in-use",
        "ann",
        _put("routers", "router-create", router={"external_gateway_info": None}),
    ),
    ("port-forwarding-exists", "ann", _post(_BELOW, port_forwarding=_FORWARDING)),
    ("floatingip-disassociate", "ann", _put("floatingips", "floatingip-create", floatingip={"port_id": None})),
    ("port-forwarding-create", "ann", _post(_BELOW, port_forwarding=_FORWARDING)),
    ("port-forwarding-list", "ann", _get(f"{_BELOW}?protocol=tcp")),
    ("port-forwarding-show", "ann", _get(f"{_BELOW}/<port-forwarding-create>")),
    ("port-forwarding-missing", "ann", _get(f"{_BELOW}/nowhere")),
    (
        "port-forwarding-update",
        "ann",
        ("PUT", f"/v2.0/{_BELOW}/<port-forwarding-create>", {"port_forwarding": {"external_port": 2200}}),
    ),
    ("port-forwarding-odd", "ann", _post(_BELOW, port_forwarding={**_FORWARDING, "protocol": "icmp"})),
    ("floatingip-forwarding-in-use", "ann", _delete("floatingips/<floatingip-create>")),
    ("port-forwarding-delete", "ann", _delete(f"{_BELOW}/<port-forwarding-create>")),
]

AGENTS: list[Said] = [
    ("guest-pinned", "root", _put("ports", "guest-create", port={"binding:host_id": HOST})),
    ("agents-of-hosts-list", "root", _get("agents")),
    ("agent-update-odd", "root", ("PUT", "/v2.0/agents/<l3-agent>", {"agent": {"description": "of the shop"}})),
    ("agent-in-use", "root", _delete("agents/<l3-agent>")),
    ("l3-agents-of-router", "root", _get("routers/<router-create>/l3-agents")),
    ("l3-agents-to-ann-odd", "ann", _get("routers/<router-create>/l3-agents")),
    ("dhcp-agents-of-network", "root", _get("networks/<inside-create>/dhcp-agents")),
    ("l3-routers", "root", _get("agents/<l3-agent>/l3-routers")),
    ("dhcp-networks", "root", _get("agents/<dhcp-agent>/dhcp-networks")),
    ("l3-router-add-odd", "root", _post("agents/<l3-agent>/l3-routers", router_id="<router-create>")),
    ("l3-router-remove-odd", "root", _delete("agents/<l3-agent>/l3-routers/<router-create>")),
    ("dhcp-network-add-odd", "root", _post("agents/<dhcp-agent>/dhcp-networks", network_id="<inside-create>")),
    ("dhcp-network-remove-odd", "root", _delete("agents/<dhcp-agent>/dhcp-networks/<inside-create>")),
    ("availability-zone-list", "ann", _get("availability_zones")),
]

REST: list[Said] = [
    ("tags-put", "ann", _put("routers", "router-create", "tags", tags=["a", "b"])),
    ("tags-post", "ann", ("POST", "/v2.0/routers/<router-create>/tags", {"tags": ["c"]})),
    ("tags-list", "ann", _get("routers/<router-create>/tags")),
    ("tag-put", "ann", _put("routers", "router-create", "tags/d")),
    ("tag-show", "ann", _get("routers/<router-create>/tags/d")),
    ("tag-delete", "ann", _delete("routers/<router-create>/tags/d")),
    ("tag-missing", "ann", _get("routers/<router-create>/tags/d")),
    ("tags-delete", "ann", _delete("routers/<router-create>/tags")),
    (
        "address-group-create",
        "ann",
        _post("address-groups", address_group={"name": "offices", "addresses": ["192.0.2.0/24"]}),
    ),
    ("address-group-list", "ann", _get("address-groups")),
    ("address-group-show", "ann", _get("address-groups/<address-group-create>")),
    ("address-group-update", "ann", _put("address-groups", "address-group-create", address_group={"name": "o"})),
    (
        "address-group-add",
        "ann",
        _put("address-groups", "address-group-create", "add_addresses", addresses=["198.51.100.1/32"]),
    ),
    (
        "address-group-remove",
        "ann",
        _put("address-groups", "address-group-create", "remove_addresses", addresses=["192.0.2.0/24"]),
    ),
    ("address-group-delete", "ann", _delete("address-groups/<address-group-create>")),
    ("resources-of-old", "ann", _get("")),
    ("quota-tenant", "ann", _get("quotas/tenant")),
    ("floatingip-delete", "ann", _delete("floatingips/<floatingip-create>")),
    (
        "router-interface-remove",
        "ann",
        _put("routers", "router-create", "remove_router_interface", subnet_id="<inside-subnet-create>"),
    ),
    ("router-gateway-remove", "ann", _put("routers", "router-create", router={"external_gateway_info": {}})),
    ("router-delete", "ann", _delete("routers/<router-create>")),
    ("guest-delete", "ann", _delete("ports/<guest-create>")),
    ("inside-delete", "ann", _delete("networks/<inside-create>")),
    ("subnetpool-delete", "ann", _delete("subnetpools/<subnetpool-create>")),
    ("address-scope-delete", "ann", _delete("address-scopes/<address-scope-create>")),
    (
        "default-pool-create",
        "root",
        _post(
            "subnetpools",
            subnetpool={"prefixes": ["10.64.0.0/16"], "default_prefixlen": 26, "is_default": True, "shared": True},
        ),
    ),
    ("auto-allocated-check", "ann", _get("auto-allocated-topology/None?fields=dry-run")),
    ("auto-allocated-show", "ann", _get("auto-allocated-topology/None")),
    ("auto-allocated-of-another-missing", "ann", _get("auto-allocated-topology/project-of-root")),
    ("auto-allocated-remove", "ann", _delete("auto-allocated-topology/None")),
]

EXCHANGES = [*OUTSIDE, *ROUTERS, *FLOATING, *AGENTS, *REST]
