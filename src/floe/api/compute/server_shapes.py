"""How servers look on the wire, by microversion."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from floe.api.compute.server_status import has_progress, status
from floe.api.kit.shape import Shape, Shown
from floe.cloud.servers import ServerDetail
from floe.core.clock import iso, iso_micro
from floe.core.servers import Server, ServerFlavor

Detail = ServerDetail
ADMIN, FAULTY, PROGRESS, LIST, FULL, LINKED = "admin", "faulty", "progress", "single", "full", "linked"


def host_id(server: Server) -> str:
    """Return what stands for the host in the eyes of a project: equal for its servers on one host, and only there."""
    return "" if server.host is None else host_id_of(server.project_id, server.host)


@lru_cache(maxsize=4096)
def host_id_of(project_id: str, host: str) -> str:
    """Return what stands for a host in the eyes of a project."""
    return hashlib.sha224((project_id + host).encode()).hexdigest()


def plain_addresses(detail: Detail) -> dict[str, list[dict[str, Any]]]:
    """Return a server's addresses by the name of their network, each with its IP version alone."""
    return {
        network: [{"version": each["version"], "addr": each["addr"]} for each in listed]
        for network, listed in addresses(detail).items()
    }


def addresses(detail: Detail) -> dict[str, list[dict[str, Any]]]:
    """Return a server's addresses by the name of their network, with their kind and MAC."""
    found: dict[str, list[dict[str, Any]]] = {}
    for port in detail.ports:
        of_network = found.setdefault(port.network_name, [])
        for _subnet, address in port.addresses:
            of_network.append(
                {
                    "version": 6 if ":" in address else 4,
                    "addr": address,
                    "OS-EXT-IPS:type": "fixed",
                    "OS-EXT-IPS-MAC:mac_addr": port.mac,
                }
            )
    return {name: listed for name, listed in found.items() if listed}


def security_groups(detail: Detail) -> list[dict[str, str]]:
    """Return the groups of a server's ports; while it has no ports, those that were asked for."""
    if not detail.ports:
        return [{"name": name} for name in detail.server.security_groups]
    return [{"name": name} for name in dict.fromkeys(name for port in detail.ports for _, name in port.groups)]


def embedded_flavor(flavor: ServerFlavor) -> dict[str, Any]:
    """Return the flavor as the server has it (2.47 and later)."""
    return {
        "vcpus": flavor.vcpus,
        "ram": flavor.memory_mib,
        "disk": flavor.root_gib,
        "ephemeral": flavor.ephemeral_gib,
        "swap": flavor.swap_mib,
        "original_name": flavor.name,
        "extra_specs": flavor.extra_specs,
    }


def fault(detail: Detail, *, admin: bool) -> dict[str, Any]:
    """Return why a server is in ERROR; details are for administrators, and none are there below 500."""
    found = detail.server.fault
    assert found is not None
    shown: dict[str, Any] = {"code": found.code, "created": iso(found.created_at), "message": found.message}
    if admin and found.details:
        shown["details"] = found.details
    return shown


def _s(value: Callable[[Server], Any]) -> Callable[[Detail], Any]:
    return lambda detail: value(detail.server)


def _progress(detail: Detail) -> int:
    return 0 if detail.server.vm_state == "building" else 100


_ADDRESSES: Shown[Detail] = Shown("addresses", addresses)
_CORE: tuple[Shown[Detail], ...] = (
    Shown("id", lambda d: d.server.id),
    Shown("name", lambda d: d.server.name),
    Shown("status", lambda d: status(d.server.vm_state, d.server.task_state)),
    Shown("tenant_id", lambda d: d.server.project_id),
    Shown("user_id", lambda d: d.server.user_id),
    Shown("metadata", lambda d: d.server.metadata),
    Shown("hostId", lambda d: host_id(d.server)),
    Shown("flavor", lambda d: embedded_flavor(d.server.flavor), since=(2, 47)),
    Shown("created", lambda d: iso(d.server.created_at)),
    Shown("updated", lambda d: iso(d.server.updated_at or d.server.created_at)),
    _ADDRESSES,
    Shown("accessIPv4", lambda d: d.server.access_ipv4 or ""),
    Shown("accessIPv6", lambda d: d.server.access_ipv6 or ""),
    Shown("OS-DCF:diskConfig", lambda d: d.server.disk_config),
    Shown("locked", lambda d: d.server.locked, since=(2, 9)),
    Shown("locked_reason", lambda d: d.server.locked_reason, since=(2, 73)),
    Shown("description", lambda d: d.server.description, since=(2, 19)),
    Shown("tags", lambda d: d.tags, since=(2, 26)),
    Shown("trusted_image_certificates", lambda _d: None, since=(2, 63)),
    Shown("pinned_availability_zone", lambda d: d.server.requested_zone, since=(2, 96)),
    Shown("OS-EXT-SRV-ATTR:hostname", lambda d: d.server.hostname, since=(2, 90)),
    Shown("progress", _progress, only=PROGRESS),
    Shown("fault", lambda d: fault(d, admin=False), only=FAULTY),
)

_EXTENDED: tuple[Shown[Detail], ...] = (
    Shown("OS-EXT-AZ:availability_zone", lambda d: d.zone),
    Shown("config_drive", lambda d: "True" if d.server.config_drive else ""),
    Shown("key_name", lambda d: d.server.key_name),
    Shown("OS-SRV-USG:launched_at", lambda d: iso_micro(d.server.launched_at)),
    Shown("OS-SRV-USG:terminated_at", lambda d: iso_micro(d.server.terminated_at)),
    Shown("OS-EXT-STS:task_state", lambda d: d.server.task_state),
    Shown("OS-EXT-STS:vm_state", lambda d: d.server.vm_state),
    Shown("OS-EXT-STS:power_state", lambda d: int(d.server.power_state)),
    Shown("os-extended-volumes:volumes_attached", lambda _d: []),
    Shown("security_groups", security_groups),
)

_ADMIN: tuple[Shown[Detail], ...] = (
    Shown("OS-EXT-SRV-ATTR:host", lambda d: d.server.host),
    Shown("OS-EXT-SRV-ATTR:hypervisor_hostname", lambda d: d.server.host),
    Shown("OS-EXT-SRV-ATTR:instance_name", lambda d: d.server.guest_name),
    Shown("OS-EXT-SRV-ATTR:reservation_id", lambda d: d.server.reservation_id, since=(2, 3)),
    Shown("OS-EXT-SRV-ATTR:launch_index", lambda d: d.server.launch_index, since=(2, 3)),
    Shown("OS-EXT-SRV-ATTR:hostname", lambda d: d.server.hostname, since=(2, 3)),
    Shown("OS-EXT-SRV-ATTR:kernel_id", _s(lambda s: s.image_properties.get("kernel_id", "")), since=(2, 3)),
    Shown("OS-EXT-SRV-ATTR:ramdisk_id", _s(lambda s: s.image_properties.get("ramdisk_id", "")), since=(2, 3)),
    Shown("OS-EXT-SRV-ATTR:root_device_name", lambda d: d.server.root_device, since=(2, 3)),
    Shown("OS-EXT-SRV-ATTR:user_data", lambda d: d.server.user_data, since=(2, 3)),
    Shown("host_status", lambda d: d.host_state, since=(2, 16)),
    Shown("fault", lambda d: fault(d, admin=True), only=FAULTY),
)

USER = Shape((*_CORE, *_EXTENDED))
OPERATOR = Shape((*_CORE, *_EXTENDED, *_ADMIN))
NARROW = Shape(tuple(Shown("addresses", plain_addresses) if shown is _ADDRESSES else shown for shown in _CORE))
"""What an update below 2.75 answers."""

_KINDS = {
    (faulty, progress): frozenset({*((FAULTY,) if faulty else ()), *((PROGRESS,) if progress else ())})
    for faulty in (True, False)
    for progress in (True, False)
}


def traits(server: Server) -> frozenset[str]:
    """Return which of the fields that come and go with a server's state it has now."""
    shown = status(server.vm_state, server.task_state)
    return _KINDS[server.fault is not None and shown in {"ERROR", "DELETED"}, has_progress(shown)]
