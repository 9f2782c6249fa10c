"""A server's row and what it is made of, as the guest that a host is to make. Pure."""

from __future__ import annotations

from msgspec.structs import replace

from floe.core.disks import Disk
from floe.core.given import CreateSecrets
from floe.core.guest_hardware import queues_of
from floe.core.guest_metadata import describe
from floe.core.guests import Aside, GuestImage, GuestSpec, MadeOf
from floe.core.host_network import HostNetwork
from floe.core.image_signatures import unsigned
from floe.core.nics import nics_of
from floe.core.server_rescue import machine_of, rescue_disks
from floe.core.servers import Server


def guest_spec(
    server: Server,
    disks: tuple[Disk, ...],
    made_of: MadeOf,
    secrets: CreateSecrets,
    network: HostNetwork,
    zone: str,
) -> GuestSpec:
    """Return the guest; `network` is what its host is told of its ports. Raises Invalid for a rescue that cannot be."""
    mtus = {segment.network_id: segment.mtu for segment in network.segments}
    flavor, rescue, properties = server.flavor, server.rescue, server.image_properties
    aside = None
    if rescue is not None:
        aside = Aside(disks=disks, kernel=made_of.kernel, ramdisk=made_of.ramdisk)
        properties = machine_of(properties, rescue)
        disks, booted = rescue_disks(disks, rescue), rescue.made_of
        own = made_of.image if rescue.stable else booted.image
        made_of = MadeOf(image=own, kernel=booted.kernel, ramdisk=booted.ramdisk)
    queues = queues_of(flavor.extra_specs, properties, flavor.vcpus)
    return GuestSpec(
        server_id=server.id,
        name=server.guest_name,
        vcpus=flavor.vcpus,
        memory_mib=flavor.memory_mib,
        disks=disks,
        nics=nics_of(network.ports, mtus, properties, queues),
        image=made_of.image,
        kernel=made_of.kernel,
        ramdisk=made_of.ramdisk,
        rescue=None if rescue is None else rescue.made_of.image,
        aside=aside,
        metadata=describe(server, zone, admin_password=secrets.admin_password, files=secrets.files),
        extra_specs=dict(flavor.extra_specs),
    )


def made_of_own_disk(before: MadeOf, image: GuestImage) -> MadeOf:
    """Return what a guest is made of that boots its own disk, kept as an image: that, as the hardware that it had.

    This cloud kept it, and it is of nobody's signing.
    """
    properties = unsigned(before.image.properties)
    return replace(
        before, image=replace(image, checksum=image.checksum or image.sha512, sha512="", properties=properties)
    )
