"""`/v2.0/ports`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from floe.api.kit.resource import Fields, Resource, Use, Wire
from floe.api.kit.shape import Of
from floe.api.network.attributes import DESCRIPTION, ID, NAME, OWNER, REVISED
from floe.api.network.converters import (
    demand_few,
    flag,
    ident,
    listed,
    lowered,
    mac,
    malformed,
    number,
    one_of,
    pair,
    tag_list,
    text,
)
from floe.api.network.dialect import NEUTRON
from floe.api.network.subnets import ip_version
from floe.cloud import ports
from floe.core.addresses import number_of
from floe.core.errors import Invalid
from floe.core.hostnames import domain_in_dns, name_in_dns
from floe.core.ports import INACTIVE, Binding, Port, dns_assignment

_VNIC_TYPES = one_of(
    "normal", "direct", "macvtap", "baremetal", "direct-physical", "virtio-forwarder", "smart-nic", "vdpa",
    "accelerator-direct", "accelerator-direct-physical", "remote-managed",
)  # fmt: skip
_PROFILE_BYTES = 4095
_OPTION = {"opt_name", "opt_value", "ip_version"}
_FIXED_IP = pair("subnet_id", "ip_address", optional=("subnet_id", "ip_address"))


_PAIR = pair("ip_address", "mac_address", optional=("mac_address",))


_UNBOUND = Binding(
    host="", status=INACTIVE, plugged=False, vnic_type="normal", vif_type="unbound", vif_details={}, profile={}
)


def _binding(port: Port) -> Binding:
    return port.bindings[0] if port.bindings else _UNBOUND


def _shown_vnic_type(bindings: Sequence[Binding]) -> str:
    return bindings[0].vnic_type if bindings else _UNBOUND.vnic_type


def _shown_ips(fixed_ips: Sequence[tuple[str, str]]) -> list[dict[str, str]]:
    return [{"subnet_id": subnet, "ip_address": address} for subnet, address in fixed_ips]


def _shown_pairs(pairs: Sequence[tuple[str, str]]) -> Sequence[dict[str, str]]:
    return [{"ip_address": address, "mac_address": mac} for address, mac in pairs] if pairs else ()


def _vif_type(port: Port) -> str:
    return "binding_failed" if _has_failed(port) else _binding(port).vif_type


def _vif_details(port: Port) -> dict[str, Any]:
    if not port.bindings or _has_failed(port):
        return {}
    return {**_binding(port).vif_details, "port_filter": port.port_security}


def _has_failed(port: Port) -> bool:
    """Say whether an administrator bound it to a host that is not known."""
    return port.pinned and not port.plugged


def _shown_options(options: Sequence[tuple[str, str]]) -> Sequence[dict[str, Any]]:
    return [{"opt_name": name, "opt_value": value, "ip_version": 4} for name, value in options] if options else ()


def _dhcp_options(value: Any, name: str) -> list[tuple[str, str | None]]:
    """Read options: what has no value is one to be removed."""
    items = [] if value is None else value
    if not isinstance(items, list):
        raise malformed(f"Invalid input for {name}: it is no list.")
    demand_few(items, name)
    found = []
    for item in items:
        if not isinstance(item, dict) or not {"opt_name", "opt_value"} <= item.keys() <= _OPTION:
            raise malformed(
                f"Invalid input for {name}: each item needs opt_name and opt_value, and may have ip_version."
            )
        opt_name, opt_value = item["opt_name"], item["opt_value"]
        if not isinstance(opt_name, str) or not isinstance(opt_value, str | None):
            raise malformed(f"Invalid input for {name}: opt_name must be text, and opt_value text or null.")
        ip_version(number(item.get("ip_version", 4), "ip_version"), f"{name} (ip_version)")
        found.append((opt_name, opt_value))
    return found


def _vnic_type(value: Any, name: str) -> str:
    if _VNIC_TYPES(value, name) != "normal":
        raise Invalid(f"Invalid input for {name}: {value!r} is not supported; it must be 'normal'.")
    return "normal"


def _profile(value: Any, name: str) -> dict[str, Any]:
    if value is not None and not isinstance(value, dict):
        raise malformed(f"Invalid input for {name}: it is no object.")
    size = len(msgspec.json.encode(value or {}))
    if size > _PROFILE_BYTES:
        raise Invalid(
            f"Invalid input for {name}: binding:profile value too large: {size} bytes, of at most {_PROFILE_BYTES}."
        )
    return value or {}


def _mac(value: Any, name: str) -> str:
    if value == "":
        raise malformed(f"Invalid input for {name}: '' is not a valid MAC address; leave it out for one that is free.")
    found: str = text(64)(value, name)
    return found


def _host(value: Any, name: str) -> str | None:
    return text(255)(value, name) if value else None


def fixed_ips(value: Any, name: str) -> list[tuple[str | None, str | None]]:
    """Read pairs of a subnet and an address, of which either may be left open."""
    if not isinstance(value, list):
        raise malformed(f"Invalid input for {name}: it is no list.")
    demand_few(value, name)
    found = [_FIXED_IP(item, name) for item in value]
    addresses = [address for _, address in found if address is not None]
    if len(set(addresses)) != len(addresses):
        raise malformed(f"Invalid input for {name}: the same ip_address is given twice.")
    for subnet_id, address in found:
        if subnet_id is not None:
            ident(subnet_id, name)
        elif address is None:
            raise Invalid(f"Invalid input for {name}: each item needs subnet_id or ip_address.")
    return found


def _pair(value: Any, name: str) -> tuple[str | None, str | None]:
    if isinstance(value, dict) and "ip_address" not in value:
        raise Invalid(f"Invalid input for {name}: each item needs an ip_address.", reason="pair_without_address")
    found: tuple[str | None, str | None] = _PAIR(value, name)
    return found


def _addressed(texts: list[str]) -> dict[str, list[Any]]:
    """Read `fixed_ips=ip_address=192.0.2.3&fixed_ips=subnet_id=...`, as `store.addresses.holding` takes it."""
    found: dict[str, list[Any]] = {}
    for item in texts:
        key, _, value = (part.strip() for part in item.partition("="))
        if key == "ip_address":
            found.setdefault("address", []).append(number_of(value, "fixed_ips"))
        elif key == "subnet_id":
            found.setdefault("subnet_id", []).append(value)
        elif key == "ip_address_substr":
            found.setdefault("part", []).append(value)
        else:
            raise Invalid(
                f"Invalid input for fixed_ips: {item[:200]!r} must be ip_address=ADDRESS, ip_address_substr=PART or"
                " subnet_id=ID."
            )
    return found


PORT: Resource[Port] = Resource(
    name="port",
    plural="ports",
    dialect=NEUTRON,
    fields=Fields(
        ID,
        NAME,
        DESCRIPTION,
        *OWNER,
        Wire("network_id", use=Use.CREATE | Use.LIST, check=ident, required=True),
        Wire("mac_address", "mac", Use.ALL, mac, _mac),
        Wire("admin_state_up", "up", Use.ALL, flag),
        Wire("status", use=Use.LIST),
        Wire("device_id", use=Use.ALL, check=text(255)),
        Wire("device_owner", use=Use.ALL, check=text(255)),
        Wire(
            "fixed_ips", use=Use.WRITE, check=fixed_ips,
            shown=Of("fixed_ips", _shown_ips),
        ),
        Wire("security_groups", "groups", Use.WRITE, check=listed(ident)),
        Wire("dns_name", "hostname", Use.WRITE | Use.FILTER, lowered, name_in_dns),
        Wire("dns_domain", use=Use.WRITE | Use.FILTER, convert=lowered, check=domain_in_dns),
        Wire("dns_assignment", shown=dns_assignment),
        Wire(
            "extra_dhcp_opts", "dhcp_options", Use.WRITE, check=_dhcp_options,
            shown=Of("dhcp_options", _shown_options),
        ),
        Wire("port_security_enabled", "port_security", Use.WRITE | Use.FILTER, flag),
        Wire(
            "allowed_address_pairs", "allowed_pairs", Use.WRITE, check=listed(_pair, distinct=False),
            shown=Of("allowed_pairs", _shown_pairs),
        ),
        Wire(
            "binding:vnic_type", None, Use.WRITE, check=_vnic_type, constant="normal",
            shown=Of("bindings", _shown_vnic_type),
        ),
        Wire(
            "binding:host_id", "host", Use.WRITE | Use.FILTER, check=_host, shown=lambda p: _binding(p).host,
            only="admin",
        ),
        Wire("binding:vif_type", shown=_vif_type, only="admin"),
        Wire("binding:vif_details", shown=_vif_details, only="admin"),
        Wire(
            "binding:profile", "profile", Use.WRITE, check=_profile, only="admin",
        ),
        Wire("tags", use=Use.CREATE, check=tag_list),
        *REVISED,
    ),
    besides={"fixed_ips": _addressed, "security_groups": list},
    create=ports.create,
    find=ports.find,
    show=ports.show,
    update=ports.update,
    delete=ports.delete,
    retag=ports.retag,
)  # fmt: skip
