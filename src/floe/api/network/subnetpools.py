"""`/v2.0/subnetpools`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.resource import Extension, Fields, Member, Resource, Use, Wire, constant
from floe.api.network.attributes import DESCRIPTION, ID, NAME, OWNER, REVISED, TAGS
from floe.api.network.converters import flag, ident, listed, number, text
from floe.api.network.dialect import NEUTRON
from floe.cloud import subnetpools
from floe.core.errors import Invalid
from floe.core.subnetpools import SubnetPool

_VERSION = 4
_PREFIXES = listed(text(64))


def _length(value: int, name: str) -> int:
    if value < 0:
        raise Invalid(f"Invalid input for {name}: {value} is less than 0.")
    return value


def _maybe(value: Any, name: str) -> int | None:
    return None if value is None else number(value, name)


def _quota(value: int | None, name: str) -> int | None:
    return None if value is None else _length(value, name)


def _scope(value: Any, name: str) -> str | None:
    return None if value is None else ident(value, name)


def _prefixes(_pool_id: str, pool: SubnetPool) -> dict[str, Any]:
    return {"prefixes": list(pool.prefixes)}


_GIVEN: Fields[SubnetPool] = Fields(Wire("prefixes", use=Use.CREATE, check=_PREFIXES, required=True))

SUBNETPOOL: Resource[SubnetPool] = Resource(
    name="subnetpool",
    plural="subnetpools",
    dialect=NEUTRON,
    fields=Fields(
        ID,
        NAME,
        DESCRIPTION,
        *OWNER,
        Wire("prefixes", use=Use.WRITE, check=_PREFIXES, required=True),
        constant("ip_version", _VERSION, Use.LIST, convert=number),
        Wire("default_prefixlen", "default_length", Use.ALL, number, _length),
        Wire("min_prefixlen", "least_length", Use.ALL, number, _length),
        Wire("max_prefixlen", "most_length", Use.ALL, number, _length),
        Wire("default_quota", "quota", Use.ALL, _maybe, _quota),
        Wire("shared", use=Use.CREATE | Use.LIST, convert=flag),
        Wire("is_default", "default", Use.ALL, flag),
        Wire("address_scope_id", "scope_id", Use.ALL, check=_scope),
        TAGS,
        *REVISED,
    ),
    create=subnetpools.create,
    find=subnetpools.find,
    show=subnetpools.show,
    update=subnetpools.update,
    delete=subnetpools.delete,
    retag=subnetpools.retag,
    members=(Member(method="PUT", name="add_prefixes", takes=_GIVEN, act=subnetpools.add, shown=_prefixes),),
    extension=Extension("subnet_allocation", "Subnet Allocation", "Subnets with CIDRs of a pool."),
)
