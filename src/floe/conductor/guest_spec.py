"""A server's row and what its create brought, as the guest that a host is to make. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from floe.core.block_devices import blank_sizes
from floe.core.guest_metadata import describe
from floe.core.guests import GuestImage, GuestPort, GuestSpec
from floe.core.host_network import HostNetwork
from floe.core.servers import Server


def guest_spec(server: Server, given: Mapping[str, Any], network: HostNetwork, zone: str) -> GuestSpec:
    """Return the guest; `given` is the create action's input, `network` what its host is told of its ports."""
    mtus = {segment.network_id: segment.mtu for segment in network.segments}
    flavor = server.flavor
    ephemeral_gib, swap_mib = blank_sizes(server)
    return GuestSpec(
        server_id=server.id,
        name=server.guest_name,
        vcpus=flavor.vcpus,
        memory_mib=flavor.memory_mib,
        root_gib=flavor.root_gib,
        ephemeral_gib=ephemeral_gib,
        swap_mib=swap_mib,
        image=msgspec.convert(given["image"], GuestImage),
        kernel=_image(given.get("kernel")),
        ramdisk=_image(given.get("ramdisk")),
        ports=tuple(
            GuestPort(port_id=port.port_id, mac=port.mac, tap=port.tap, mtu=mtus[port.network_id])
            for port in sorted(network.ports, key=lambda port: port.nic)
        ),
        metadata=describe(
            server,
            zone,
            admin_password=given.get("admin_password"),
            files=[(path, content) for path, content in given.get("files", ())],
        ),
        config_drive=server.config_drive,
        extra_specs=dict(flavor.extra_specs),
    )


def _image(value: Mapping[str, Any] | None) -> GuestImage | None:
    return msgspec.convert(value, GuestImage) if value else None
