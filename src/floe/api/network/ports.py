"""`/v2.0/ports`."""

from __future__ import annotations

from typing import Any

from floe.api.kit.body import Body, Description, Field, LooseName
from floe.api.kit.call import Call
from floe.api.kit.shape import Shape, Shown
from floe.api.network.lists import Filters, common, flag, lower
from floe.api.network.nouns import OWNER, SHOWN_OWNER, SHOWN_REVISION, Change, Noun, policies, renamed, routes
from floe.cloud import ports
from floe.core.addresses import number_of
from floe.core.context import Context
from floe.core.errors import Forbidden, Invalid
from floe.core.listing import Listing
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
    (*_COMMON, Field("network_id", str, required=True), *OWNER),
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
        *SHOWN_OWNER,
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
        *SHOWN_REVISION,
    )
)

FILTERS: Filters = {
    **common("network_id", "device_id", "device_owner", "status"),
    "mac_address": ("mac", lower),
    "admin_state_up": ("up", flag),
    "port_security_enabled": ("port_security", flag),
}


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


async def _find(call: Call, listing: Listing) -> list[Port]:
    addressed = _addressed(call.many("fixed_ips"))
    return await ports.find(call.cloud, call.context, listing, addressed, call.many("security_groups"))


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


PORT = Noun(
    name="port",
    plural="ports",
    shape=SHAPE,
    body=CREATE,
    read=_read,
    create=ports.create,
    filters=FILTERS,
    admin_filters={"binding:host_id": ("host", str)},
    besides=frozenset({"fixed_ips", "security_groups"}),
    find=_find,
    show=ports.show,
    change=Change(body=UPDATE, apply=ports.update),
    delete=ports.delete,
)
ROUTES = routes(PORT)
POLICIES = policies(PORT)
