"""What the network surface says, to the letter. `FLOE_WRITE_GOLDENS=1` writes the replies anew."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

import httpx

from floe.api.network.surface import SURFACE
from floe.cloud import network_agents
from floe.cloud.cloud import Cloud
from floe.core.hosts import Host
from floe.store import hosts

from . import routed

GOLDENS = Path(__file__).parent / "goldens"


def the(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


NETWORK, SUBNET, PORT = the(1), the(2), the(3)
RULE = {
    "direction": "ingress", "protocol": "tcp", "port_range_min": 22, "port_range_max": 22,
    "remote_ip_prefix": "0.0.0.0/0",
}  # fmt: skip

EXCHANGES: list[tuple[str, str, str, str, Any]] = [
    ("versions", "ann", "GET", "/", None),
    ("resources", "ann", "GET", "/v2.0/", None),
    ("extensions", "ann", "GET", "/v2.0/extensions", None),
    ("extension", "ann", "GET", "/v2.0/extensions/port-security", None),
    ("network-create", "ann", "POST", "/v2.0/networks", {"network": {"name": "front"}}),
    (
        "subnet-create", "ann", "POST", "/v2.0/subnets",
        {"subnet": {
            "network_id": NETWORK, "cidr": "10.1.0.0/24", "ip_version": 4, "dns_nameservers": ["10.1.0.5"],
            "host_routes": [{"destination": "10.8.0.0/16", "nexthop": "10.1.0.8"}],
        }},
    ),
    ("port-create", "ann", "POST", "/v2.0/ports", {"port": {"network_id": NETWORK, "name": "eth0"}}),
    ("network-show", "ann", "GET", f"/v2.0/networks/{NETWORK}", None),
    ("network-show-admin", "root", "GET", f"/v2.0/networks/{NETWORK}", None),
    ("network-update", "ann", "PUT", f"/v2.0/networks/{NETWORK}", {"network": {"description": "of the shop"}}),
    ("network-outdated", "ann", "PUT", f"/v2.0/networks/{NETWORK}", {"network": {"description": "of another"}}),
    ("network-malformed", "ann", "POST", "/v2.0/networks", {"network": {"colour": "red"}}),
    ("network-odd", "ann", "POST", "/v2.0/networks.json", {"network": {"admin_state_up": "maybe"}}),
    ("network-list", "ann", "GET", "/v2.0/networks?limit=1", None),
    ("network-missing", "ann", "GET", "/v2.0/networks/nowhere", None),
    ("network-in-use", "ann", "DELETE", f"/v2.0/networks/{NETWORK}", None),
    ("subnet-show", "ann", "GET", f"/v2.0/subnets/{SUBNET}", None),
    ("subnet-update", "ann", "PUT", f"/v2.0/subnets/{SUBNET}", {"subnet": {"gateway_ip": None}}),
    ("subnet-list", "ann", "GET", "/v2.0/subnets?fields=id&fields=cidr", None),
    ("port-show", "ann", "GET", f"/v2.0/ports/{PORT}", None),
    ("port-show-admin", "root", "GET", f"/v2.0/ports/{PORT}", None),
    ("port-update", "ann", "PUT", f"/v2.0/ports/{PORT}", {"port": {"device_id": "mine"}}),
    ("port-list", "ann", "GET", "/v2.0/ports?device_owner=network:dhcp", None),
    ("security-group-list", "ann", "GET", "/v2.0/security-groups", None),
    ("security-group-create", "ann", "POST", "/v2.0/security-groups", {"security_group": {"name": "web"}}),
    ("security-group-update", "ann", "PUT", f"/v2.0/security-groups/{the(4)}", {"security_group": {"name": "ssh"}}),
    ("security-group-show", "ann", "GET", f"/v2.0/security-groups/{the(4)}", None),
    (
        "rule-create", "ann", "POST", "/v2.0/security-group-rules",
        {"security_group_rule": {"security_group_id": the(4), **RULE}},
    ),
    (
        "rule-exists", "ann", "POST", "/v2.0/security-group-rules",
        {"security_group_rule": {"security_group_id": the(4), **RULE}},
    ),
    ("rule-show", "ann", "GET", f"/v2.0/security-group-rules/{the(6)}", None),
    ("rule-list", "ann", "GET", "/v2.0/security-group-rules?direction=ingress&protocol=tcp", None),
    ("rule-delete", "ann", "DELETE", f"/v2.0/security-group-rules/{the(6)}", None),
    ("security-group-delete", "ann", "DELETE", f"/v2.0/security-groups/{the(4)}", None),
    ("quota-show", "ann", "GET", "/v2.0/quotas/project-of-ann", None),
    ("quota-update", "root", "PUT", "/v2.0/quotas/project-of-ann", {"quota": {"network": 1}}),
    ("quota-list", "root", "GET", "/v2.0/quotas", None),
    ("quota-default", "ann", "GET", "/v2.0/quotas/project-of-ann/default", None),
    ("quota-details", "ann", "GET", "/v2.0/quotas/project-of-ann/details", None),
    ("over-quota", "ann", "POST", "/v2.0/networks", {"network": {}}),
    ("quota-delete", "root", "DELETE", "/v2.0/quotas/project-of-ann", None),
    ("agent-list", "root", "GET", "/v2.0/agents", None),
    ("agent-missing", "root", "GET", "/v2.0/agents/nobody", None),
    ("service-provider-list", "ann", "GET", "/v2.0/service-providers", None),
    ("availability-list", "root", "GET", "/v2.0/network-ip-availabilities?ip_version=4", None),
    ("availability-show", "root", "GET", f"/v2.0/network-ip-availabilities/{NETWORK}", None),
    ("availability-forbidden", "ann", "GET", "/v2.0/network-ip-availabilities", None),
    ("subnet-in-use", "ann", "DELETE", f"/v2.0/subnets/{SUBNET}", None),
    ("subnet-missing", "ann", "GET", "/v2.0/subnets/nowhere", None),
    ("port-missing", "ann", "GET", "/v2.0/ports/nowhere", None),
    ("group-missing", "ann", "GET", "/v2.0/security-groups/nowhere", None),
    ("rule-missing", "ann", "GET", "/v2.0/security-group-rules/nowhere", None),
    ("path-missing", "ann", "GET", "/v2.0/metering-labels", None),
    ("method-missing", "ann", "PATCH", "/v2.0/networks", None),
    (
        "network-create-provider", "root", "POST", "/v2.0/networks",
        {"network": {"name": "v", "provider:network_type": "vxlan", "provider:segmentation_id": "77"}},
    ),
    ("quota-project", "ann", "GET", "/v2.0/quotas/project.json", None),
    ("auto-allocated-missing", "ann", "GET", "/v2.0/auto-allocated-topology/None?fields=dry-run", None),
    ("auto-allocated-delete", "ann", "DELETE", "/v2.0/auto-allocated-topology/None", None),
    ("port-delete", "ann", "DELETE", f"/v2.0/ports/{PORT}", None),
    ("subnet-delete", "ann", "DELETE", f"/v2.0/subnets/{SUBNET}", None),
    ("network-delete", "ann", "DELETE", f"/v2.0/networks/{NETWORK}", None),
]  # fmt: skip


REFUSED = ("missing", "malformed", "odd", "outdated", "in-use", "exists", "over-quota")
"""How the names of those end that are refused: goldens written anew cannot make a refusal of another."""
IF_MATCH = {"network-outdated": "revision_number=0"}


async def test_the_surface_speaks_as_written(network_wire: httpx.AsyncClient) -> None:
    for name, caller, method, path, body in EXCHANGES:
        await says(network_wire, name, caller, method, path, body)


async def test_routers_and_what_is_reached_by_them_are_spoken_of_as_written(
    network_wire: httpx.AsyncClient, cloud: Cloud
) -> None:
    now = cloud.clock.now()
    host = Host(name=routed.HOST, created_at=now, updated_at=now, started_at=now, last_seen=now)
    await cloud.db.write(lambda conn: hosts.put(conn, host))
    known = {agent.kind: agent.id for agent in await network_agents.find(cloud)}
    made = {"l3-agent": known[network_agents.L3], "dhcp-agent": known[network_agents.DHCP]}

    def named(text: str) -> str:
        return re.sub(r"<([\w-]+)>", lambda found: made[found[1]], text)

    for name, caller, (method, path, body) in routed.EXCHANGES:
        reply = await says(network_wire, name, caller, method, named(path), json.loads(named(json.dumps(body))))
        if name.endswith("-create"):
            (noun,) = reply.json().values()
            made[name] = noun["id"]


async def says(client: httpx.AsyncClient, name: str, caller: str, method: str, path: str, body: Any) -> httpx.Response:
    """Make a request, whose reply is to be as written."""
    more = {"if-match": IF_MATCH[name]} if name in IF_MATCH else {}
    reply = await client.request(method, path, json=body, headers={"x-auth-token": caller, **more})
    seen = {
        "request": {"caller": caller, "method": method, "path": path, "body": body, **more},
        "reply": {"status": reply.status_code, "body": reply.json() if reply.content else None},
    }
    assert (reply.status_code >= 400) == name.endswith(REFUSED), (name, reply.text)
    assert reply.headers["x-openstack-request-id"].startswith("req-")
    file = GOLDENS / f"{name}.json"
    if os.environ.get("FLOE_WRITE_GOLDENS"):
        GOLDENS.mkdir(exist_ok=True)
        file.write_text(json.dumps(seen, indent=2) + "\n")
    assert seen == json.loads(file.read_text()), name
    return reply


def test_no_golden_is_left_over() -> None:
    assert {file.stem for file in GOLDENS.glob("*.json")} == {each[0] for each in (*EXCHANGES, *routed.EXCHANGES)}


def test_each_route_of_the_surface_is_recorded() -> None:
    """Of tags, which all nouns have alike, those of one noun are."""
    asked = [json.loads(file.read_text())["request"] for file in GOLDENS.glob("*.json")]
    silent = [
        (route.method, route.path)
        for route in SURFACE.routes
        if "/tags" not in route.path or route.path.startswith("/v2.0/routers/")
        if not any(
            each["method"] == route.method and _fits(route.path, each["path"].partition("?")[0]) for each in asked
        )
    ]
    assert silent == []


def _fits(route: str, path: str) -> bool:
    here, there = route.strip("/").split("/"), path.removesuffix(".json").strip("/").split("/")
    return len(here) == len(there) and all(a == b or a.startswith("{") for a, b in zip(here, there, strict=True))
