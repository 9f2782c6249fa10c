"""/servers/{server_id}/os-security-groups: what the network API says of a server's ports, in Nova's words."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import project_member, project_reader
from floe.api.kit.routing import Route
from floe.cloud import server_security_groups as cloud
from floe.cloud.server_security_groups import ServerGroups
from floe.core.security_groups import Group, Rule

_ALL = {"IPv4": "0.0.0.0/0", "IPv6": "::/0"}


async def index(call: Call) -> Reply:
    """GET: the groups with the rules that let packets in, which are all that Nova knows of."""
    found = await cloud.of_server(call.cloud, call.context, call.params["server_id"])
    return Reply(200, {"security_groups": [shown_group(found, group) for group in found.groups]})


def shown_group(found: ServerGroups, group: Group) -> dict[str, Any]:
    """Return a group, with the rules that let packets in."""
    return {
        "id": group.id,
        "name": group.name,
        "description": group.description,
        "tenant_id": group.project_id,
        "rules": [shown_rule(found, rule) for rule in group.rules if rule.direction == "ingress"],
    }


def shown_rule(found: ServerGroups, rule: Rule) -> dict[str, Any]:
    """Return a rule that lets packets in."""
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


async def add(call: Call) -> Reply:
    """addSecurityGroup: have the server's ports in one more group."""
    name = _ADD.read(await call.raw(), call.version)["name"]
    await cloud.add(call.cloud, call.context, call.params["server_id"], name)
    return Reply(202)


async def remove(call: Call) -> Reply:
    """removeSecurityGroup: take the server's ports out of a group."""
    name = _REMOVE.read(await call.raw(), call.version)["name"]
    await cloud.remove(call.cloud, call.context, call.params["server_id"], name)
    return Reply(202)


_NAME = (Field("name", Annotated[str, Meta(min_length=1, max_length=255)], required=True),)
_ADD, _REMOVE = Body("addSecurityGroup", _NAME), Body("removeSecurityGroup", _NAME)
_RULE = "os_compute_api:os-security-groups"
_SERVER = "/v2.1/servers/{server_id}"

ROUTES = (
    Route("GET", f"{_SERVER}/os-security-groups", index, f"{_RULE}:list", query=ONCE_OPEN),
    Route("POST", f"{_SERVER}/action", add, f"{_RULE}:add", action="addSecurityGroup"),
    Route("POST", f"{_SERVER}/action", remove, f"{_RULE}:remove", action="removeSecurityGroup"),
)

POLICIES = {f"{_RULE}:list": project_reader, f"{_RULE}:add": project_member, f"{_RULE}:remove": project_member}
