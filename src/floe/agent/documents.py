"""What a guest may read about itself, as the files that OpenStack's and EC2's metadata have: pure.

Source of names and versions: Nova's user guide "Metadata", and the EC2 metadata reference of 2009-04-04.
"""

from __future__ import annotations

import base64
import binascii
import ipaddress
import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from types import MappingProxyType
from typing import Any

import msgspec

from floe.agent.tagged_devices import TaggedDevice, tagged
from floe.core.disk_config import LEAVE_ROOT
from floe.core.disks import told_to_guests
from floe.core.guests import GuestMetadata, GuestSpec
from floe.core.host_network import HostGroup, HostPort, HostRouter, HostSegment, HostSubnet
from floe.core.host_network_state import HostNetworkState

OPENSTACK_VERSIONS = (
    "2012-08-10",
    "2013-04-04",
    "2013-10-17",
    "2015-10-15",
    "2016-06-30",
    "2016-10-06",
    "2017-02-22",
    "2018-08-27",
    "2020-10-14",
    "2025-04-04",
)
EC2_VERSIONS = (
    *("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15"),
    *("2008-02-01", "2008-09-01", "2009-04-04"),
)

_LATEST = "latest"
NOWHERE: Mapping[str, str] = MappingProxyType({})
_GUEST_NUMBER = re.compile(r"-([0-9a-f]{8})$")

Tree = Mapping[str, Any]
"""A level of the EC2 tree: a name leads to text, a number, a list of texts or a further level."""


class Interface(msgspec.Struct, frozen=True, kw_only=True):
    """A port of the guest and the network it is on."""

    port: HostPort
    segment: HostSegment | None


class GuestView(msgspec.Struct, frozen=True, kw_only=True):
    """All that the documents of one guest are made of. `random_seed` feeds the guest's entropy pool."""

    server_id: str
    guest_name: str
    image_id: str
    metadata: GuestMetadata
    interfaces: tuple[Interface, ...] = ()
    security_groups: tuple[str, ...] = ()
    """Names of the groups that its ports are in now."""
    floating: tuple[str, ...] = ()
    """The addresses by which it is reached from outside now."""
    devices: Mapping[str, str] = msgspec.field(default_factory=lambda: {"root": "vda"})
    """The names of its disks, as `core.disks.told_to_guests` gives them."""
    tagged: tuple[TaggedDevice, ...] = ()
    random_seed: bytes = b""
    admin_password: str | None = None
    """Told on the config drive only: any program in the guest may ask the metadata service."""


def view_of(
    guest: GuestSpec, network: HostNetworkState, random_seed: bytes, addresses: Mapping[str, str] = NOWHERE
) -> GuestView:
    """Put together what is known of a guest; its NICs come in the order of its spec.

    `addresses` are those of its devices, by their names.
    """
    own = own_ports(guest, network)
    return GuestView(
        server_id=guest.server_id,
        guest_name=guest.name,
        image_id=guest.image.image_id,
        metadata=guest.metadata,
        interfaces=tuple(Interface(port=port, segment=network.segments.get(port.network_id)) for port in own),
        security_groups=_group_names(own, network.groups),
        floating=_floating(own, network.routers.values()),
        devices=told_to_guests(guest.disks),
        tagged=tuple(tagged(guest, own, addresses)),
        random_seed=random_seed,
    )


def tells_addresses(guest: GuestSpec, network: HostNetworkState) -> bool:
    """Say whether a guest is told where any of its devices is."""
    return any(tagged(guest, own_ports(guest, network), NOWHERE))


def own_ports(guest: GuestSpec, network: HostNetworkState) -> list[HostPort]:
    """Return the ports of a guest that its host knows, in the order of its spec."""
    return [network.ports[nic.port_id] for nic in guest.nics if nic.port_id in network.ports]


def _floating(ports: list[HostPort], routers: Iterable[HostRouter]) -> tuple[str, ...]:
    """Return the floating IPs that lead to ports, in the order of those."""
    leading = [each for router in routers for each in router.floating]
    return tuple(each.address for port in ports for each in leading if each.port_id == port.port_id)


def _group_names(ports: list[HostPort], groups: Mapping[str, HostGroup]) -> tuple[str, ...]:
    named = (groups[group_id].name for port in ports for group_id in port.groups if group_id in groups)
    return tuple(dict.fromkeys(name for name in named if name))


def user_data(metadata: GuestMetadata) -> bytes | None:
    """Return the user data as the guest is to see it; None if there is none."""
    return None if not metadata.user_data else _decode(metadata.user_data)


def meta_data(view: GuestView, version: str = _LATEST) -> dict[str, Any]:
    """Return `meta_data.json` as it was at `version`."""
    about = view.metadata
    document: dict[str, Any] = {
        "uuid": view.server_id,
        "hostname": about.hostname,
        "name": about.name,
        "launch_index": about.launch_index,
        "availability_zone": about.availability_zone,
    }
    if about.metadata:
        document["meta"] = dict(about.metadata)
    if about.files:
        document["files"] = [
            {"path": path, "content_path": f"/content/{index:04}"} for index, (path, _) in enumerate(about.files)
        ]
    if view.admin_password:
        document["admin_pass"] = view.admin_password
    if about.keys:
        document["public_keys"] = {name: key for name, _, key in about.keys}
        document["keys"] = [{"name": name, "type": kind, "data": key} for name, kind, key in about.keys]
    if _since(version, "2013-04-04"):
        document["random_seed"] = base64.b64encode(view.random_seed).decode()
    if _since(version, "2015-10-15"):
        document["project_id"] = about.project_id
    if _since(version, "2016-06-30"):
        document["devices"] = [device.told(version) for device in view.tagged]
    if _since(version, "2020-10-14"):
        document["dedicated_cpus"] = []
    return document


def network_data(view: GuestView) -> dict[str, Any]:
    """Return `network_data.json`: links, the addresses on them, and name servers."""
    links: list[dict[str, Any]] = []
    networks: list[dict[str, Any]] = []
    services: list[dict[str, str]] = []
    for port, segment in ((interface.port, interface.segment) for interface in view.interfaces):
        links.append(
            {
                "id": port.tap,
                "vif_id": port.port_id,
                "type": "bridge",
                "mtu": segment.mtu if segment else None,
                "ethernet_mac_address": port.mac,
            }
        )
        subnets = {subnet.subnet_id: subnet for subnet in segment.subnets} if segment else {}
        leased = False
        for held in port.addresses:
            subnet = subnets.get(held.subnet_id)
            if subnet is None:
                continue
            services += _name_servers(subnet)
            if subnet.dhcp and leased:
                continue  # one request for a lease brings all that DHCP gives this port
            leased = leased or subnet.dhcp
            networks.append(
                {
                    "id": f"network{len(networks)}",
                    "link": port.tap,
                    "network_id": port.network_id,
                    **({"type": "ipv4_dhcp"} if subnet.dhcp else _static(subnet, held.address)),
                }
            )
    unique = [service for index, service in enumerate(services) if service not in services[:index]]
    return {"links": links, "networks": networks, "services": unique}


def vendor_data(view: GuestView) -> dict[str, str]:
    """Return `vendor_data.json`, of which cloud-init reads what is under its name as it reads user data."""
    return {"cloud-init": LEAVE_ROOT} if view.metadata.leave_root else {}


class _Document(msgspec.Struct, frozen=True):
    """A file of OpenStack's metadata: the version it came with, its media type, and what makes it (None: absent)."""

    since: str
    kind: str
    make: Callable[[GuestView, str], bytes | None]


_JSON, _BYTES, _PLAIN = "application/json", "application/octet-stream", "text/plain; charset=utf-8"
_DOCUMENTS: Mapping[str, _Document] = {
    "meta_data.json": _Document("2012-08-10", _JSON, lambda view, version: _json(meta_data(view, version))),
    "user_data": _Document("2012-08-10", _BYTES, lambda view, _: user_data(view.metadata)),
    "password": _Document("2013-04-04", _PLAIN, lambda view, _: (view.metadata.password or "").encode()),
    "vendor_data.json": _Document("2013-10-17", _JSON, lambda view, _: _json(vendor_data(view))),
    "network_data.json": _Document("2015-10-15", _JSON, lambda view, _: _json(network_data(view))),
    "vendor_data2.json": _Document("2016-10-06", _JSON, lambda view, _: _json({"static": vendor_data(view)})),
}
"""In the order in which a version lists them."""


def openstack_files(view: GuestView, version: str) -> dict[str, bytes]:
    """Return the files of one version: name -> content."""
    files = {name: made.make(view, version) for name, made in _DOCUMENTS.items() if _since(version, made.since)}
    return {name: content for name, content in files.items() if content is not None}


def content_files(view: GuestView) -> dict[str, bytes]:
    """Return the injected files, by the number under which `meta_data.json` names them."""
    return {f"{index:04}": _decode(content) or b"" for index, (_, content) in enumerate(view.metadata.files)}


def ec2_tree(view: GuestView, version: str = _LATEST) -> Tree:
    """Return the EC2 `meta-data` tree as it was at `version`."""
    about = view.metadata
    addresses = [held.address for interface in view.interfaces for held in interface.port.addresses]
    tree: dict[str, Any] = {
        "ami-id": f"ami-{zlib.crc32(view.image_id.encode()):08x}",
        "ami-launch-index": about.launch_index,
        "ami-manifest-path": "",  # there is no manifest: an image is one file
        "hostname": about.hostname,
        "instance-id": _ec2_id(view),
        "local-ipv4": addresses[0] if addresses else "",
        "reservation-id": about.reservation_id,
        "security-groups": list(view.security_groups),
    }
    keys = [(name, key) for name, kind, key in about.keys if kind == "ssh"]
    if keys:
        tree["public-keys"] = {
            f"{index}": {"_listed": f"{index}={name}", "openssh-key": key} for index, (name, key) in enumerate(keys)
        }
    if _since(version, "2007-01-19"):
        tree |= {"local-hostname": about.hostname, "public-hostname": about.hostname}
        tree["public-ipv4"] = view.floating[0] if view.floating else ""
    if _since(version, "2007-08-29"):
        tree["instance-type"] = about.flavor_name
    if _since(version, "2007-12-15"):
        tree["block-device-mapping"] = _block_devices(view.devices)
        for prefix, role, ident in (("aki", "kernel-id", about.kernel_id), ("ari", "ramdisk-id", about.ramdisk_id)):
            if ident:
                tree[role] = f"{prefix}-{zlib.crc32(ident.encode()):08x}"
    if _since(version, "2008-02-01"):
        tree["placement"] = {"availability-zone": about.availability_zone}
    if _since(version, "2008-09-01"):
        tree["instance-action"] = "none"
    return tree


def ec2_document(view: GuestView, version: str) -> dict[str, Any]:
    """Return the EC2 `meta-data` tree as the one JSON document that a config drive has of it."""
    return _plain(ec2_tree(view, version))


def _plain(tree: Tree) -> dict[str, Any]:
    return {
        name: _plain(value) if isinstance(value, Mapping) else value
        for name, value in tree.items()
        if name != "_listed"
    }


def _block_devices(devices: Mapping[str, str]) -> dict[str, str]:
    """Return the mapping of EC2's names to devices: `ami` is bare, all others are paths."""
    return {"ami": devices["root"], **{name: f"/dev/{device}" for name, device in devices.items()}}


def lookup(view: GuestView, path: str) -> tuple[str, bytes] | None:
    """Return content type and body of a metadata path, None where there is nothing."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["openstack"]:
        return _openstack(view, parts[1:])
    if parts[:1] == ["ec2"]:
        del parts[0]
    if not parts:
        return _text("\n".join((*EC2_VERSIONS, _LATEST)))
    if parts[0] in EC2_VERSIONS or parts[0] == _LATEST:
        return _ec2(view, parts[0], parts[1:])
    return None


def takes_password(path: str) -> bool:
    """Say whether a path is where a guest may post a password."""
    match [part for part in path.split("/") if part]:
        case ["openstack", version, "password"] if version == _LATEST or version in OPENSTACK_VERSIONS:
            return _since(version, _DOCUMENTS["password"].since)
    return False


def _openstack(view: GuestView, parts: list[str]) -> tuple[str, bytes] | None:
    if not parts:
        return _text("\n".join((*OPENSTACK_VERSIONS, _LATEST)))
    if parts[0] == "content":
        content = content_files(view).get(parts[1]) if len(parts) == 2 else None
        return None if content is None else (_BYTES, content)
    if parts[0] != _LATEST and parts[0] not in OPENSTACK_VERSIONS:
        return None
    files = openstack_files(view, parts[0])
    if len(parts) == 1:
        return _text("\n".join(files))
    if len(parts) > 2 or parts[1] not in files:
        return None
    return _DOCUMENTS[parts[1]].kind, files[parts[1]]


def _ec2(view: GuestView, version: str, parts: list[str]) -> tuple[str, bytes] | None:
    data = user_data(view.metadata)
    if not parts:
        return _text("meta-data/" if data is None else "meta-data/\nuser-data")
    if parts == ["user-data"]:
        return None if data is None else (_BYTES, data)
    if parts[0] != "meta-data":
        return None
    level: Any = ec2_tree(view, version)
    for part in parts[1:]:
        if not isinstance(level, Mapping) or part.startswith("_"):
            return None
        level = level.get(part)
    if level is None:
        return None
    if isinstance(level, Mapping):
        level = _listing(level)
    return _text("\n".join(level) if isinstance(level, list) else str(level))


def _listing(level: Tree) -> list[str]:
    return [_entry(name, value) for name, value in sorted(level.items()) if name != "_listed"]


def _entry(name: str, value: Any) -> str:
    if not isinstance(value, Mapping):
        return name
    return str(value.get("_listed", f"{name}/"))


def _name_servers(subnet: HostSubnet) -> list[dict[str, str]]:
    return [{"type": "dns", "address": address} for address in subnet.nameservers]


def _static(subnet: HostSubnet, address: str) -> dict[str, Any]:
    routes = [
        {"network": str(net.network_address), "netmask": str(net.netmask), "gateway": nexthop}
        for net, nexthop in ((ipaddress.ip_network(r.destination), r.nexthop) for r in subnet.routes)
    ]
    if subnet.gateway:
        routes.insert(0, {"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": subnet.gateway})  # noqa: S104
    return {
        "type": "ipv4",
        "ip_address": address,
        "netmask": str(ipaddress.ip_network(subnet.cidr).netmask),
        "routes": routes,
        "services": _name_servers(subnet),
    }


def _ec2_id(view: GuestView) -> str:
    number = _GUEST_NUMBER.search(view.guest_name)
    return f"i-{number.group(1)}" if number else f"i-{zlib.crc32(view.server_id.encode()):08x}"


def _since(version: str, first: str) -> bool:
    return version == _LATEST or version >= first


def _decode(text: str) -> bytes | None:
    try:
        return base64.b64decode(text)
    except (binascii.Error, ValueError):
        return None


def _json(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document, ensure_ascii=False).encode()


def _text(text: str) -> tuple[str, bytes]:
    return _PLAIN, text.encode()
