"""/servers/{server_id}/os-security-groups: what the network API says of a server's ports, in Nova's words."""

from __future__ import annotations

from typing import Any

from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import project_reader
from floe.api.kit.query import OPEN_QUERY
from floe.api.kit.routing import Route
from floe.cloud import server_security_groups as cloud
from floe.cloud.server_security_groups import ServerGroups
from floe.core.security_groups import Group, Rule

_ALL = {"IPv4": "0.0.0.0/0", "IPv6": "::/0"}


async def index(call: Call) -> Reply:
    """GET: the groups with the rules that let packets in, which are all that Nova knows of."""
    found = await cloud.of_server(call.cloud, call.context, call.params["server_id"])
    return Reply(200, {"security_groups": [_group(found, group) for group in found.groups]})


def _group(found: ServerGroups, group: Group) -> dict[str, Any]:
    return {
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "rules": [_rule(found, rule) for rule in group.rules if rule.direction == "ingress"],
    }


def _rule(found: ServerGroups, rule: Rule) -> dict[str, Any]:
    first, last = rule.port_min, rule.port_max
    if rule.protocol and first is None and last is None:
        first, last = (1, 65535) if rule.protocol.lower() in {"tcp", "udp"} else (-1, -1)
    source: dict[str, Any] = {"group": {}, "ip_range": {"cidr": rule.remote_cidr or _ALL[rule.ethertype]}}
    if rule.remote_address_group:
        source["ip_range"] = {}  # Nova has no word for it; it is not everybody
    if rule.remote_group:
        project_id, name = found.referred[rule.remote_group]
        source = {"group": {"name": name, "tenant_id": project_id}, "ip_range": {}}
    return {
        "id": rule.id,
        "parent_group_id": rule.group_id,
        "ip_protocol": rule.protocol,
        "from_port": first,
        "to_port": last,
        **source,
    }


_RULE = "os_compute_api:os-security-groups:list"

ROUTES = (Route("GET", "/v2.1/servers/{server_id}/os-security-groups", index, _RULE, query=OPEN_QUERY),)

POLICIES = {_RULE: project_reader}
