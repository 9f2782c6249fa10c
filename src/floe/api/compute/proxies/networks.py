"""/os-networks and /os-tenant-networks: which networks there are, and what they are called."""

from __future__ import annotations

from typing import Any

from floe.api.compute.proxies.window import UNTIL, removed
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import authenticated, project_reader
from floe.api.kit.query import OPEN_QUERY
from floe.api.kit.routing import Route
from floe.cloud import networks
from floe.core.errors import NotFound
from floe.core.listing import Listing
from floe.core.networks import Network

_EMPTY = (
    *("cidr", "netmask", "gateway", "broadcast", "dns1", "dns2"),
    *("cidr_v6", "gateway_v6", "netmask_v6"),
)
_EMPTY_FOR_ADMIN = (
    *("created_at", "updated_at", "deleted_at", "deleted", "injected", "bridge", "vlan", "vpn_public_address"),
    *("vpn_public_port", "vpn_private_address", "dhcp_start", "project_id", "host", "bridge_interface", "multi_host"),
    *("priority", "rxtx_base", "mtu", "dhcp_server", "enable_dhcp", "share_address"),
)
"""What Nova says nothing of, of a network that is another API's."""


async def index(call: Call) -> Reply:
    """GET: those that the caller sees."""
    found = await networks.find(call.cloud, call.context, Listing())
    return Reply(200, {"networks": (_shown(call, network) for network in found)})


async def show(call: Call) -> Reply:
    """GET {network_id}."""
    return Reply(200, {"network": _shown(call, await _network(call))})


async def change(_call: Call) -> Reply:
    """POST, DELETE and action: what made and removed networks of the compute service's own."""
    raise removed("This call")


async def tenant_index(call: Call) -> Reply:
    """GET os-tenant-networks."""
    found = await networks.find(call.cloud, call.context, Listing())
    return Reply(200, {"networks": map(_named, found)})


async def tenant_show(call: Call) -> Reply:
    """GET os-tenant-networks/{network_id}."""
    return Reply(200, {"network": _named(await _network(call))})


async def _network(call: Call) -> Network:
    try:
        return await networks.show(call.cloud, call.context, call.params["network_id"])
    except NotFound as error:
        raise NotFound("network", error.ident, message="Network not found") from error


def _shown(call: Call, network: Network) -> dict[str, Any]:
    empty = (*_EMPTY, *_EMPTY_FOR_ADMIN) if call.context.is_admin else _EMPTY
    return {**dict.fromkeys(empty), "id": network.id, "label": network.name}


def _named(network: Network) -> dict[str, Any]:
    # Nova says "None", the word, for a CIDR that it does not know; clients came to read it as text.
    return {"id": network.id, "cidr": "None", "label": network.name}


_ALL, _TENANT = "/v2.1/os-networks", "/v2.1/os-tenant-networks"
_RULE, _TENANT_RULE = "os_compute_api:os-networks", "os_compute_api:os-tenant-networks"

ROUTES = (
    Route("GET", _ALL, index, f"{_RULE}:list", until=UNTIL, query=OPEN_QUERY),
    Route("POST", _ALL, change, _RULE),
    Route("POST", _ALL + "/add", change, _RULE),
    Route("GET", _ALL + "/{network_id}", show, f"{_RULE}:show", until=UNTIL, query=OPEN_QUERY),
    Route("DELETE", _ALL + "/{network_id}", change, _RULE),
    Route("POST", _ALL + "/{network_id}/action", change, _RULE),
    Route("GET", _TENANT, tenant_index, f"{_TENANT_RULE}:list", until=UNTIL, query=OPEN_QUERY),
    Route("POST", _TENANT, change, _TENANT_RULE),
    Route("GET", _TENANT + "/{network_id}", tenant_show, f"{_TENANT_RULE}:show", until=UNTIL, query=OPEN_QUERY),
    Route("DELETE", _TENANT + "/{network_id}", change, _TENANT_RULE),
)

POLICIES = {
    f"{_RULE}:list": project_reader,
    f"{_RULE}:show": project_reader,
    _RULE: authenticated,
    f"{_TENANT_RULE}:list": project_reader,
    f"{_TENANT_RULE}:show": project_reader,
    _TENANT_RULE: authenticated,
}
