"""What a create of servers takes, by microversion, and how it becomes a `NewServer`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

from floe.api.compute.fields import Flag, HostName, flag, ipv4, ipv6, multiline, printable
from floe.api.kit.body import Body, Description, Field, Metadata, Name, Uuid, at_most, either
from floe.api.kit.values import Count, whole
from floe.core import scheduler_hints
from floe.core.block_devices import BlockDevice
from floe.core.context import Context
from floe.core.errors import Forbidden, Invalid
from floe.core.hostnames import check_hostname
from floe.core.image_signatures import MOST_TRUSTED, trusted_ids
from floe.core.new_servers import NewServer
from floe.core.nics import PlannedNic
from floe.core.versions import Version

MAX_SERVERS = 1000
Tag = Annotated[str, Meta(min_length=1, max_length=60, pattern=r"^[^,/]*\Z")]
DiskConfig = Literal["AUTO", "MANUAL"]
Ready = Literal["auto", "none"]
Certificates = Annotated[list[Annotated[str, Meta(min_length=1)]], Meta(min_length=1, max_length=MOST_TRUSTED)]


class File(Struct, forbid_unknown_fields=True):
    """A file that a guest is to have, with its content in base64."""

    path: str
    contents: str


class _Group(Struct, forbid_unknown_fields=True):
    name: Annotated[str, Meta(min_length=1, max_length=255)]


_DeviceName = Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[a-zA-Z0-9._/-]*\Z")]


class _Network(Struct, forbid_unknown_fields=True):
    uuid: Uuid | None = None
    port: Uuid | None = None
    fixed_ip: str | None = None


class _TaggedNetwork(_Network, forbid_unknown_fields=True):
    tag: Tag | UnsetType = UNSET


class _Legacy(Struct, forbid_unknown_fields=True):
    virtual_name: Annotated[str, Meta(max_length=255)] | None = None
    volume_id: Uuid | None = None
    snapshot_id: Uuid | None = None
    volume_size: Count | None = None
    device_name: _DeviceName | None = None
    delete_on_termination: Flag | None = None
    no_device: Any = None
    connection_info: str | None = None


class _Device(Struct, forbid_unknown_fields=True):
    source_type: Literal["volume", "image", "snapshot", "blank"]
    destination_type: Literal["local", "volume"] | None = None
    uuid: str | None = None
    volume_size: Count | None = None
    boot_index: int | Annotated[str, Meta(pattern=r"^-?[0-9]+\Z", max_length=10)] | None = None
    guest_format: Annotated[str, Meta(max_length=255)] | None = None
    device_name: _DeviceName | None = None
    device_type: Annotated[str, Meta(max_length=255)] | None = None
    disk_bus: Annotated[str, Meta(max_length=255)] | None = None
    delete_on_termination: Flag | None = None
    no_device: Flag | None = None


class _TaggedDevice(_Device, forbid_unknown_fields=True):
    tag: Tag | UnsetType = UNSET


class _TypedDevice(_TaggedDevice, forbid_unknown_fields=True):
    volume_type: str | None = None


CREATE = Body(
    "server",
    (
        Field("name", Name, required=True),
        Field("flavorRef", str | int, required=True),
        Field("imageRef", either(Uuid, "")),
        Field("min_count", Count),
        Field("max_count", Count),
        Field("return_reservation_id", Flag),
        Field("key_name", Annotated[str, Meta(min_length=1, max_length=255)]),
        Field("security_groups", at_most(list[_Group])),
        Field("availability_zone", Annotated[str, Meta(min_length=1, max_length=255)]),
        Field("user_data", str),
        Field("metadata", Metadata),
        Field("personality", at_most(list[File]), until=(2, 56)),
        Field("adminPass", str),
        Field("block_device_mapping", at_most(list[_Legacy])),
        # Tags of disks were forgotten in all versions between these.
        Field("block_device_mapping_v2", at_most(list[_Device]), until=(2, 31)),
        Field("block_device_mapping_v2", at_most(list[_TaggedDevice]), since=(2, 32), until=(2, 32)),
        Field("block_device_mapping_v2", at_most(list[_Device]), since=(2, 33), until=(2, 41)),
        Field("block_device_mapping_v2", at_most(list[_TaggedDevice]), since=(2, 42), until=(2, 66)),
        Field("block_device_mapping_v2", at_most(list[_TypedDevice]), since=(2, 67)),
        Field("accessIPv4", str),
        Field("accessIPv6", str),
        Field("networks", at_most(list[_Network]), until=(2, 31)),
        Field("networks", at_most(list[_TaggedNetwork]), since=(2, 32), until=(2, 36)),
        Field("networks", at_most(list[_Network]) | Ready, required=True, since=(2, 37), until=(2, 41)),
        Field("networks", at_most(list[_TaggedNetwork]) | Ready, required=True, since=(2, 42)),
        Field("config_drive", Flag),
        Field("OS-DCF:diskConfig", DiskConfig),
        Field("description", Description | None, since=(2, 19)),
        Field("tags", Annotated[list[Tag], Meta(max_length=50)], since=(2, 52)),
        Field("trusted_image_certificates", Certificates | None, since=(2, 63)),
        Field("host", HostName, since=(2, 74)),
        Field("hypervisor_hostname", HostName, since=(2, 74)),
        Field("hostname", str, since=(2, 90)),
    ),
    siblings=(
        Field("os:scheduler_hints", at_most(dict[str, Any])),
        Field("OS-SCH-HNT:scheduler_hints", at_most(dict[str, Any])),
    ),
)


def new_server(body: Mapping[str, Any], version: Version, context: Context) -> NewServer:
    """Turn what `CREATE` read into a `NewServer`. Raises Invalid and Forbidden, naming the field."""
    low, high = _counts(body)
    networks = _networks(body.get("networks"), high)
    zone, host = _destination(body, context)
    hostname = body.get("hostname")
    drive = body.get("config_drive")
    description = body.get("description")
    return NewServer(
        name=printable(body["name"], "name"),
        flavor_id=str(body["flavorRef"]),
        image_id=body.get("imageRef") or None,
        min_count=low,
        max_count=high,
        # Below 2.19 a server's description is its name; the API reference says so.
        description=multiline(description, "description")
        if description is not None
        else (body["name"] if version < (2, 19) else None),
        hostname=check_hostname(hostname, dotted=version >= (2, 94)) if hostname is not None else None,
        key_name=body.get("key_name"),
        security_groups=tuple(dict.fromkeys(group.name for group in body.get("security_groups", ()))),
        zone=zone,
        host=host,
        user_data=body.get("user_data"),
        metadata=body.get("metadata", {}),
        files=tuple((file.path, file.contents) for file in body.get("personality", ())),
        admin_password=body.get("adminPass") or None,
        block_devices=_devices(body),
        access_ipv4=ipv4(body.get("accessIPv4"), "accessIPv4"),
        access_ipv6=ipv6(body.get("accessIPv6"), "accessIPv6"),
        networks=networks,
        config_drive=flag(drive, "config_drive") if drive is not None else None,
        disk_config=body.get("OS-DCF:diskConfig"),
        hints=scheduler_hints.checked(
            {**body.get("OS-SCH-HNT:scheduler_hints", {}), **body.get("os:scheduler_hints", {})}
        ),
        tags=tuple(dict.fromkeys(body.get("tags", ()))),
        trusted_certificates=trusted_ids(body.get("trusted_image_certificates")),
    )


def _counts(body: Mapping[str, Any]) -> tuple[int, int]:
    low = whole(body.get("min_count", 1), "min_count", 1, MAX_SERVERS)
    high = whole(body.get("max_count", low), "max_count", 1, MAX_SERVERS)
    if low > high:
        raise Invalid(f"min_count must be <= max_count (they are {low} and {high}).")
    return low, high


def _networks(asked: Sequence[_Network] | Ready | None, servers: int) -> tuple[PlannedNic, ...] | Ready | None:
    if asked is None or isinstance(asked, str):
        return asked
    found: list[PlannedNic] = []
    for index, network in enumerate(asked):
        place = f"networks[{index}]"
        if network.port is None and network.uuid is None:
            raise Invalid(f"{place}: name a network in uuid, or a port in port.")
        if network.port is not None and network.fixed_ip is not None:
            raise Invalid(
                f"{place}: Specified fixed IP {network.fixed_ip!r} cannot be used with a port, which has its own."
            )
        if servers > 1 and (network.port is not None or network.fixed_ip is not None):
            raise Invalid(f"{place}: a port or a fixed_ip can serve one server only, and max_count is {servers}.")
        found.append(
            PlannedNic(
                network_id=network.uuid or "",
                port_id=network.port,
                fixed_ip=ipv4(network.fixed_ip, f"{place}.fixed_ip"),
                made=network.port is None,
                device_tag=_tag(network),
            )
        )
    # An empty list has always meant the same as none at all: take the network there is.
    return tuple(found) or None


def _destination(body: Mapping[str, Any], context: Context) -> tuple[str | None, str | None]:
    """Read where the server shall go: `zone`, `zone:host`, `zone:host:node`, `host` and `hypervisor_hostname`."""
    parts = (body.get("availability_zone") or "").split(":")
    if len(parts) > 3:
        raise Invalid(f"Unable to parse availability_zone {':'.join(parts)!r}: at most zone:host:node is meant.")
    zone, *forced = parts
    named = [name for name in (*forced, body.get("host"), body.get("hypervisor_hostname")) if name]
    if forced and (body.get("host") or body.get("hypervisor_hostname")):
        raise Invalid("Name a host in availability_zone or in host and hypervisor_hostname, not in both.")
    if named and not context.is_admin:
        raise Forbidden(f"Only administrators may choose a host (asked for {named[0]!r}).")
    if len(set(named)) > 1:
        raise Invalid(f"Host and hypervisor are one here, so {named[0]!r} and {named[1]!r} cannot both be meant.")
    return zone or None, named[0] if named else None


def _devices(body: Mapping[str, Any]) -> tuple[BlockDevice, ...]:
    legacy, devices = body.get("block_device_mapping", ()), body.get("block_device_mapping_v2", ())
    if legacy and devices:
        raise Invalid("Using different block_device_mapping syntaxes is not allowed in the same request.")
    return tuple(
        _of_legacy(each, index) if isinstance(each, _Legacy) else _device(each, index)
        for index, each in enumerate(legacy or devices)
    )


def _of_legacy(device: _Legacy, index: int) -> BlockDevice:
    place, name = f"block_device_mapping[{index}]", device.virtual_name or ""
    if device.volume_id or device.snapshot_id:
        raise Invalid(f"{place} maps a volume, and this cloud has no volume service; map 'swap' or 'ephemeral0'.")
    if not re.fullmatch(r"swap|ephemeral(\d|[1-9]\d+)", name):
        raise Invalid(
            f"Block Device Mapping is Invalid: Unrecognized legacy format. {place}: virtual_name must be 'swap', "
            f"'ephemeral0' or the like (it is {name[:80]!r})."
        )
    return BlockDevice(
        source="blank",
        destination="local",
        size=whole(device.volume_size, f"{place}.volume_size") if device.volume_size else None,
        guest_format="swap" if name == "swap" else None,
    )


def _device(device: _Device, index: int) -> BlockDevice:
    place = f"block_device_mapping_v2[{index}]"
    if isinstance(device, _TypedDevice) and device.volume_type is not None:
        raise Invalid(f"{place}: volume_type {device.volume_type!r} is not supported for local disks.")
    if device.no_device is not None and flag(device.no_device, f"{place}.no_device"):
        raise Invalid(f"{place}: no_device takes a device of the image away, and images here have none.")
    if (
        device.delete_on_termination is not None
        and not flag(device.delete_on_termination, f"{place}.delete_on_termination")
        and device.destination_type != "volume"
    ):
        raise Invalid(f"{place}: a local disk always goes with its server; delete_on_termination cannot be false.")
    return BlockDevice(
        source=device.source_type,
        destination=device.destination_type,
        uuid=device.uuid,
        size=None if device.volume_size is None else whole(device.volume_size, f"{place}.volume_size"),
        boot_index=None if device.boot_index is None else int(device.boot_index),
        guest_format=device.guest_format or None,
        disk_bus=device.disk_bus or None,
        device_type=device.device_type or None,
        tag=_tag(device),
    )


def _tag(device: _Network | _Device) -> str:
    tag = device.tag if isinstance(device, _TaggedNetwork | _TaggedDevice) else UNSET
    return "" if tag is UNSET else tag
