"""`/v2.0/security-groups` and `/v2.0/security-group-rules`."""

from __future__ import annotations

from typing import Any, Literal

from floe.api.kit.body import Body, Description, Field, LooseName
from floe.api.kit.call import Call
from floe.api.kit.shape import Shape, Shown
from floe.api.network.lists import Filters, common, flag, lower, whole
from floe.api.network.nouns import OWNER, SHOWN_OWNER, SHOWN_REVISION, Change, Noun, policies, renamed, routes
from floe.cloud import security_groups
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Invalid
from floe.core.listing import Listing
from floe.core.security_groups import Group, Rule

CREATE = Body(
    "security_group",
    (
        Field("name", LooseName),
        Field("description", Description),
        Field("stateful", bool),
        *OWNER,
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
        *OWNER,
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
        *SHOWN_OWNER,
        Shown("security_group_id", lambda r: r.group_id),
        Shown("direction", lambda r: r.direction),
        Shown("ethertype", lambda r: r.ethertype),
        Shown("protocol", lambda r: r.protocol),
        Shown("port_range_min", lambda r: r.port_min),
        Shown("port_range_max", lambda r: r.port_max),
        Shown("remote_ip_prefix", lambda r: r.remote_cidr),
        Shown("remote_group_id", lambda r: r.remote_group),
        Shown("description", lambda r: r.description),
        *SHOWN_REVISION,
    )
)
SHAPE: Shape[Group] = Shape(
    (
        Shown("id", lambda g: g.id),
        Shown("name", lambda g: g.name),
        Shown("description", lambda g: g.description),
        *SHOWN_OWNER,
        Shown("stateful", lambda _: True),
        Shown("security_group_rules", lambda g: [RULE_SHAPE.show(rule) for rule in g.rules]),
        *SHOWN_REVISION,
    )
)

FILTERS = common()
RULE_FILTERS: Filters = {
    **{name: pair for name, pair in common("direction", "ethertype").items() if name != "name"},
    "security_group_id": ("group_id", str),
    "protocol": ("protocol", lower),
    "port_range_min": ("port_min", whole),
    "port_range_max": ("port_max", whole),
    "remote_ip_prefix": ("remote_cidr", str),
    "remote_group_id": ("remote_group", str),
}


def _read(sent: dict[str, Any], _context: Context) -> dict[str, Any]:
    if not sent.get("stateful", True):
        raise Invalid("Invalid input for stateful: stateless security groups are not supported; it must be true.")
    return renamed(sent, {"name": "name", "description": "description"})


async def _create(cloud: Cloud, context: Context, asked: list[dict[str, Any]]) -> list[Group]:
    return await security_groups.create(cloud, context, [{"name": "", **item} for item in asked])


async def _find(call: Call, listing: Listing) -> list[Group]:
    """Find security groups. All are stateful."""
    if any(not flag(text) for text in call.many("stateful") if text.lower() in {"true", "false"}):
        return []
    return await security_groups.find(call.cloud, call.context, listing)


def _read_rule(sent: dict[str, Any], _context: Context) -> dict[str, Any]:
    """Read a rule. It belongs to its group's project, whatever project is named."""
    return {name: value for name, value in renamed(sent, _RULE_NAMES).items() if name != "project_id"}


async def _find_rules(call: Call, listing: Listing) -> list[Rule]:
    return await security_groups.find_rules(call.cloud, call.context, listing)


GROUP = Noun(
    name="security_group",
    plural="security_groups",
    shape=SHAPE,
    body=CREATE,
    read=_read,
    create=_create,
    filters=FILTERS,
    besides=frozenset({"stateful"}),
    find=_find,
    show=security_groups.show,
    change=Change(body=UPDATE, apply=security_groups.update),
    delete=security_groups.delete,
)
RULE = Noun(
    name="security_group_rule",
    plural="security_group_rules",
    shape=RULE_SHAPE,
    body=CREATE_RULE,
    read=_read_rule,
    create=security_groups.create_rules,
    filters=RULE_FILTERS,
    find=_find_rules,
    show=security_groups.show_rule,
    delete=security_groups.delete_rule,
)
ROUTES = (*routes(GROUP), *routes(RULE))
POLICIES = {**policies(GROUP), **policies(RULE)}
