"""`/v2.0/security-groups` and `/v2.0/security-group-rules`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.resource import Fields, Resource, Use, Values, Wire, constant
from floe.api.network.attributes import DESCRIPTION, ID, OWNER, REVISED, TAGS
from floe.api.network.converters import ethertype, flag, malformed, one_of, port_number, text
from floe.api.network.dialect import NEUTRON
from floe.cloud import security_groups
from floe.cloud.cloud import Cloud
from floe.core.addresses import prefix_of
from floe.core.context import Context
from floe.core.errors import Invalid
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


async def _create(cloud: Cloud, context: Context, asked: list[Values]) -> list[Group]:
    return await security_groups.create(cloud, context, [{"name": "", **item} for item in asked])


async def _create_rules(cloud: Cloud, context: Context, asked: list[Values]) -> list[Rule]:
    """Make rules. Each belongs to its group's project, whatever project is named."""
    rules = [{name: value for name, value in item.items() if name != "project_id"} for item in asked]
    return await security_groups.create_rules(cloud, context, rules)


RULE: Resource[Rule] = Resource(
    name="security_group_rule",
    plural="security_group_rules",
    dialect=NEUTRON,
    fields=Fields(
        ID,
        DESCRIPTION,
        *OWNER,
        Wire("security_group_id", "group_id", _MADE, check=text(36), required=True),
        Wire("direction", use=_MADE, check=one_of("ingress", "egress"), required=True),
        Wire("ethertype", use=_MADE, convert=ethertype),
        Wire("protocol", use=_MADE, convert=_protocol),
        Wire("port_range_min", "port_min", _MADE, port_number),
        Wire("port_range_max", "port_max", _MADE, port_number),
        Wire("remote_ip_prefix", "remote_cidr", _MADE, _prefix),
        Wire("remote_group_id", "remote_group", _MADE, check=_remote),
        Wire("remote_address_group_id", "remote_address_group", _MADE, check=_remote),
        TAGS,
        *REVISED,
    ),
    create=_create_rules,
    find=security_groups.find_rules,
    show=security_groups.show_rule,
    delete=security_groups.delete_rule,
    retag=security_groups.retag_rule,
)
GROUP: Resource[Group] = Resource(
    name="security_group",
    plural="security_groups",
    dialect=NEUTRON,
    fields=Fields(
        ID,
        Wire("name", use=Use.ALL, check=text(255)),  # alone of all names, that of a group may be any text
        DESCRIPTION,
        *OWNER,
        constant("stateful", True, Use.WRITE | Use.FILTER, convert=flag, check=_stateful),
        Wire("security_group_rules", shown=lambda g: list(map(RULE.fields.shape.at(), g.rules))),
        TAGS,
        *REVISED,
    ),
    create=_create,
    find=security_groups.find,
    show=security_groups.show,
    update=security_groups.update,
    delete=security_groups.delete,
    retag=security_groups.retag,
)
