"""`/v2.0/networks`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.call import Call
from floe.api.network.attributes import DESCRIPTION, ID, NAME, OWNER, REVISED, Attribute, Attributes, Use, fixed
from floe.api.network.converters import flag, number, text
from floe.api.network.nouns import Noun, policies, routes
from floe.cloud import networks
from floe.core.context import Context
from floe.core.errors import Invalid
from floe.core.listing import Listing
from floe.core.networks import OVERLAY, Network


def _size(value: int, name: str) -> int:
    if value < 0:
        raise Invalid(f"Invalid input for {name}: {value} is less than 0.")
    return value


def _up(value: str, _name: str) -> bool:
    return value.upper() == "ACTIVE"


def _inner(value: bool, name: str) -> bool:
    if value:
        raise Invalid(f"Invalid input for {name}: external networks are not supported; it must be false.")
    return value


ATTRIBUTES: Attributes[Network] = Attributes(
    ID,
    NAME,
    DESCRIPTION,
    *OWNER,
    Attribute("admin_state_up", "up", lambda n: n.up, Use.ALL, flag),
    Attribute("status", "up", lambda n: "ACTIVE" if n.up else "DOWN", Use.LIST, filtered=_up),
    Attribute("subnets", shown=lambda n: n.subnet_ids),
    Attribute("shared", "shared", lambda n: n.shared, Use.WRITE | Use.FILTER, flag),
    Attribute("mtu", "mtu", lambda n: n.mtu, Use.ALL, number, _size),
    Attribute("port_security_enabled", "port_security", lambda n: n.port_security, Use.WRITE | Use.FILTER, flag),
    fixed("router:external", False, Use.WRITE | Use.FILTER, convert=flag, check=_inner),
    Attribute(
        "provider:network_type", "kind", lambda _: OVERLAY, Use.WRITE | Use.FILTER,
        check=text(32), only="admin", constant=OVERLAY,
    ),
    Attribute(
        "provider:physical_network", "physical", lambda _: None, Use.WRITE | Use.FILTER,
        check=text(64), only="admin", constant="",
    ),
    Attribute("provider:segmentation_id", "tag", lambda n: n.tag, Use.WRITE | Use.FILTER, number, only="admin"),
    *REVISED,
)  # fmt: skip


async def _find(call: Call, context: Context, listing: Listing) -> list[Network]:
    return await networks.find(call.cloud, context, listing)


NETWORK: Noun[Any] = Noun(
    name="network",
    plural="networks",
    attributes=ATTRIBUTES,
    create=networks.create,
    find=_find,
    show=networks.show,
    update=networks.update,
    delete=networks.delete,
)
ROUTES = routes(NETWORK)
POLICIES = policies(NETWORK)
