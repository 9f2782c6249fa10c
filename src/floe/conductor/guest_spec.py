"""A server's row and what it is made of, as the guest that a host is to make. Pure."""

from __future__ import annotations

from floe.core.disks import Disk
from floe.core.given import CreateSecrets
from floe.core.guest_hardware import queues_of
from floe.core.guest_metadata import describe
from floe.core.guests import GuestSpec, MadeOf
from floe.core.host_network import HostNetwork
from floe.core.nics import nics_of
from floe.core.servers import Server


def guest_spec(
    server: Server,
    disks: tuple[Disk, ...],
    made_of: MadeOf,
    secrets: CreateSecrets,
    network: HostNetwork,
    zone: str,
) -> GuestSpec:
    """Return the guest; `network` is what its host is told of its ports."""
    mtus = {segment.network_id: segment.mtu for segment in network.segments}
    flavor = server.flavor
    queues = queues_of(flavor.extra_specs, server.image_properties, flavor.vcpus)
    return GuestSpec(
        server_id=server.id,
        name=server.guest_name,
        vcpus=flavor.vcpus,
        memory_mib=flavor.memory_mib,
        disks=disks,
        nics=nics_of(network.ports, mtus, server.image_properties, queues),
        image=made_of.image,
        kernel=made_of.kernel,
        ramdisk=made_of.ramdisk,
        metadata=describe(server, zone, admin_password=secrets.admin_password, files=secrets.files),
        extra_specs=dict(flavor.extra_specs),
    )
