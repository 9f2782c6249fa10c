"""`/v2.0/ports`."""

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
    lower,
    moment,
    predicates,
    renamed,
)
from floe.api.network.rules import writer
from floe.cloud import ports
from floe.core.addresses import number_of
from floe.core.context import Context
from floe.core.errors import Forbidden, Invalid
from floe.core.ports import Port

_COMMON = (
    Field("name", LooseName),
    Field("description", Description),
    Field("admin_state_up", bool),
    Field("mac_address", str),
    Field("fixed_ips", list[dict[str, str | None]] | None),
    Field("device_id", LooseName),
    Field("device_owner", LooseName),
    Field("security_groups", list[str] | None),
    Field("port_security_enabled", bool),
    Field("allowed_address_pairs", list[dict[str, str | None]] | None),
    Field("binding:vnic_type", str),
    Field("binding:profile", dict[str, Any] | None),
    Field("binding:host_id", str | None),
)
CREATE = Body(
    "port",
    (*_COMMON, Field("network_id", str, required=True), Field("project_id", ProjectId), Field("tenant_id", ProjectId)),
)
UPDATE = Body("port", _COMMON)
_NAMES = {
    "name": "name",
    "description": "description",
    "network_id": "network_id",
    "admin_state_up": "up",
    "mac_address": "mac",
    "device_id": "device_id",
    "device_owner": "device_owner",
    "security_groups": "groups",
    "port_security_enabled": "port_security",
}


def _vif_type(port: Port) -> str:
    return "unbound" if port.host is None else "bridge"


def _vif_details(port: Port) -> dict[str, Any]:
    return {} if port.host is None else {"port_filter": port.port_security}


SHAPE: Shape[Port] = Shape(
    (
        Shown("id", lambda p: p.id),
        Shown("name", lambda p: p.name),
        Shown("description", lambda p: p.description),
        Shown("network_id", lambda p: p.network_id),
        Shown("project_id", lambda p: p.project_id),
        Shown("tenant_id", lambda p: p.project_id),
        Shown("mac_address", lambda p: p.mac),
        Shown("admin_state_up", lambda p: p.up),
        Shown("status", lambda p: p.status),
        Shown("device_id", lambda p: p.device_id),
        Shown("device_owner", lambda p: p.device_owner),
        Shown("fixed_ips", lambda p: [{"subnet_id": sub, "ip_address": address} for sub, address in p.fixed_ips]),
        Shown("security_groups", lambda p: p.groups),
        Shown("port_security_enabled", lambda p: p.port_security),
        Shown(
            "allowed_address_pairs",
            lambda p: [{"ip_address": address, "mac_address": mac} for address, mac in p.allowed_pairs],
        ),
        Shown("binding:vnic_type", lambda _: "normal"),
        Shown("binding:host_id", lambda p: p.host or "", only="admin"),
        Shown("binding:vif_type", _vif_type, only="admin"),
        Shown("binding:vif_details", _vif_details, only="admin"),
        Shown("binding:profile", lambda _: {}, only="admin"),
        Shown("created_at", lambda p: moment(p.created_at)),
        Shown("updated_at", lambda p: moment(p.updated_at)),
        Shown("revision_number", lambda p: p.revision),
    )
)

FILTERS: Filters = {
    **common("network_id", "device_id", "device_owner", "status"),
    "mac_address": ("mac", lower),
    "admin_state_up": ("up", flag),
    "port_security_enabled": ("port_security", flag),
}
_ADMIN_FILTERS: Filters = {**FILTERS, "binding:host_id": ("host", str)}
_ELSEWHERE = frozenset({"fixed_ips", "security_groups"})


async def create(call: Call) -> Reply:
    """Make one port or several."""
    sent, bulk = await created(call, CREATE, "ports")
    made = await ports.create(call.cloud, call.context, [_read(item, call.context) for item in sent])
    return create_reply([_show(call, port) for port in made], "port", "ports", bulk)


async def index(call: Call) -> Reply:
    """List ports."""
    filters = _ADMIN_FILTERS if call.context.is_admin else FILTERS
    listing = listing_of(call, filters, besides=_ELSEWHERE)
    found = await ports.find(
        call.cloud, call.context, listing, _addressed(call.many("fixed_ips")), call.many("security_groups")
    )
    return list_reply(call, "ports", [_show(call, port) for port in found], listing)


async def show(call: Call) -> Reply:
    """Show a port."""
    port = await ports.show(call.cloud, call.context, call.params["port_id"])
    return Reply(body={"port": chosen(call, _show(call, port))})


async def update(call: Call) -> Reply:
    """Change a port."""
    asked = _read(UPDATE.read(await call.raw()), call.context)
    port = await ports.update(call.cloud, call.context, call.params["port_id"], asked)
    return Reply(body={"port": _show(call, port)})


async def delete(call: Call) -> Reply:
    """Remove a port."""
    await ports.delete(call.cloud, call.context, call.params["port_id"])
    return Reply(204)


def _show(call: Call, port: Port) -> dict[str, Any]:
    return SHAPE.show(port, holds=predicates(call.context))


def _read(sent: dict[str, Any], context: Context) -> dict[str, Any]:
    if sent.get("binding:vnic_type", "normal") != "normal":
        raise Invalid(f"Invalid input for binding:vnic_type: {sent['binding:vnic_type']!r} must be 'normal'.")
    if sent.get("binding:profile"):
        raise Invalid("Invalid input for binding:profile: it is not supported; leave it out or empty.")
    if sent.get("binding:host_id"):
        if not context.is_admin:
            raise Forbidden("Only an administrator may name binding:host_id.")
        raise Invalid("Invalid input for binding:host_id: the scheduler binds ports; leave it out.")
    asked = renamed(sent, _NAMES)
    if sent.get("security_groups", ()) is None:
        asked["groups"] = []
    if "fixed_ips" in sent:
        asked["fixed_ips"] = [
            (item.get("subnet_id"), item.get("ip_address"))
            for item in _items(sent["fixed_ips"], "fixed_ips", {"subnet_id", "ip_address"})
        ]
    if "allowed_address_pairs" in sent:
        pairs = _items(sent["allowed_address_pairs"], "allowed_address_pairs", {"ip_address", "mac_address"})
        if not all(item.get("ip_address") for item in pairs):
            raise Invalid("Invalid input for allowed_address_pairs: each item needs an ip_address.")
        asked["allowed_pairs"] = [(item["ip_address"], item.get("mac_address")) for item in pairs]
    return asked


def _items(items: list[dict[str, str | None]] | None, field: str, keys: set[str]) -> list[dict[str, str | None]]:
    for item in items or ():
        if not item or set(item) - keys or not any(item.values()):
            raise Invalid(f"Invalid input for {field}: each item is an object of {' and '.join(sorted(keys))}.")
    return items or []


def _addressed(texts: list[str]) -> dict[str, list[Any]]:
    """Read `fixed_ips=ip_address=192.0.2.3&fixed_ips=subnet_id=...`."""
    found: dict[str, list[Any]] = {}
    for text in texts:
        key, _, value = text.partition("=")
        if key == "ip_address":
            found.setdefault("address", []).append(number_of(value, "fixed_ips"))
        elif key == "subnet_id":
            found.setdefault("subnet_id", []).append(value)
        else:
            raise Invalid(f"Invalid input for fixed_ips: {text!r} must be ip_address=ADDRESS or subnet_id=ID.")
    return found


_ONE = "/v2.0/ports/{port_id}"
ROUTES = (
    Route("GET", "/v2.0/ports", index, "get_port"),
    Route("POST", "/v2.0/ports", create, "create_port"),
    Route("GET", _ONE, show, "get_port"),
    Route("PUT", _ONE, update, "update_port"),
    Route("DELETE", _ONE, delete, "delete_port"),
)
POLICIES: policy.Policies = {
    "get_port": policy.project_reader,
    "create_port": writer,
    "update_port": writer,
    "delete_port": writer,
}
