"""`/v2.0/security-groups` and `/v2.0/security-group-rules`."""

from __future__ import annotations

from typing import Any, Literal

from floe.api.kit import policy
from floe.api.kit.body import Body, Description, Field, LooseName
from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.api.network.lists import (
    Filters,
    ProjectId,
    chosen,
    common,
    create_reply,
    created,
    flag,
    list_reply,
    listing_of,
    lower,
    moment,
    renamed,
    whole,
)
from floe.api.network.rules import writer
from floe.cloud import security_groups
from floe.core.errors import Invalid
from floe.core.security_groups import Group, Rule

CREATE = Body(
    "security_group",
    (
        Field("name", LooseName),
        Field("description", Description),
        Field("stateful", bool),
        Field("project_id", ProjectId),
        Field("tenant_id", ProjectId),
    ),
)
UPDATE = Body("security_group", (Field("name", LooseName), Field("description", Description), Field("stateful", bool)))
CREATE_RULE = Body(
    "security_group_rule",
    (
        Field("security_group_id", str, required=True),
        Field("direction", Literal["ingress", "egress"], required=True),
        Field("ethertype", Literal["IPv4", "IPv6"] | None),
        Field("protocol", str | int | None),
        Field("port_range_min", int | None),
        Field("port_range_max", int | None),
        Field("remote_ip_prefix", str | None),
        Field("remote_group_id", str | None),
        Field("remote_address_group_id", None),
        Field("description", Description | None),
        Field("project_id", ProjectId),
        Field("tenant_id", ProjectId),
    ),
)
_RULE_NAMES = {
    "security_group_id": "group_id",
    "direction": "direction",
    "ethertype": "ethertype",
    "protocol": "protocol",
    "port_range_min": "port_min",
    "port_range_max": "port_max",
    "remote_ip_prefix": "remote_cidr",
    "remote_group_id": "remote_group",
    "description": "description",
}

RULE_SHAPE: Shape[Rule] = Shape(
    (
        Shown("id", lambda r: r.id),
        Shown("project_id", lambda r: r.project_id),
        Shown("tenant_id", lambda r: r.project_id),
        Shown("security_group_id", lambda r: r.group_id),
        Shown("direction", lambda r: r.direction),
        Shown("ethertype", lambda r: r.ethertype),
        Shown("protocol", lambda r: r.protocol),
        Shown("port_range_min", lambda r: r.port_min),
        Shown("port_range_max", lambda r: r.port_max),
        Shown("remote_ip_prefix", lambda r: r.remote_cidr),
        Shown("remote_group_id", lambda r: r.remote_group),
        Shown("description", lambda r: r.description),
        Shown("created_at", lambda r: moment(r.created_at)),
        Shown("updated_at", lambda r: moment(r.updated_at)),
        Shown("revision_number", lambda r: r.revision),
    )
)
SHAPE: Shape[Group] = Shape(
    (
        Shown("id", lambda g: g.id),
        Shown("name", lambda g: g.name),
        Shown("description", lambda g: g.description),
        Shown("project_id", lambda g: g.project_id),
        Shown("tenant_id", lambda g: g.project_id),
        Shown("stateful", lambda _: True),
        Shown("security_group_rules", lambda g: [RULE_SHAPE.show(rule) for rule in g.rules]),
        Shown("created_at", lambda g: moment(g.created_at)),
        Shown("updated_at", lambda g: moment(g.updated_at)),
        Shown("revision_number", lambda g: g.revision),
    )
)

FILTERS = common()
_STATEFUL = frozenset({"stateful"})
RULE_FILTERS: Filters = {
    **{name: pair for name, pair in common("direction", "ethertype").items() if name != "name"},
    "security_group_id": ("group_id", str),
    "protocol": ("protocol", lower),
    "port_range_min": ("port_min", whole),
    "port_range_max": ("port_max", whole),
    "remote_ip_prefix": ("remote_cidr", str),
    "remote_group_id": ("remote_group", str),
}


async def create(call: Call) -> Reply:
    """Make one security group or several."""
    sent, bulk = await created(call, CREATE, "security_groups")
    made = await security_groups.create(call.cloud, call.context, [{"name": "", **_read(item)} for item in sent])
    return create_reply([SHAPE.show(group) for group in made], "security_group", "security_groups", bulk)


async def index(call: Call) -> Reply:
    """List security groups. All are stateful."""
    listing = listing_of(call, FILTERS, besides=_STATEFUL)
    if any(not flag(text) for text in call.many("stateful") if text.lower() in {"true", "false"}):
        return list_reply(call, "security_groups", [], listing)
    found = await security_groups.find(call.cloud, call.context, listing)
    return list_reply(call, "security_groups", [SHAPE.show(group) for group in found], listing)


async def show(call: Call) -> Reply:
    """Show a security group with its rules."""
    group = await security_groups.show(call.cloud, call.context, call.params["group_id"])
    return Reply(body={"security_group": chosen(call, SHAPE.show(group))})


async def update(call: Call) -> Reply:
    """Change a security group's name or description."""
    asked = _read(UPDATE.read(await call.raw()))
    group = await security_groups.update(call.cloud, call.context, call.params["group_id"], asked)
    return Reply(body={"security_group": SHAPE.show(group)})


async def delete(call: Call) -> Reply:
    """Remove a security group."""
    await security_groups.delete(call.cloud, call.context, call.params["group_id"])
    return Reply(204)


async def create_rule(call: Call) -> Reply:
    """Make one rule or several. A rule belongs to its group's project, whatever project is named."""
    sent, bulk = await created(call, CREATE_RULE, "security_group_rules")
    asked = [{key: value for key, value in renamed(item, _RULE_NAMES).items() if key != "project_id"} for item in sent]
    made = await security_groups.create_rules(call.cloud, call.context, asked)
    shown = [RULE_SHAPE.show(rule) for rule in made]
    return create_reply(shown, "security_group_rule", "security_group_rules", bulk)


async def index_rules(call: Call) -> Reply:
    """List rules."""
    listing = listing_of(call, RULE_FILTERS)
    found = await security_groups.find_rules(call.cloud, call.context, listing)
    return list_reply(call, "security_group_rules", [RULE_SHAPE.show(rule) for rule in found], listing)


async def show_rule(call: Call) -> Reply:
    """Show a rule."""
    rule = await security_groups.show_rule(call.cloud, call.context, call.params["rule_id"])
    return Reply(body={"security_group_rule": chosen(call, RULE_SHAPE.show(rule))})


async def delete_rule(call: Call) -> Reply:
    """Remove a rule."""
    await security_groups.delete_rule(call.cloud, call.context, call.params["rule_id"])
    return Reply(204)


def _read(sent: dict[str, Any]) -> dict[str, Any]:
    if not sent.get("stateful", True):
        raise Invalid("Invalid input for stateful: stateless security groups are not supported; it must be true.")
    return renamed(sent, {"name": "name", "description": "description"})


_GROUPS, _RULES = "/v2.0/security-groups", "/v2.0/security-group-rules"
ROUTES = (
    Route("GET", _GROUPS, index, "get_security_group"),
    Route("POST", _GROUPS, create, "create_security_group"),
    Route("GET", _GROUPS + "/{group_id}", show, "get_security_group"),
    Route("PUT", _GROUPS + "/{group_id}", update, "update_security_group"),
    Route("DELETE", _GROUPS + "/{group_id}", delete, "delete_security_group"),
    Route("GET", _RULES, index_rules, "get_security_group_rule"),
    Route("POST", _RULES, create_rule, "create_security_group_rule"),
    Route("GET", _RULES + "/{rule_id}", show_rule, "get_security_group_rule"),
    Route("DELETE", _RULES + "/{rule_id}", delete_rule, "delete_security_group_rule"),
)
POLICIES: policy.Policies = {
    "get_security_group": policy.project_reader,
    "create_security_group": writer,
    "update_security_group": writer,
    "delete_security_group": writer,
    "get_security_group_rule": policy.project_reader,
    "create_security_group_rule": writer,
    "delete_security_group_rule": writer,
}
