"""/os-security-groups and /os-security-group-rules: the groups of a project, with the rules that let packets in."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Annotated, Any

from msgspec import Meta

from floe.api.compute.fields import is_true, printable
from floe.api.compute.proxies.window import UNTIL, refusals
from floe.api.compute.server_security_groups import shown_group, shown_rule
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import MAX_LIMIT
from floe.api.kit.policy import project_member, project_reader
from floe.api.kit.query import OPEN_QUERY, Param, Query, counted
from floe.api.kit.routing import Route
from floe.api.kit.values import whole
from floe.cloud import security_groups as cloud
from floe.cloud import server_security_groups as seen
from floe.core.errors import Invalid
from floe.core.ids import is_uuid

_TEXT = Annotated[str, Meta(max_length=255)]
_NAMED = (Field("name", _TEXT, required=True), Field("description", _TEXT | None))
_GROUP = Body("security_group", _NAMED)
_NUMBER = int | Annotated[str, Meta(max_length=11)] | None
_RULE_BODY = Body(
    "security_group_rule",
    (
        Field("parent_group_id", _TEXT, required=True),
        Field("ip_protocol", Annotated[str, Meta(max_length=40)] | None),
        Field("from_port", _NUMBER),
        Field("to_port", _NUMBER),
        Field("cidr", Annotated[str, Meta(max_length=64)] | None),
        Field("group_id", _TEXT | None),
    ),
)
_ALL = {4: "0.0.0.0/0", 6: "::/0"}


async def index(call: Call) -> Reply:
    """GET: those of the project, or with `all_tenants` for administrators, of all."""
    every = call.context.is_admin and is_true(call.one("all_tenants") or "")
    limit = whole(call.one("limit") or MAX_LIMIT, "limit", high=MAX_LIMIT, cut=True)
    offset = whole(call.one("offset") or 0, "offset", cut=True)
    found = await seen.of_project(call.cloud, call.context, limit=limit, offset=offset, every=every)
    return Reply(200, {"security_groups": (shown_group(found, group) for group in found.groups)})


async def show(call: Call) -> Reply:
    """GET {group_id}."""
    found = await seen.show(call.cloud, call.context, _ident(call.params["group_id"], "Security group id"))
    return Reply(200, {"security_group": shown_group(found, found.groups[0])})


async def create(call: Call) -> Reply:
    """POST."""
    asked = await _asked(call)
    with refusals():
        (made,) = await cloud.create(call.cloud, call.context, [asked])
    found = await seen.show(call.cloud, call.context, made.id)
    return Reply(200, {"security_group": shown_group(found, found.groups[0])})


async def update(call: Call) -> Reply:
    """PUT {group_id}: another name and description."""
    ident, asked = _ident(call.params["group_id"], "Security group id"), await _asked(call)
    with refusals():
        await cloud.update(call.cloud, call.context, ident, asked)
    found = await seen.show(call.cloud, call.context, ident)
    return Reply(200, {"security_group": shown_group(found, found.groups[0])})


async def delete(call: Call) -> Reply:
    """DELETE {group_id}."""
    ident = _ident(call.params["group_id"], "Security group id")
    with refusals():
        await cloud.delete(call.cloud, call.context, ident)
    return Reply(202)


async def create_rule(call: Call) -> Reply:
    """POST os-security-group-rules: let packets in, from a CIDR or from the members of a group."""
    asked = _RULE_BODY.read(await call.raw(), call.version)
    group_id = _ident(asked["parent_group_id"], "Security group id")
    rule = {"group_id": group_id, "direction": "ingress", **_source(asked), **_ports(asked)}
    with refusals():
        (made,) = await cloud.create_rules(call.cloud, call.context, [rule])
    found = await seen.show(call.cloud, call.context, group_id)
    return Reply(200, {"security_group_rule": shown_rule(found, made)})


async def delete_rule(call: Call) -> Reply:
    """DELETE os-security-group-rules/{rule_id}."""
    ident = _ident(call.params["rule_id"], "Rule id")
    with refusals():
        await cloud.delete_rule(call.cloud, call.context, ident)
    return Reply(202)


async def _asked(call: Call) -> dict[str, Any]:
    asked = _GROUP.read(await call.raw(), call.version)
    name = printable(asked["name"], "security_group.name")
    if not name.strip():
        raise Invalid("Security group name cannot be empty.")
    return {"name": name, "description": printable(asked.get("description") or "", "security_group.description")}


def _ident(text: str, what: str) -> str:
    if not is_uuid(text):
        raise Invalid(f"{what} should be uuid (it is {text[:80]!r}).")
    return text


def _source(asked: dict[str, Any]) -> dict[str, Any]:
    """Return from where packets are let in."""
    if asked.get("group_id") is not None:
        return {"remote_group": _ident(asked["group_id"], "Security group id")}
    text = asked.get("cidr") or _ALL[4]
    try:
        network = ip_network(text, strict=False)
    except ValueError:
        raise Invalid(f"{text} is not a valid IP network.") from None
    if network.prefixlen == 0 and text.partition("/")[0] != str(network.network_address):
        raise Invalid(f"Bad prefix for network in cidr {text}: a length of 0 is for all addresses, {_ALL[4]}.")
    return {"remote_cidr": text, "ethertype": f"IPv{network.version}"}


def _ports(asked: dict[str, Any]) -> dict[str, Any]:
    """Return which packets are let in. From a CIDR, protocol and ports have to be said; from a group, all is meant."""
    protocol, low, high = (asked.get(name) for name in ("ip_protocol", "from_port", "to_port"))
    icmp = (protocol or "").lower() == "icmp"
    if asked.get("group_id") is not None and protocol and low is None and high is None:
        low, high = (-1, -1) if icmp else (1, 65535)
    if not protocol or low is None or high is None:
        if asked.get("group_id") is None:
            raise Invalid(
                "Not enough parameters to build a valid rule: with a cidr it needs ip_protocol, from_port and to_port."
            )
        return {}
    if protocol.lower() not in {"tcp", "udp", "icmp"}:
        raise Invalid(f"Invalid IP protocol {protocol}: it is one of tcp, udp and icmp.")
    low, high = whole(low, "from_port", -(2**31)), whole(high, "to_port", -(2**31))
    if icmp and not (-1 <= low <= 255 and -1 <= high <= 255):
        raise Invalid(f"Invalid port range {low}:{high}. For ICMP, the type:code must be valid, from -1 to 255.")
    if not icmp and not 1 <= low <= high <= 65535:
        raise Invalid(
            f"Invalid port range {low}:{high}. Valid {protocol.upper()} ports should be between 1-65535, and the former"
            " cannot be greater than the latter."
        )
    wanted = {"port_min": low, "port_max": high} if not icmp else _icmp(low, high)
    return {"protocol": protocol.lower(), **wanted}


def _icmp(kind: int, code: int) -> dict[str, int]:
    """Return type and code as the network API has them, where any is none."""
    return {name: value for name, value in (("port_min", kind), ("port_max", code)) if value >= 0}


_GROUPS, _RULES = "/v2.1/os-security-groups", "/v2.1/os-security-group-rules"
_ONE = _GROUPS + "/{group_id}"
_RULE = "os_compute_api:os-security-groups"
_QUERY = Query(
    Param("limit", many=True, check=counted),
    Param("offset", many=True, check=counted),
    Param("all_tenants", many=True),
    closed=None,
)

ROUTES = (
    Route("GET", _GROUPS, index, f"{_RULE}:get", until=UNTIL, query=_QUERY),
    Route("POST", _GROUPS, create, f"{_RULE}:create", until=UNTIL),
    Route("GET", _ONE, show, f"{_RULE}:show", until=UNTIL, query=OPEN_QUERY),
    Route("PUT", _ONE, update, f"{_RULE}:update", until=UNTIL),
    Route("DELETE", _ONE, delete, f"{_RULE}:delete", until=UNTIL),
    Route("POST", _RULES, create_rule, f"{_RULE}:rule:create", until=UNTIL),
    Route("DELETE", _RULES + "/{rule_id}", delete_rule, f"{_RULE}:rule:delete", until=UNTIL),
)

POLICIES = {
    f"{_RULE}:get": project_reader,
    f"{_RULE}:show": project_reader,
    f"{_RULE}:create": project_member,
    f"{_RULE}:update": project_member,
    f"{_RULE}:delete": project_member,
    f"{_RULE}:rule:create": project_member,
    f"{_RULE}:rule:delete": project_member,
}
