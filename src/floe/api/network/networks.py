"""`/v2.0/networks`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.body import Body, Description, Field, LooseName
from floe.api.kit.call import Call
from floe.api.kit.shape import Shape, Shown
from floe.api.kit.values import whole
from floe.api.network.lists import Filters, common, flag
from floe.api.network.lists import whole as whole_text
from floe.api.network.nouns import OWNER, SHOWN_OWNER, SHOWN_REVISION, Change, Noun, policies, renamed, routes
from floe.cloud import networks
from floe.core.context import Context
from floe.core.errors import Invalid
from floe.core.listing import Listing
from floe.core.networks import Network

_COMMON = (
    Field("name", LooseName),
    Field("description", Description),
    Field("admin_state_up", bool),
    Field("shared", bool),
    Field("mtu", int | str),
    Field("port_security_enabled", bool),
    Field("router:external", bool),
)
CREATE = Body("network", (*_COMMON, *OWNER))
UPDATE = Body("network", _COMMON)
_NAMES = {
    "name": "name",
    "description": "description",
    "admin_state_up": "up",
    "shared": "shared",
    "mtu": "mtu",
    "port_security_enabled": "port_security",
}

SHAPE: Shape[Network] = Shape(
    (
        Shown("id", lambda n: n.id),
        Shown("name", lambda n: n.name),
        Shown("description", lambda n: n.description),
        *SHOWN_OWNER,
        Shown("admin_state_up", lambda n: n.up),
        Shown("status", lambda n: "ACTIVE" if n.up else "DOWN"),
        Shown("subnets", lambda n: n.subnet_ids),
        Shown("shared", lambda n: n.shared),
        Shown("mtu", lambda n: n.mtu),
        Shown("port_security_enabled", lambda n: n.port_security),
        Shown("router:external", lambda _: False),
        Shown("provider:network_type", lambda _: "vxlan", only="admin"),
        Shown("provider:physical_network", lambda _: None, only="admin"),
        Shown("provider:segmentation_id", lambda n: n.tag, only="admin"),
        *SHOWN_REVISION,
    )
)


def _status(text: str) -> bool:
    return text.upper() == "ACTIVE"


FILTERS: Filters = {
    **common(),
    "admin_state_up": ("up", flag),
    "status": ("up", _status),
    "shared": ("shared", flag),
    "mtu": ("mtu", whole_text),
    "port_security_enabled": ("port_security", flag),
}


def _read(sent: dict[str, Any], _context: Context) -> dict[str, Any]:
    if sent.get("router:external"):
        raise Invalid("Invalid input for router:external: external networks are not supported; it must be false.")
    asked = renamed(sent, _NAMES)
    if "mtu" in asked:
        asked["mtu"] = whole(asked["mtu"], "mtu")
    return asked


async def _find(call: Call, listing: Listing) -> list[Network]:
    """Find networks. None is external, so asking for external ones finds none."""
    external = [value.lower() for value in call.many("router:external")]
    if external and not any(value in {"false", "0", "no"} for value in external):
        return []
    return await networks.find(call.cloud, call.context, listing)


NETWORK = Noun(
    name="network",
    plural="networks",
    shape=SHAPE,
    body=CREATE,
    read=_read,
    create=networks.create,
    filters=FILTERS,
    besides=frozenset({"router:external"}),
    find=_find,
    show=networks.show,
    change=Change(body=UPDATE, apply=networks.update),
    delete=networks.delete,
)
ROUTES = routes(NETWORK)
POLICIES = policies(NETWORK)
