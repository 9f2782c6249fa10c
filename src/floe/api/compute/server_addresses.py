"""/servers/{server_id}/ips and /servers/{server_id}/os-interface: a server's addresses and NICs."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.compute.fields import ipv4
from floe.api.compute.server_bodies import Tag
from floe.api.compute.server_shapes import plain_addresses
from floe.api.kit.body import Body, Field, Uuid
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import project_member, project_reader
from floe.api.kit.routing import Route
from floe.cloud import server_interfaces
from floe.cloud import servers as cloud
from floe.core.errors import Invalid, NotFound
from floe.core.nics import PlannedNic
from floe.core.ports import ServerPort


class _FixedIp(msgspec.Struct, forbid_unknown_fields=True):
    ip_address: str


_ATTACH = Body(
    "interfaceAttachment",
    (
        Field("net_id", Uuid),
        Field("port_id", Uuid),
        Field("fixed_ips", Annotated[list[_FixedIp], Meta(min_length=1, max_length=1)]),
        Field("tag", Tag, since=(2, 49)),
    ),
)


_PATIENCE = 20.0
"""Seconds that a caller waits for a NIC to be plugged; a host that is slower does it later all the same."""


async def index(call: Call) -> Reply:
    """GET ips: all addresses by network."""
    return Reply(200, {"addresses": await _addresses(call)})


async def show(call: Call) -> Reply:
    """GET ips/{network}: the addresses in one network."""
    found = await _addresses(call)
    network = call.params["network"]
    if network not in found:
        raise NotFound("network", network, message=f"The server has no address in a network named {network!r}.")
    return Reply(200, {network: found[network]})


async def interfaces(call: Call) -> Reply:
    """GET os-interface: all NICs."""
    found = await cloud.get(call.cloud, call.context, call.params["server_id"])
    return Reply(200, {"interfaceAttachments": [_interface(call, port) for port in found.ports]})


async def interface(call: Call) -> Reply:
    """GET os-interface/{port_id}: one NIC."""
    found = await cloud.get(call.cloud, call.context, call.params["server_id"])
    for port in found.ports:
        if port.port_id == call.params["port_id"]:
            return Reply(200, {"interfaceAttachment": _interface(call, port)})
    raise NotFound("interface", call.params["port_id"])


async def attach(call: Call) -> Reply:
    """POST os-interface: give the server one more NIC."""
    asked = {} if await call.json() == {} else _ATTACH.read(await call.raw(), call.version)  # {} is any network
    network_id, port_id = asked.get("net_id"), asked.get("port_id")
    if network_id and port_id:
        raise Invalid("Must not input both network_id and port_id")
    fixed = next((each.ip_address for each in asked.get("fixed_ips", ())), None)
    if fixed and not network_id:
        raise Invalid("Must input network_id when request IP address")
    nic = PlannedNic(
        network_id=network_id or "",
        port_id=port_id,
        fixed_ip=ipv4(fixed, "ip_address"),
        made=not port_id,
        device_tag=asked.get("tag", ""),
    )
    port = await server_interfaces.attach(call.cloud, call.context, call.params["server_id"], nic, _PATIENCE)
    return Reply(200, {"interfaceAttachment": _interface(call, port)})


async def detach(call: Call) -> Reply:
    """DELETE os-interface/{port_id}: take a NIC from the server."""
    await server_interfaces.detach(call.cloud, call.context, call.params["server_id"], call.params["port_id"])
    return Reply(202)


async def _addresses(call: Call) -> dict[str, list[dict[str, Any]]]:
    found = await cloud.get(call.cloud, call.context, call.params["server_id"])
    return plain_addresses(found)


def _interface(call: Call, port: ServerPort) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "port_state": port.status,
        "fixed_ips": [{"subnet_id": subnet, "ip_address": address} for subnet, address in port.addresses],
        "net_id": port.network_id,
        "port_id": port.port_id,
        "mac_addr": port.mac,
    }
    if call.version >= (2, 70):
        shown["tag"] = port.device_tag or None
    return shown


_INTERFACES = "/v2.1/servers/{server_id}/os-interface"

ROUTES = (
    Route("GET", "/v2.1/servers/{server_id}/ips", index, "os_compute_api:ips:index", query=ONCE_OPEN),
    Route("GET", "/v2.1/servers/{server_id}/ips/{network}", show, "os_compute_api:ips:show", query=ONCE_OPEN),
    Route("GET", _INTERFACES, interfaces, "os_compute_api:os-attach-interfaces:list", query=ONCE_OPEN),
    Route("GET", _INTERFACES + "/{port_id}", interface, "os_compute_api:os-attach-interfaces:show", query=ONCE_OPEN),
    Route("POST", _INTERFACES, attach, "os_compute_api:os-attach-interfaces:create"),
    Route("DELETE", _INTERFACES + "/{port_id}", detach, "os_compute_api:os-attach-interfaces:delete"),
)

POLICIES = {
    "os_compute_api:ips:index": project_reader,
    "os_compute_api:ips:show": project_reader,
    "os_compute_api:os-attach-interfaces:list": project_reader,
    "os_compute_api:os-attach-interfaces:show": project_reader,
    "os_compute_api:os-attach-interfaces:create": project_member,
    "os_compute_api:os-attach-interfaces:delete": project_member,
}
