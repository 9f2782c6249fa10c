"""`/v2.0/networks`."""

from __future__ import annotations

from typing import Any

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
    moment,
    predicates,
    renamed,
    whole,
)
from floe.api.network.rules import writer
from floe.cloud import networks
from floe.core.errors import Invalid
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
CREATE = Body("network", (*_COMMON, Field("project_id", ProjectId), Field("tenant_id", ProjectId)))
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
        Shown("project_id", lambda n: n.project_id),
        Shown("tenant_id", lambda n: n.project_id),
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
        Shown("created_at", lambda n: moment(n.created_at)),
        Shown("updated_at", lambda n: moment(n.updated_at)),
        Shown("revision_number", lambda n: n.revision),
    )
)


def _status(text: str) -> bool:
    return text.upper() == "ACTIVE"


FILTERS: Filters = {
    **common(),
    "admin_state_up": ("up", flag),
    "status": ("up", _status),
    "shared": ("shared", flag),
    "mtu": ("mtu", whole),
    "port_security_enabled": ("port_security", flag),
}
_EXTERNAL = frozenset({"router:external"})


async def create(call: Call) -> Reply:
    """Make one network or several."""
    sent, bulk = await created(call, CREATE, "networks")
    made = await networks.create(call.cloud, call.context, [_read(item) for item in sent])
    return create_reply([_show(call, network) for network in made], "network", "networks", bulk)


async def index(call: Call) -> Reply:
    """List networks. None is external, so asking for external ones finds none."""
    listing = listing_of(call, FILTERS, besides=_EXTERNAL)
    external = [value.lower() for value in call.many("router:external")]
    if external and not any(value in {"false", "0", "no"} for value in external):
        return list_reply(call, "networks", [], listing)
    found = await networks.find(call.cloud, call.context, listing)
    return list_reply(call, "networks", [_show(call, network) for network in found], listing)


async def show(call: Call) -> Reply:
    """Show a network."""
    network = await networks.show(call.cloud, call.context, call.params["network_id"])
    return Reply(body={"network": chosen(call, _show(call, network))})


async def update(call: Call) -> Reply:
    """Change a network."""
    asked = _read(UPDATE.read(await call.raw()))
    network = await networks.update(call.cloud, call.context, call.params["network_id"], asked)
    return Reply(body={"network": _show(call, network)})


async def delete(call: Call) -> Reply:
    """Remove a network."""
    await networks.delete(call.cloud, call.context, call.params["network_id"])
    return Reply(204)


def _show(call: Call, network: Network) -> dict[str, Any]:
    return SHAPE.show(network, holds=predicates(call.context))


def _read(sent: dict[str, Any]) -> dict[str, Any]:
    if sent.get("router:external"):
        raise Invalid("Invalid input for router:external: external networks are not supported; it must be false.")
    asked = renamed(sent, _NAMES)
    if isinstance(asked.get("mtu"), str):
        try:
            asked["mtu"] = int(asked["mtu"])
        except ValueError:
            raise Invalid(f"Invalid input for mtu: {asked['mtu']!r} is not a whole number.") from None
    return asked


_ONE = "/v2.0/networks/{network_id}"
ROUTES = (
    Route("GET", "/v2.0/networks", index, "get_network"),
    Route("POST", "/v2.0/networks", create, "create_network"),
    Route("GET", _ONE, show, "get_network"),
    Route("PUT", _ONE, update, "update_network"),
    Route("DELETE", _ONE, delete, "delete_network"),
)
POLICIES: policy.Policies = {
    "get_network": policy.project_reader,
    "create_network": writer,
    "update_network": writer,
    "delete_network": writer,
}
