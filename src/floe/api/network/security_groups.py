"""`/v2.0/security-groups` and `/v2.0/security-group-rules`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.call import Call
from floe.api.network.attributes import DESCRIPTION, ID, NAME, OWNER, REVISED, Attribute, Attributes, Use, fixed
from floe.api.network.converters import ethertype, flag, malformed, one_of, port_number, text
from floe.api.network.nouns import Noun, policies, routes
from floe.cloud import security_groups
from floe.cloud.cloud import Cloud
from floe.core.addresses import prefix_of
from floe.core.context import Context
from floe.core.errors import Invalid
from floe.core.listing import Listing
from floe.core.security_groups import Group, Rule, protocol_of

_MADE = Use.CREATE | Use.LIST


def _stateful(value: bool, name: str) -> bool:
    if not value:
        raise Invalid(f"Invalid input for {name}: stateless security groups are not supported; it must be true.")
    return value


def _protocol(value: Any, name: str) -> str | None:
    if value is not None and not isinstance(value, str | int):
        raise malformed(f"Invalid input for {name}: it is neither a name nor a number.")
    return protocol_of(int(value) if isinstance(value, bool) else value)


def _prefix(value: Any, name: str) -> str | None:
    if not value:
        return None
    if not isinstance(value, str):
        raise malformed(f"Invalid input for {name}: it is no text.")
    return prefix_of(value, name)[0]


def _remote(value: Any, name: str) -> str | None:
    return text(255)(value, name) if value else None


def _no_address_group(value: Any, name: str) -> None:
    if value is not None:
        raise Invalid(f"Invalid input for {name}: address groups are not supported; leave it out, or null.")


RULE_ATTRIBUTES: Attributes[Rule] = Attributes(
    ID,
    DESCRIPTION,
    *OWNER,
    Attribute("security_group_id", "group_id", lambda r: r.group_id, _MADE, check=text(36), required=True),
    Attribute("direction", "direction", lambda r: r.direction, _MADE, check=one_of("ingress", "egress"), required=True),
    Attribute("ethertype", "ethertype", lambda r: r.ethertype, _MADE, ethertype),
    Attribute("protocol", "protocol", lambda r: r.protocol, _MADE, _protocol),
    Attribute("port_range_min", "port_min", lambda r: r.port_min, _MADE, port_number),
    Attribute("port_range_max", "port_max", lambda r: r.port_max, _MADE, port_number),
    Attribute("remote_ip_prefix", "remote_cidr", lambda r: r.remote_cidr, _MADE, _prefix),
    Attribute("remote_group_id", "remote_group", lambda r: r.remote_group, _MADE, check=_remote),
    Attribute("remote_address_group_id", use=Use.CREATE, check=_no_address_group),
    *REVISED,
)
ATTRIBUTES: Attributes[Group] = Attributes(
    ID,
    # Alone of all names, that of a group may be any text.
    Attribute("name", "name", NAME.shown, Use.ALL, check=text(255)),
    DESCRIPTION,
    *OWNER,
    fixed("stateful", True, Use.WRITE | Use.FILTER, convert=flag, check=_stateful),
    Attribute("security_group_rules", shown=lambda g: [RULE_ATTRIBUTES.shape.show(rule) for rule in g.rules]),
    *REVISED,
)


async def _create(cloud: Cloud, context: Context, asked: list[dict[str, Any]]) -> list[Group]:
    return await security_groups.create(cloud, context, [{"name": "", **item} for item in asked])


async def _find(call: Call, context: Context, listing: Listing) -> list[Group]:
    return await security_groups.find(call.cloud, context, listing)


async def _create_rules(cloud: Cloud, context: Context, asked: list[dict[str, Any]]) -> list[Rule]:
    """Make rules. Each belongs to its group's project, whatever project is named."""
    rules = [{name: value for name, value in item.items() if name != "project_id"} for item in asked]
    return await security_groups.create_rules(cloud, context, rules)


async def _find_rules(call: Call, context: Context, listing: Listing) -> list[Rule]:
    return await security_groups.find_rules(call.cloud, context, listing)


GROUP: Noun[Any] = Noun(
    name="security_group",
    plural="security_groups",
    attributes=ATTRIBUTES,
    create=_create,
    find=_find,
    show=security_groups.show,
    update=security_groups.update,
    delete=security_groups.delete,
)
RULE: Noun[Any] = Noun(
    name="security_group_rule",
    plural="security_group_rules",
    attributes=RULE_ATTRIBUTES,
    create=_create_rules,
    find=_find_rules,
    show=security_groups.show_rule,
    delete=security_groups.delete_rule,
)
ROUTES = (*routes(GROUP), *routes(RULE))
POLICIES = {**policies(GROUP), **policies(RULE)}
