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
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from floe.core.guests import GuestMetadata, GuestSpec
from floe.core.host_network import HostPort, HostSegment, HostSubnet

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
)
EC2_VERSIONS = (
    *("1.0", "2007-01-19", "2007-03-01", "2007-08-29", "2007-10-10", "2007-12-15"),
    *("2008-02-01", "2008-09-01", "2009-04-04"),
)

_LATEST = "latest"
_GUEST_NUMBER = re.compile(r"-([0-9a-f]{8})$")

Tree = Mapping[str, Any]
"""A level of the EC2 tree: a name leads to text or to a further level."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interface:
    """A port of the guest and the network it is on."""

    port: HostPort
    segment: HostSegment | None


@dataclass(frozen=True, slots=True, kw_only=True)
class GuestView:
    """All that the documents of one guest are made of. `random_seed` feeds the guest's entropy pool."""

    server_id: str
    guest_name: str
    image_id: str
    metadata: GuestMetadata
    interfaces: tuple[Interface, ...] = ()
    random_seed: bytes = b""
    admin_password: str | None = None
    """Told on the config drive only: any program in the guest may ask the metadata service."""


def view_of(
    guest: GuestSpec, ports: Mapping[str, HostPort], segments: Mapping[str, HostSegment], random_seed: bytes
) -> GuestView:
    """Put together what is known of a guest; its NICs come in the order of its spec."""
    own = [ports[nic.port_id] for nic in guest.ports if nic.port_id in ports]
    return GuestView(
        server_id=guest.server_id,
        guest_name=guest.name,
        image_id=guest.image.image_id,
        metadata=guest.metadata,
        interfaces=tuple(Interface(port=port, segment=segments.get(port.network_id)) for port in own),
        random_seed=random_seed,
    )


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
        document["devices"] = []
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
        for held in port.addresses:
            subnet = subnets.get(held.subnet_id)
            if subnet is None:
                continue
            network: dict[str, Any] = {
                "id": f"network{len(networks)}",
                "link": port.tap,
                "network_id": port.network_id,
            }
            if subnet.dhcp:
                network["type"] = "ipv4_dhcp"
            else:
                network |= _static(subnet, held.address)
                services += [{"type": "dns", "address": server} for server in subnet.nameservers]
            networks.append(network)
    unique = [service for index, service in enumerate(services) if service not in services[:index]]
    return {"links": links, "networks": networks, "services": unique}


def openstack_files(view: GuestView, version: str) -> dict[str, bytes]:
    """Return the files of one version: name -> content."""
    files = {"meta_data.json": _json(meta_data(view, version))}
    data = user_data(view.metadata)
    if data is not None:
        files["user_data"] = data
    if _since(version, "2013-04-04"):
        files["password"] = b""
    if _since(version, "2013-10-17"):
        files["vendor_data.json"] = b"{}"
    if _since(version, "2015-10-15"):
        files["network_data.json"] = _json(network_data(view))
    if _since(version, "2016-10-06"):
        files["vendor_data2.json"] = b"{}"
    return files


def content_files(view: GuestView) -> dict[str, bytes]:
    """Return the injected files, by the number under which `meta_data.json` names them."""
    return {f"{index:04}": _decode(content) or b"" for index, (_, content) in enumerate(view.metadata.files)}


def ec2_tree(view: GuestView) -> Tree:
    """Return the EC2 `meta-data` tree."""
    about = view.metadata
    addresses = [held.address for interface in view.interfaces for held in interface.port.addresses]
    tree: dict[str, Any] = {
        "ami-id": f"ami-{zlib.crc32(view.image_id.encode()):08x}",
        "ami-launch-index": str(about.launch_index),
        "ami-manifest-path": "",  # there is no manifest: an image is one file
        "block-device-mapping": {"ami": "vda", "root": "/dev/vda"},
        "hostname": about.hostname,
        "instance-action": "none",
        "instance-id": _ec2_id(view),
        "instance-type": about.flavor_name,
        "local-hostname": about.hostname,
        "local-ipv4": addresses[0] if addresses else "",
        "placement": {"availability-zone": about.availability_zone},
        "public-hostname": about.hostname,
        "public-ipv4": "",
        "reservation-id": about.reservation_id,
        "security-groups": "\n".join(about.security_groups),
    }
    if about.kernel_id:
        tree["kernel-id"] = f"aki-{zlib.crc32(about.kernel_id.encode()):08x}"
    if about.ramdisk_id:
        tree["ramdisk-id"] = f"ari-{zlib.crc32(about.ramdisk_id.encode()):08x}"
    keys = [(name, key) for name, kind, key in about.keys if kind == "ssh"]
    if keys:
        tree["public-keys"] = {
            f"{index}": {"_listed": f"{index}={name}", "openssh-key": key} for index, (name, key) in enumerate(keys)
        }
    return tree


def lookup(view: GuestView, path: str) -> tuple[str, bytes] | None:
    """Return content type and body of a metadata path, None where there is nothing."""
    parts = [part for part in path.split("/") if part]
    if not parts:
        return _text("\n".join((*EC2_VERSIONS, _LATEST)))
    if parts[0] == "openstack":
        return _openstack(view, parts[1:])
    if parts[0] in EC2_VERSIONS or parts[0] == _LATEST:
        return _ec2(view, parts[1:])
    return None


def _openstack(view: GuestView, parts: list[str]) -> tuple[str, bytes] | None:
    if not parts:
        return _text("\n".join((*OPENSTACK_VERSIONS, _LATEST)))
    if parts[0] == "content":
        content = content_files(view).get(parts[1]) if len(parts) == 2 else None
        return None if content is None else ("application/octet-stream", content)
    if parts[0] != _LATEST and parts[0] not in OPENSTACK_VERSIONS:
        return None
    files = openstack_files(view, parts[0])
    if len(parts) == 1:
        return _text("\n".join(sorted(files)))
    if len(parts) > 2 or parts[1] not in files:
        return None
    kind = "application/json" if parts[1].endswith(".json") else "application/octet-stream"
    return ("text/plain; charset=utf-8" if parts[1] == "password" else kind), files[parts[1]]


def _ec2(view: GuestView, parts: list[str]) -> tuple[str, bytes] | None:
    data = user_data(view.metadata)
    if not parts:
        return _text("meta-data/" if data is None else "meta-data/\nuser-data")
    if parts == ["user-data"]:
        return None if data is None else ("application/octet-stream", data)
    if parts[0] != "meta-data":
        return None
    level: Any = ec2_tree(view)
    for part in parts[1:]:
        if not isinstance(level, Mapping) or part.startswith("_"):
            return None
        level = level.get(part)
    if level is None:
        return None
    return _text(level if isinstance(level, str) else "\n".join(_listing(level)))


def _listing(level: Tree) -> list[str]:
    return [_entry(name, value) for name, value in sorted(level.items()) if name != "_listed"]


def _entry(name: str, value: Any) -> str:
    if isinstance(value, str):
        return name
    return str(value.get("_listed", f"{name}/"))


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
    return "text/plain; charset=utf-8", text.encode()
