"""How servers look on the wire, by microversion."""

from __future__ import annotations

import hashlib
from functools import lru_cache
from itertools import product
from typing import Any

import msgspec

from floe.api.compute.server_status import has_progress, status
from floe.api.kit.shape import Always, Of, Shape, Shown
from floe.core import scheduler_hints
from floe.core.clock import iso, iso_micro_of, iso_of
from floe.core.disk_config import shown
from floe.core.guests import guest_name
from floe.core.image_properties import IMAGE_PROPERTIES
from floe.core.seen_servers import SeenServer
from floe.core.servers import ServerFault, ServerFlavor

Json = msgspec.Raw
ADMIN, FAULTY, GROUPED, PROGRESS = "admin", "faulty", "grouped", "progress"
LIST, FULL, LINKED = "single", "full", "linked"
_KEPT_FLAVORS = _KEPT_IMAGES = 256


def host_id(server: SeenServer) -> str:
    """Return what stands for the host in the eyes of a project: equal for its servers on one host, and only there."""
    return "" if server.host is None else host_id_of(server.project_id, server.host)


@lru_cache(maxsize=4096)
def host_id_of(project_id: str, host: str) -> str:
    """Return what stands for a host in the eyes of a project."""
    return hashlib.sha224((project_id + host).encode()).hexdigest()


def plain_addresses(server: SeenServer) -> dict[str, list[dict[str, Any]]]:
    """Return a server's addresses by the name of their network, each with its IP version alone."""
    return {
        network: [{"version": each["version"], "addr": each["addr"]} for each in listed]
        for network, listed in addresses(server).items()
    }


def addresses(server: SeenServer) -> dict[str, list[dict[str, Any]]]:
    """Return a server's addresses by the name of their network, with their kind and MAC."""
    found: dict[str, list[dict[str, Any]]] = {}
    for port in server.ports:
        of_network = found.setdefault(port.network_name, [])
        for _subnet, fixed in port.addresses:
            of_network.append(_address(fixed, "fixed", port.mac))
            of_network += [_address(outer, "floating", port.mac) for inner, outer in port.floating if inner == fixed]
    return {name: listed for name, listed in found.items() if listed}


def _address(address: str, kind: str, mac: str) -> dict[str, Any]:
    return {
        "version": 6 if ":" in address else 4,
        "addr": address,
        "OS-EXT-IPS:type": kind,
        "OS-EXT-IPS-MAC:mac_addr": mac,
    }


def security_groups(server: SeenServer) -> list[dict[str, str]]:
    """Return the groups of a server's ports; while it has no ports, those that were asked for."""
    if not server.ports:
        return [{"name": name} for name in msgspec.json.decode(server.security_groups)]
    return [{"name": name} for name in dict.fromkeys(name for port in server.ports for _, name in port.groups)]


def _embedded_flavor(server: SeenServer) -> Json:
    return embedded_flavor(server.flavor)


@lru_cache(maxsize=_KEPT_FLAVORS)
def embedded_flavor(kept: str) -> Json:
    """Return the flavor as the server has it (2.47 and later); of many servers it is the same."""
    flavor = msgspec.json.decode(kept, type=ServerFlavor)
    shown = {
        "vcpus": flavor.vcpus,
        "ram": flavor.memory_mib,
        "disk": flavor.root_gib,
        "ephemeral": flavor.ephemeral_gib,
        "swap": flavor.swap_mib,
        "original_name": flavor.name,
        "extra_specs": flavor.extra_specs,
    }
    return Json(msgspec.json.encode(shown))


def fault(server: SeenServer, *, admin: bool) -> dict[str, Any]:
    """Return why a server is in ERROR; details are for administrators, and none are there below 500."""
    assert server.fault is not None
    found = msgspec.json.decode(server.fault, type=ServerFault)
    shown: dict[str, Any] = {"code": found.code, "created": iso(found.created_at), "message": found.message}
    if admin and found.details:
        shown["details"] = found.details
    return shown


@lru_cache(maxsize=_KEPT_IMAGES)
def image_properties(kept: str) -> Json:
    """Return those properties of a server's image that mean something to the compute service, the user's own not."""
    found: dict[str, str] = msgspec.json.decode(kept)
    return Json(msgspec.json.encode({k: v for k, v in found.items() if IMAGE_PROPERTIES.get(k) is not None}))


def _image_property(server: SeenServer, name: str) -> str:
    found: str = msgspec.json.decode(server.image_properties).get(name, "")
    return found


def _hints(server: SeenServer) -> dict[str, list[str]]:
    return scheduler_hints.told(msgspec.json.decode(server.scheduler_hints))


def _kept_or_none(kept: str | None) -> Json | None:
    return None if kept is None else Json(kept)


_ADDRESSES: Shown[SeenServer] = Shown("addresses", addresses)
_CORE: tuple[Shown[SeenServer], ...] = (
    Shown("id", "id"),
    Shown("name", "name"),
    Shown("status", lambda s: status(s.vm_state, s.task_state)),
    Shown("tenant_id", "project_id"),
    Shown("user_id", "user_id"),
    Shown("metadata", Of("metadata", Json)),
    Shown("hostId", host_id),
    Shown("flavor", _embedded_flavor, since=(2, 47)),
    Shown("created", Of("created_at", iso_of)),
    Shown("updated", lambda s: iso_of(s.updated_at or s.created_at)),
    _ADDRESSES,
    Shown("accessIPv4", lambda s: s.access_ipv4 or ""),
    Shown("accessIPv6", lambda s: s.access_ipv6 or ""),
    Shown("OS-DCF:diskConfig", Of("disk_config", shown)),
    Shown("locked", "locked", since=(2, 9)),
    Shown("locked_reason", "locked_reason", since=(2, 73)),
    Shown("description", "description", since=(2, 19)),
    Shown("tags", "tags", since=(2, 26)),
    Shown("trusted_image_certificates", Of("trusted_certificates", _kept_or_none), since=(2, 63)),
    Shown("pinned_availability_zone", "requested_zone", since=(2, 96)),
    Shown("OS-EXT-SRV-ATTR:hostname", "hostname", since=(2, 90)),
    Shown("scheduler_hints", _hints, since=(2, 100)),
    Shown("progress", lambda s: 0 if s.vm_state == "building" or s.task_state == "rebuilding" else 100, only=PROGRESS),
    Shown("fault", lambda s: fault(s, admin=False), only=FAULTY),
)

_EXTENDED: tuple[Shown[SeenServer], ...] = (
    Shown("OS-EXT-AZ:availability_zone", "zone"),
    Shown("config_drive", lambda s: "True" if s.config_drive else ""),
    Shown("key_name", "key_name"),
    Shown("OS-SRV-USG:launched_at", Of("launched_at", iso_micro_of)),
    Shown("OS-SRV-USG:terminated_at", Of("terminated_at", iso_micro_of)),
    Shown("OS-EXT-STS:task_state", "task_state"),
    Shown("OS-EXT-STS:vm_state", "vm_state"),
    Shown("OS-EXT-STS:power_state", "power_state"),
    Shown("os-extended-volumes:volumes_attached", Always([])),
    Shown("security_groups", security_groups, only=GROUPED),
)

_ADMIN: tuple[Shown[SeenServer], ...] = (
    Shown("OS-EXT-SRV-ATTR:host", "host"),
    Shown("OS-EXT-SRV-ATTR:hypervisor_hostname", "host"),
    Shown("OS-EXT-SRV-ATTR:instance_name", Of("number", guest_name)),
    Shown("OS-EXT-SRV-ATTR:reservation_id", "reservation_id", since=(2, 3)),
    Shown("OS-EXT-SRV-ATTR:launch_index", "launch_index", since=(2, 3)),
    Shown("OS-EXT-SRV-ATTR:hostname", "hostname", since=(2, 3)),
    Shown("OS-EXT-SRV-ATTR:kernel_id", lambda s: _image_property(s, "kernel_id"), since=(2, 3)),
    Shown("OS-EXT-SRV-ATTR:ramdisk_id", lambda s: _image_property(s, "ramdisk_id"), since=(2, 3)),
    Shown("OS-EXT-SRV-ATTR:root_device_name", "root_device", since=(2, 3)),
    Shown("OS-EXT-SRV-ATTR:user_data", "user_data", since=(2, 3)),
    Shown("host_status", "host_state", since=(2, 16)),
    Shown("fault", lambda s: fault(s, admin=True), only=FAULTY),
)

USER = Shape((*_CORE, *_EXTENDED))
OPERATOR = Shape((*_CORE, *_EXTENDED, *_ADMIN))
NARROW = Shape(tuple(Shown("addresses", plain_addresses) if shown is _ADDRESSES else shown for shown in _CORE))
"""What an update below 2.75 answers."""

_COME_AND_GO = (FAULTY, PROGRESS, GROUPED)
_KINDS = {
    there: frozenset(kind for kind, is_there in zip(_COME_AND_GO, there, strict=True) if is_there)
    for there in product((True, False), repeat=len(_COME_AND_GO))
}


def traits(server: SeenServer) -> frozenset[str]:
    """Return which of the fields that come and go with a server's state it has now."""
    shown = status(server.vm_state, server.task_state)
    faulty = server.fault is not None and shown in {"ERROR", "DELETED"}
    return _KINDS[faulty, has_progress(shown), _is_grouped(server)]


def _is_grouped(server: SeenServer) -> bool:
    """Say whether a server is in any security group: as in Nova nothing is said of none."""
    if server.ports:
        return any(port.groups for port in server.ports)
    return server.security_groups != "[]"
