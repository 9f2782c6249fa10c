"""POST /servers/{server_id}/action: addresses that a server is given and loses, as it was done until 2.43."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Annotated

from msgspec import Meta

from floe.api.compute.fields import ipv4
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import project_member
from floe.api.kit.routing import Route
from floe.cloud import server_addresses as cloud
from floe.core.errors import Invalid

_UNTIL = (2, 43)
_ADDRESS = Field("address", Annotated[str, Meta(max_length=64)], required=True)
_ADD_FLOATING = Body("addFloatingIp", (_ADDRESS, Field("fixed_address", Annotated[str, Meta(max_length=64)])))
_REMOVE_FLOATING = Body("removeFloatingIp", (_ADDRESS,))
_NETWORK = Field("networkId", Annotated[str, Meta(min_length=1, max_length=255)] | int, required=True)
_ADD_FIXED = Body("addFixedIp", (_NETWORK,))
_REMOVE_FIXED = Body("removeFixedIp", (_ADDRESS,))


async def add_floating(call: Call) -> Reply:
    """addFloatingIp: have a floating IP lead to the server."""
    asked = _ADD_FLOATING.read(await call.raw(), call.version)
    address = _ip(asked["address"], "address")
    fixed = ipv4(asked.get("fixed_address"), "fixed_address")
    await cloud.add_floating(call.cloud, call.context, call.params["server_id"], address, fixed)
    return Reply(202)


async def remove_floating(call: Call) -> Reply:
    """removeFloatingIp: have a floating IP of the server lead nowhere."""
    address = _ip(_REMOVE_FLOATING.read(await call.raw(), call.version)["address"], "address")
    await cloud.remove_floating(call.cloud, call.context, call.params["server_id"], address)
    return Reply(202)


async def add_fixed(call: Call) -> Reply:
    """addFixedIp: give the server one more address on a network that it is on."""
    network_id = str(_ADD_FIXED.read(await call.raw(), call.version)["networkId"])
    await cloud.add_fixed(call.cloud, call.context, call.params["server_id"], network_id)
    return Reply(202)


async def remove_fixed(call: Call) -> Reply:
    """removeFixedIp: take an address from the server."""
    address = _ip(_REMOVE_FIXED.read(await call.raw(), call.version)["address"], "address")
    await cloud.remove_fixed(call.cloud, call.context, call.params["server_id"], address)
    return Reply(202)


def _ip(text: str, name: str) -> str:
    """Return an address of either version in its usual form; one of IPv6 is nobody's here. Raises Invalid."""
    try:
        return str(ip_address(text))
    except ValueError:
        raise Invalid(f"Invalid input for field/attribute {name}: {text!r} is no IP address.") from None


_PATH = "/v2.1/servers/{server_id}/action"
_FLOATING, _FIXED = "os_compute_api:os-floating-ips", "os_compute_api:os-multinic"

ROUTES = (
    Route("POST", _PATH, add_floating, f"{_FLOATING}:add", until=_UNTIL, action="addFloatingIp"),
    Route("POST", _PATH, remove_floating, f"{_FLOATING}:remove", until=_UNTIL, action="removeFloatingIp"),
    Route("POST", _PATH, add_fixed, f"{_FIXED}:add", until=_UNTIL, action="addFixedIp"),
    Route("POST", _PATH, remove_fixed, f"{_FIXED}:remove", until=_UNTIL, action="removeFixedIp"),
)

POLICIES = dict.fromkeys((route.policy for route in ROUTES), project_member)
