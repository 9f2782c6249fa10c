"""`/v2.0/address-scopes`."""

from __future__ import annotations

from floe.api.kit.resource import Extension, Fields, Resource, Use, Wire
from floe.api.network.attributes import DESCRIPTION, ID, NAME, OWNER, REVISED, TAGS
from floe.api.network.converters import flag, number
from floe.api.network.dialect import NEUTRON
from floe.api.network.subnets import ip_version
from floe.cloud import address_scopes
from floe.core.address_scopes import AddressScope

ADDRESS_SCOPE: Resource[AddressScope] = Resource(
    name="address_scope",
    plural="address_scopes",
    dialect=NEUTRON,
    fields=Fields(
        ID,
        NAME,
        DESCRIPTION,
        *OWNER,
        Wire("shared", use=Use.ALL, convert=flag),
        Wire("ip_version", use=Use.CREATE | Use.LIST, convert=number, check=ip_version, required=True),
        TAGS,
        *REVISED,
    ),
    create=address_scopes.create,
    find=address_scopes.find,
    show=address_scopes.show,
    update=address_scopes.update,
    delete=address_scopes.delete,
    retag=address_scopes.retag,
    extension=Extension("address-scope", "Address scope", "Subnet pools that routers join without NAT."),
)
