"""`/v2.0/address-groups`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.resource import Extension, Fields, Member, Resource, Use, Wire
from floe.api.network.attributes import ID, NAME, OWNER, REVISED, TAGS
from floe.api.network.converters import listed, text
from floe.api.network.dialect import NEUTRON
from floe.cloud import address_groups
from floe.core.address_groups import AddressGroup, cidr_of


def _cidr(value: Any, name: str) -> str:
    return cidr_of(text(64)(value, name))


_ADDRESSES = listed(_cidr)
_GIVEN: Fields[AddressGroup] = Fields(Wire("addresses", use=Use.CREATE, check=_ADDRESSES, required=True))

ADDRESS_GROUP: Resource[AddressGroup] = Resource(
    name="address_group",
    plural="address_groups",
    dialect=NEUTRON,
    fields=Fields(
        ID,
        NAME,
        Wire("description", use=Use.ALL, check=text(255)),
        *OWNER,
        Wire("addresses", use=Use.CREATE, check=_ADDRESSES),
        TAGS,
        *REVISED,
    ),
    create=address_groups.create,
    find=address_groups.find,
    show=address_groups.show,
    update=address_groups.update,
    delete=address_groups.delete,
    retag=address_groups.retag,
    members=(
        Member(method="PUT", name="add_addresses", takes=_GIVEN, act=address_groups.add),
        Member(method="PUT", name="remove_addresses", takes=_GIVEN, act=address_groups.remove),
    ),
    extension=Extension("address-group", "Address group", "Sets of addresses that rules of security groups may name."),
)
