"""What a create needs from the rows: flavor, image, key, group, room in the quota; each refusal names its field."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

import msgspec

from floe.cloud import auto_allocated, flavors, images, places, quotas, server_ports
from floe.cloud.cloud import Cloud
from floe.cloud.quotas import Room
from floe.core import disk_config, extra_specs, hostnames, image_properties, scheduler_hints
from floe.core.actions import CREATE
from floe.core.block_devices import boot_image, planned
from floe.core.context import Context
from floe.core.disks import Disk
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound
from floe.core.given import CreateGiven
from floe.core.guest_hardware import check_memory, hardware_of
from floe.core.guests import GuestImage, MadeOf
from floe.core.image_signatures import demand_signed
from floe.core.images import ACTIVE, Image
from floe.core.keypairs import AFTER, Keypair
from floe.core.new_servers import NewServer, check_files, check_image_fits, check_metadata, check_user_data
from floe.core.nics import PlannedNic
from floe.core.properties import warning
from floe.core.quotas import demand
from floe.core.servers import Server, ServerFlavor
from floe.store import actions, keypairs, networks, quota_usages, security_groups, server_groups
from floe.store import images as image_rows
from floe.store import servers as rows
from floe.store.engine import Connection
from floe.store.foresight import Read, foresee


class Boot(msgspec.Struct, frozen=True, kw_only=True):
    """An image that a server may boot from, with all it needs."""

    image: Image
    made_of: MadeOf


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """A create that was found good: how many servers, and what they are all made of."""

    count: int
    flavor: ServerFlavor
    boot: Boot
    given: CreateGiven
    """What the action of each server is given."""
    keypair: Keypair | None
    nics: tuple[PlannedNic, ...]
    disks: tuple[Disk, ...]
    security_groups: tuple[str, ...]
    """Names of the groups that the servers' ports will be in."""
    group_id: str | None
    config_drive: bool
    disk_config: str
    trusted_certificates: tuple[str, ...] | None
    quota_owner: str | None


def plan(
    conn: Connection,
    cloud: Cloud,
    context: Context,
    project_id: str,
    new: NewServer,
    fresh: str,
    now: datetime,
    seed: str,
) -> Plan:
    """Check a create against everything that is known before a host is chosen.

    The project's default security group is made as `fresh` if it is not there; what `auto` makes for want of a network
    has ids that follow from `seed`, and stays whatever becomes of the servers.

    Raises Invalid for what cannot be, Forbidden and OverQuota for what may not be, Conflict where a network must be
    named.
    """
    foresee(conn, *_first_reads(context, project_id, new))
    flavor = flavors.usable(conn, context, new.flavor_id)
    image_id = boot_image(new.block_devices, new.image_id)
    trusted = trusted_by(cloud, new.trusted_certificates)
    boot = boot_of(conn, context, flavor, image_id, trusted)
    image, made_of = boot.image, boot.made_of
    room = quotas.room_of_user(conn, project_id, context.user_id)
    check_metadata(new.metadata, room.lower)
    check_files(new.files, room.lower)
    if new.user_data is not None:
        check_user_data(new.user_data)
    key = keypair(conn, context, new.key_name)
    places.check(conn, cloud.settings.availability_zone, now, zone=new.zone, host=new.host)
    count = _count(new, flavor, room)
    group_id, count = _group(conn, context, project_id, new, count, room.lower)
    ports = _ports(conn, cloud, context, project_id, _networks(new, count), room, fresh, now, seed)
    config_drive = wants_drive(image) if new.config_drive is None else new.config_drive
    return Plan(
        count=ports.count,
        flavor=flavor,
        boot=boot,
        given=CreateGiven(
            image=made_of.image,
            kernel=made_of.kernel,
            ramdisk=made_of.ramdisk,
            warning=warning(scheduler_hints.unheeded(new.hints)),
            least=new.min_count,
            together=count,
        ),
        keypair=key,
        nics=ports.nics,
        disks=_disks(new, flavor, image, config_drive),
        security_groups=ports.groups,
        group_id=group_id,
        config_drive=config_drive,
        disk_config=disk_config.kept(new.disk_config, image.properties),
        trusted_certificates=trusted,
        quota_owner=room.quota_owner,
    )


def trusted_by(cloud: Cloud, named: tuple[str, ...] | None) -> tuple[str, ...] | None:
    """Return the certificates under which all is to be signed that a server boots, which names these; None is any."""
    return named or cloud.settings.trusted_image_certificates or None


def _disks(new: NewServer, flavor: ServerFlavor, image: Image, config_drive: bool) -> tuple[Disk, ...]:
    """Return the disks of each server. Raises Invalid for some that its machine cannot have."""
    disks = planned(
        new.block_devices, flavor, image_id=image.id, properties=image.properties, config_drive=config_drive
    )
    check_buses(flavor, image, disks)
    return disks


def check_buses(flavor: ServerFlavor, image: Image, disks: Sequence[Disk]) -> None:
    """Raise Invalid where a machine of that flavor and image has no bus for one of some disks."""
    hardware_of(flavor.extra_specs, image.properties, flavor.vcpus, [disk.bus for disk in disks])


def _check_hardware(flavor: ServerFlavor, image: Image) -> None:
    """Raise Invalid for what flavor or image ask of a guest that is not done here, or that contradicts itself."""
    extra_specs.check_obeyed(flavor)
    image_properties.check_obeyed(image.id, image.properties)
    hardware_of(flavor.extra_specs, image.properties, flavor.vcpus)
    check_memory(flavor.memory_mib, image.properties)


def boot_of(
    conn: Connection, context: Context, flavor: ServerFlavor, image_id: str, trusted: Sequence[str] | None
) -> Boot:
    """Return what a server of a flavor boots from that is given an image. Raises Invalid, Forbidden.

    Where certificates are `trusted`, all of it has to be signed.
    """
    image = _bootable(conn, context, image_id)
    _check_hardware(flavor, image)
    _check_size(context, flavor, image)
    made_of = MadeOf(
        image=images.guest_image(image),
        kernel=_boot_file(conn, context, image, "kernel"),
        ramdisk=_boot_file(conn, context, image, "ramdisk"),
    )
    check_signatures(made_of, trusted)
    return Boot(image=image, made_of=made_of)


def check_signatures(made_of: MadeOf, trusted: Sequence[str] | None) -> None:
    """Raise Invalid where an image cannot be verified; by which certificate is seen before a host is asked for it."""
    for each in (made_of.image, made_of.kernel, made_of.ramdisk):
        if each is not None:
            demand_signed(each.image_id, each.properties, trusted)


def made_of(conn: Connection, server: Server) -> MadeOf:
    """Return the images that a server's guest is made of: of its last rebuild, else of its create. Raises NotFound."""
    if server.made_of is not None:
        return server.made_of
    made = actions.find(conn, server.id, kind=CREATE.kind, limit=1)
    if not made:
        raise NotFound("server", server.id)
    given = msgspec.convert(made[0].input, CreateGiven)
    return MadeOf(image=given.image, kernel=given.kernel, ramdisk=given.ramdisk)


def wants_drive(image: Image) -> bool:
    """Say whether what boots from an image has to have a config drive."""
    return image.properties.get("img_config_drive") == "mandatory"


def _first_reads(context: Context, project_id: str, new: NewServer) -> tuple[Read, ...]:
    """Return what a create reads whatever else it asks for."""
    ready = new.networks == "auto"
    return (
        partial(flavors.seen, context=context, flavor_id=new.flavor_id),
        partial(image_rows.get, image_id=boot_image(new.block_devices, new.image_id)),
        partial(quotas.room_of_user, project_id=project_id, user_id=context.user_id),
        partial(security_groups.default_id, project_id=project_id),
        *([partial(networks.usable, project_id=project_id, limit=2, ready=ready)] if ready or not new.networks else []),
    )


def _ports(
    conn: Connection,
    cloud: Cloud,
    context: Context,
    project_id: str,
    wanted: server_ports.Wanted,
    room: Room,
    fresh: str,
    now: datetime,
    seed: str,
) -> server_ports.Planned:
    allocate = partial(auto_allocated.network, conn, cloud, context, project_id, seed, now)
    try:
        return server_ports.plan(conn, context, wanted, room, fresh, now, allocate)
    except NotFound as error:
        raise Invalid(error.message) from error


def _networks(new: NewServer, count: int) -> server_ports.Wanted:
    return server_ports.Wanted(
        networks=new.networks,
        groups=new.security_groups,
        hostname=new.hostname or hostnames.hostname_of(new.name, ""),
        least=new.min_count,
        most=count,
    )


def _check_size(context: Context, flavor: ServerFlavor, image: Image) -> None:
    check_image_fits(
        flavor,
        image_id=image.id,
        min_disk_gib=image.min_disk,
        min_ram_mib=image.min_ram,
        virtual_size=image.virtual_size or 0,
    )
    if flavor.root_gib == 0 and not context.is_admin:
        raise Forbidden(
            f"Flavor {flavor.name} has a root disk of 0 GiB, which would be as large as the image; "
            "only administrators may use it. Choose a flavor with a disk."
        )


def _bootable(conn: Connection, context: Context, image_id: str) -> Image:
    try:
        return images.bootable(conn, context, image_id)
    except NotFound:
        raise Invalid(f"Can not find requested image: imageRef {image_id!r} is no image you can see.") from None
    except Conflict as error:
        raise Invalid(error.message) from error


def _boot_file(conn: Connection, context: Context, booted: Image, role: str) -> GuestImage | None:
    if not (ident := booted.properties.get(f"{role}_id")):
        return None
    try:
        image = images.visible(conn, context, ident)
    except NotFound:
        raise Invalid(f"Image {booted.id} boots with {role}_id {ident!r}, which is no image you can see.") from None
    if image.status != ACTIVE:
        raise Invalid(f"Image {booted.id} boots with {role}_id {ident}, which is {image.status}, not active.")
    return images.guest_image(image)


def keypair(conn: Connection, context: Context, name: str | None) -> Keypair | None:
    """Return the keypair of a caller. Raises Invalid where there is none of that name."""
    if name is None:
        return None
    found = keypairs.get(conn, context.user_id, name)
    if found is None:
        raise Invalid(f"Invalid key_name provided: you have no keypair named {name!r}.")
    return found


def keys_of(key: Keypair | None) -> tuple[tuple[str, str, str], ...]:
    """Return the keys that a guest is given: name, type, public key."""
    return ((key.name, key.type, key.public_key.rstrip(AFTER)),) if key else ()


def _count(new: NewServer, flavor: ServerFlavor, room: Room) -> int:
    """Return how many of `min_count` to `max_count` servers the quota has room for."""
    each_takes = {"instances": 1, "cores": flavor.vcpus, "ram": flavor.memory_mib}
    count = min(room.times(resource, each, new.max_count) for resource, each in each_takes.items())
    if count < new.min_count:
        room.demand({resource: each * new.min_count for resource, each in each_takes.items()})
    return count


def _group(
    conn: Connection, context: Context, project_id: str, new: NewServer, count: int, limits: Mapping[str, int]
) -> tuple[str | None, int]:
    """Return the server group asked for, and how many of `count` servers it has room for."""
    for name in ("same_host", "different_host"):
        for ident in new.hints.get(name, ()):
            server = rows.get(conn, ident)
            if server is None or not (context.is_admin or server.project_id == project_id):
                raise Invalid(f"Scheduler hint {name} names server {ident!r}, and there is no such server.")
    group_id = new.hints.get("group")
    if group_id is None:
        return None, count
    group = server_groups.get(conn, group_id)
    if group is None or not context.owns(group.project_id):
        raise Invalid(f"Scheduler hint group names server group {group_id!r}, and there is no such group.")
    members = quota_usages.of(conn, group.id)["server_group_members"]
    if limits["server_group_members"] >= 0:
        count = min(count, limits["server_group_members"] - members)
    if count < new.min_count:
        demand(limits, {"server_group_members": (new.min_count, members)})
    return group.id, count
