"""A server's row and what its create brought, as the guest that a host is to make. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from floe.core.disks import Disk
from floe.core.guest_metadata import describe
from floe.core.guests import GuestImage, GuestSpec
from floe.core.host_network import HostNetwork
from floe.core.nics import VIF_MODELS, Tap
from floe.core.servers import Server


def guest_spec(
    server: Server, disks: tuple[Disk, ...], given: Mapping[str, Any], network: HostNetwork, zone: str
) -> GuestSpec:
    """Return the guest; `given` is the create action's input, `network` what its host is told of its ports."""
    mtus = {segment.network_id: segment.mtu for segment in network.segments}
    flavor = server.flavor
    model = server.image_properties.get("hw_vif_model") or VIF_MODELS[0]
    return GuestSpec(
        server_id=server.id,
        name=server.guest_name,
        vcpus=flavor.vcpus,
        memory_mib=flavor.memory_mib,
        disks=disks,
        nics=tuple(
            Tap(port_id=port.port_id, mac=port.mac, device=port.tap, mtu=mtus[port.network_id], model=model)
            for port in sorted(network.ports, key=lambda port: port.nic)
        ),
        image=msgspec.convert(given["image"], GuestImage),
        kernel=_image(given.get("kernel")),
        ramdisk=_image(given.get("ramdisk")),
        metadata=describe(
            server,
            zone,
            admin_password=given.get("admin_password"),
            files=[(path, content) for path, content in given.get("files", ())],
        ),
        extra_specs=dict(flavor.extra_specs),
    )


def _image(value: Mapping[str, Any] | None) -> GuestImage | None:
    return msgspec.convert(value, GuestImage) if value else None
