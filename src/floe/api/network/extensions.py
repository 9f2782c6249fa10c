"""`/v2.0/extensions`: what is really there, and no more."""

from __future__ import annotations

from typing import Any

from floe.api.kit import policy
from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route
from floe.api.network.nouns import NOUNS, PARTS
from floe.core.errors import NotFound

_UPDATED = "2026-01-01T00:00:00-00:00"

EXTENSIONS: dict[str, tuple[str, str]] = {
    **{
        noun.extension.alias: (noun.extension.name, noun.extension.about) for noun in (*NOUNS, *PARTS) if noun.extension
    },
    "agent": ("agent", "The agents of the hosts, which are up and go as the hosts do."),
    "allowed-address-pairs": ("Allowed Address Pairs", "Further addresses that a port may send from."),
    "auto-allocated-topology": (
        "Auto Allocated Topology Services",
        "A network with a router to the outside, made for a project when it is first asked for.",
    ),
    "availability_zone": ("Availability Zone", "The availability zones of the hosts that serve networks."),
    "binding": ("Port Binding", "On which host a port is plugged, its vnic_type, and what is noted of that."),
    "default-subnetpools": ("Default Subnetpools", "A subnet pool may be the one that is taken where none is named."),
    "dhcp_agent_scheduler": ("DHCP Agent Scheduler", "Which hosts serve a network: those that have guests there."),
    "dns-domain-ports": ("dns_domain for ports", "A port's name may be of a domain of its own."),
    "dns-integration": ("DNS Integration", "What ports are called in the DNS of their networks."),
    "empty-string-filtering": ("Empty String Filtering Extension", "A filter may be the empty text."),
    "ext-gw-mode": ("Neutron L3 Configurable external gateway mode", "Whether a router has SNAT."),
    "expose-port-forwarding-in-fip": (
        "Expose Floating IP port forwardings",
        "Floating IPs are shown with their port forwardings.",
    ),
    "external-net": ("Neutron external network", "Networks that lead out of the cloud."),
    "extra_dhcp_opt": ("Neutron Extra DHCP options", "What the DHCP client of a port is told besides."),
    "extraroute": ("Neutron Extra Route", "Further routes of a router."),
    "extraroute-atomic": ("Atomically add/remove extra routes", "Some of them are added or removed at once."),
    "filter-validation": ("Filter parameters validation", "Unknown filters of lists are refused."),
    "fip-port-details": (
        "Floating IP Port Details Extension",
        "Floating IPs are shown with the port that they lead to.",
    ),
    "floating-ip-port-forwarding-description": (
        "Floating IP Port Forwarding new attribute description",
        "Port forwardings have descriptions.",
    ),
    "floating-ip-port-forwarding-detail": (
        "Floating IP port forwarding detail",
        "Beside floating IPs they are shown with their ids and ports.",
    ),
    "floating-ip-port-forwarding-port-ranges": (
        "Floating IP Port Forwarding support port ranges",
        "Several ports at once are forwarded.",
    ),
    "ip-substring-filtering": ("IP address substring filtering", "Ports may be listed by a part of an address."),
    "l3_agent_scheduler": ("L3 Agent Scheduler", "Which hosts have a router: those that have guests behind it."),
    "net-mtu": ("Network MTU", "The MTU of networks."),
    "net-mtu-writable": ("Network MTU (writable)", "The MTU of networks may be set."),
    "network-ip-availability": ("Network IP Availability", "How many addresses of a network are used."),
    "pagination": ("Pagination support", "Lists come in pages, with links."),
    "port-security": ("Port Security", "Anti-spoofing and security groups may be turned off for a port."),
    "port-security-groups-filtering": ("Port filtering on security groups", "Ports may be listed by security group."),
    "project-id": ("project_id field enabled", "project_id may be used instead of tenant_id."),
    "provider": ("Provider Network", "Administrators see, and choose, how a network is made."),
    "quotas": ("Quota management support", "Limits by project."),
    "quota_details": ("Quota details management support", "What a project uses of its limits."),
    "quota-check-limit": ("Quota engine limit check", "Limits under what is used are refused."),
    "quota-check-limit-default": ("Quota engine limit check by default", "They are, unless they are forced."),
    "revision-if-match": ("If-Match constraints based on revision_number", "A write may name the revision it is of."),
    "router_availability_zone": ("Router Availability Zone", "The availability zones that a router is in."),
    "security-group": ("security-group", "Stateful filters for ports."),
    "security-groups-remote-address-group": (
        "Remote address group id field for security group rules",
        "A rule may be about the addresses of a group.",
    ),
    "service-type": ("Neutron Service Type Management", "Who gives services: there are routers, and no VPNs."),
    "sorting": ("Sorting support", "Lists may be sorted by most attributes."),
    "standard-attr-description": ("standard-attr-description", "Descriptions."),
    "standard-attr-revisions": ("Resource revision numbers", "Revision numbers, counted up by each change."),
    "standard-attr-tag": ("standard-attr-tag", "Tags, and lists of what has or has not some of them."),
    "standard-attr-timestamp": ("Resource timestamps", "Times of creation and of the latest change."),
    "subnet-service-types": ("Subnet service types", "Subnets may be for ports of certain device owners alone."),
    "tag-creation": ("Tag creation", "Several tags may be added at once."),
    "tag-ports-during-bulk-creation": ("Tag Ports During Bulk Creation", "Ports may be made with tags."),
}
"""Alias -> name, description."""


async def index(_call: Call) -> Reply:
    """List extensions."""
    return Reply(body={"extensions": [_show(alias) for alias in EXTENSIONS]})


async def show(call: Call) -> Reply:
    """Show an extension."""
    alias = call.params["alias"]
    if alias not in EXTENSIONS:
        raise NotFound("extension", alias)
    return Reply(body={"extension": _show(alias)})


def _show(alias: str) -> dict[str, Any]:
    name, description = EXTENSIONS[alias]
    return {"alias": alias, "name": name, "description": description, "updated": _UPDATED, "links": []}


ROUTES = (
    Route("GET", "/v2.0/extensions", index, "get_extension"),
    Route("GET", "/v2.0/extensions/{alias}", show, "get_extension"),
)
POLICIES: policy.Policies = {"get_extension": policy.authenticated}
