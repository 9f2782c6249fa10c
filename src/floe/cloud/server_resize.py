"""Resize: a server gets another flavor, keeps what it was until that is confirmed or reverted; done by a conductor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from msgspec import structs

from floe.cloud import flavors, host_networks, places, quotas, server_ports, server_power, servers
from floe.cloud.cloud import Cloud
from floe.core import ahead, disk_config, extra_specs
from floe.core.actions import CONFIRM_RESIZE, MIGRATE, RESIZE, REVERT_RESIZE, Action, Begins
from floe.core.context import Context
from floe.core.disks import (
    EPHEMERAL,
    MIB_PER_GIB,
    ROOT,
    SWAP,
    SWAPPING,
    Blank,
    ConfigDrive,
    Disk,
    Overlay,
    blank,
    displaced,
    is_ephemeral,
    placed,
    root_device,
)
from floe.core.errors import Conflict, FloeError, Forbidden, Invalid
from floe.core.given import ResizeGiven
from floe.core.guest_hardware import check_memory, hardware_of
from floe.core.host_network import HostPort
from floe.core.hosts import FORMER, RUNNING
from floe.core.ids import derived
from floe.core.new_servers import check_image_fits
from floe.core.power import Power, Wanted
from floe.core.server_migrations import (
    CONFIRMED,
    CONFIRMING,
    FAILED,
    OF_MIGRATION,
    OF_RESIZE,
    REVERTED,
    REVERTING,
    ServerMigration,
)
from floe.core.server_resize import Asked
from floe.core.servers import RESIZE_REVERTING, STOPPED, Former, Server, ServerFlavor
from floe.store import actions, allocations, hosts, images, server_disks, server_migrations
from floe.store import places as place_rows
from floe.store import servers as rows
from floe.store.engine import Connection

_NO_DISK = "Server disk was unable to be resized because: "


async def resize(cloud: Cloud, context: Context, server_id: str, asked: Asked) -> None:
    """Have a server resized. Its row is what was asked for from now on, and what it was again should that fail.

    Raises NotFound, Invalid, Forbidden, OverQuota; Conflict for a server that is locked, or in no state for it.
    """
    await _begin(cloud, context, server_id, RESIZE, asked)


async def migrate(cloud: Cloud, context: Context, server_id: str, host: str | None = None) -> None:
    """Have a server be on another host, or on that one, as what it is. Raises as `resize` does; Invalid for a host."""
    await _begin(cloud, context, server_id, MIGRATE, Asked(host=host))


async def _begin(cloud: Cloud, context: Context, server_id: str, begins: Begins, asked: Asked) -> None:
    """Begin what makes a server another one beside what it was."""
    now, action_id, image_id = cloud.clock.now(), cloud.new_id(), cloud.new_id()

    def begin(conn: Connection) -> Action:
        known = actions.get(conn, action_id)  # of a run whose commit was not answered
        if known is not None:
            return known
        server = servers.changeable(conn, context, server_id)
        servers.check_state(server, begins)
        server_power.check_free(server, begins.kind)
        server_power.check_nics(conn, server_id, begins.kind)
        _check_up(conn, server, begins, now)
        if asked.host is not None:
            _check_host(conn, cloud, server, asked.host, now)
        flavor = server.flavor if begins is MIGRATE else _flavor(conn, context, server, asked.flavor_id)
        wanted, had = _wanted(server, server.vm_state, now), server_disks.of_server(conn, server)
        given = ResizeGiven(
            host=server.host or "",
            wanted=wanted,
            patience=server_power.patience(server, cloud.settings.shutdown_timeout),
            disks=had,
            makes=_disks(server, flavor, had, wanted.generation),
            image_id=image_id,
            others={disk.role: derived(image_id, disk.role) for disk in had if is_ephemeral(disk)},
            away=begins is MIGRATE,
            to=asked.host,
        )
        _demand_room(conn, server, flavor)
        action = servers.new_action(action_id, context, server, begins, now, given)
        servers.begin(conn, server, begins, action, guest_generation=wanted.generation, boots=wanted.boots)
        former = Former(
            flavor=server.flavor,
            disks=had,
            vm_state=server.vm_state,
            disk_config=server.disk_config,
            root_device=server.root_device,
            at=now,
            host=server.host or "",
            made_of=server.made_of,
        )
        changes = {"former": former, "root_device": root_device(given.makes)}
        if asked.disk_config is not None:
            changes["disk_config"] = disk_config.changed(asked.disk_config, server.image_properties)
        rows.resize(conn, server_id, flavor, beside=server.flavor, **changes)
        server_disks.replace(conn, server_id, given.makes)
        server_migrations.insert(conn, _migration(context, action, server, flavor))
        return action

    await cloud.hand_over(await cloud.db.write(begin))


async def confirm(cloud: Cloud, context: Context, server_id: str) -> None:
    """Have what a server was before its resize be dropped. Raises NotFound and Conflict."""
    await _settle(cloud, context, server_id, CONFIRM_RESIZE)


async def revert(cloud: Cloud, context: Context, server_id: str) -> None:
    """Have a server be what it was before its resize. Raises NotFound and Conflict."""
    await _settle(cloud, context, server_id, REVERT_RESIZE)


async def confirm_old(cloud: Cloud) -> int:
    """Have those resizes be confirmed that have waited for longer than `resize_confirm_window`; return how many."""
    window = cloud.settings.resize_confirm_window
    if not window:
        return 0
    before, done = cloud.clock.now() - timedelta(seconds=window), 0
    for server in await cloud.db.scan(lambda conn: rows.resized(conn, before)):
        request_id, roles = f"req-{cloud.new_id()}", frozenset({"admin"})  # also where its owner locked it
        context = Context(request_id=request_id, user_id=server.user_id, project_id=server.project_id, roles=roles)
        try:
            await confirm(cloud, context, server.id)
        except FloeError:
            continue  # its user was quicker, or deleted it
        done += 1
    return done


async def _settle(cloud: Cloud, context: Context, server_id: str, begins: Begins) -> None:
    """Begin what ends a resize, either way."""
    now, action_id = cloud.clock.now(), cloud.new_id()

    def begin(conn: Connection) -> Action:
        known = actions.get(conn, action_id)
        if known is not None:
            return known
        server = servers.changeable(conn, context, server_id)
        servers.check_state(server, begins)
        server_power.check_free(server, begins.kind)
        if server.former is None:
            raise Conflict(f"Instance {server_id} has not been resized.")
        wanted = _wanted(server, server.former.vm_state, now)
        given = ResizeGiven(host=server.host or "", wanted=wanted, makes=server.former.disks, left=server.left)
        action = servers.new_action(action_id, context, server, begins, now, given)
        told: dict[str, Any] = {"guest_generation": wanted.generation}
        if begins is REVERT_RESIZE:
            told["boots"] = wanted.boots
        servers.begin(conn, server, begins, action, **told)
        server_migrations.note(conn, server_id, REVERTING if begins is REVERT_RESIZE else CONFIRMING, now)
        return action

    await cloud.hand_over(await cloud.db.write(begin))


# -- in the workflows' transactions -----------------------------------------------------------------------


def restore(conn: Connection, server: Server, now: datetime, **more: Any) -> None:
    """Have a server be what it was before its resize; `more` are columns that it gets besides."""
    former = server.former
    if former is None:
        return
    server_disks.replace(conn, server.id, former.disks)
    held = allocations.of_server(conn, server.id)
    if any(claim.purpose == FORMER for claim in held):  # else nothing was claimed for the resize yet
        allocations.release(conn, server.id, now, purpose=RUNNING)
        allocations.repurpose(conn, server.id, FORMER, RUNNING)
    kept = {"disk_config": former.disk_config, "root_device": former.root_device, "former": None}
    rows.resize(conn, server.id, former.flavor, **{**kept, **more}, updated_at=now)
    status = REVERTED if server.task_state == RESIZE_REVERTING else FAILED
    server_migrations.note(conn, server.id, status, now)


def bring_home(conn: Connection, server: Server, host: str, now: datetime, **more: Any) -> None:
    """Have a server that moved, or was about to, be what it was, and its ports on the host that it was on.

    That host has to be told of these: a guest that stays off brings no command with them.
    """
    if server.host != host:
        server_ports.unplug(conn, server.id, now, ahead=False)
        place = place_rows.get(conn, host, now)
        if bind(conn, server, host, place.zone if place else "", now):
            host_networks.touch_hosts(conn, (host,))
    made = server.former.made_of if server.former else server.made_of
    restore(conn, server, now, host=host, made_of=made, **more)


def bind(conn: Connection, server: Server, host: str, zone: str, now: datetime) -> Sequence[HostPort]:
    """Have the ports of a server be on another host than they are on."""
    return server_ports.bind(
        conn,
        now=now,
        server_id=server.id,
        project_id=server.project_id,
        host=host,
        zone=zone,
        hostname=server.hostname,
        planned=server.networks,
    )


def forget(conn: Connection, server_id: str, now: datetime, **more: Any) -> None:
    """Have a server be what its resize made of it, for good."""
    allocations.release(conn, server_id, now, purpose=FORMER)
    server = rows.get(conn, server_id)
    if server is not None:
        rows.resize(conn, server_id, server.flavor, **{"former": None, **more}, updated_at=now)
    server_migrations.note(conn, server_id, CONFIRMED, now)


def former_of(server: Server) -> Server:
    """Return a server as it was before its resize."""
    former = server.former
    if former is None:
        return server
    return structs.replace(server, flavor=former.flavor, root_device=former.root_device, former=None)


def _migration(context: Context, action: Action, server: Server, flavor: ServerFlavor) -> ServerMigration:
    return ServerMigration(
        id=action.id,
        server_id=server.id,
        project_id=context.project_id or server.project_id,
        user_id=context.user_id,
        kind=OF_MIGRATION if action.kind == MIGRATE.kind else OF_RESIZE,
        old_flavor_id=server.flavor.flavor_id,
        new_flavor_id=flavor.flavor_id,
        source=server.host or "",
        created_at=action.created_at,
    )


# -- what a resize is checked against ---------------------------------------------------------------------


def _check_host(conn: Connection, cloud: Cloud, server: Server, host: str, now: datetime) -> None:
    """Raise Invalid for a host that a server cannot move to, whatever room there is."""
    if host == server.host:
        raise Invalid(f"Server {server.id} cannot be migrated to host {host!r}: it is there.")
    places.check(conn, cloud.settings.availability_zone, now, zone=server.requested_zone, host=host)


def _check_up(conn: Connection, server: Server, begins: Begins, now: datetime) -> None:
    """Raise Conflict for a server whose host is down: what is on its disks could go nowhere, as in Nova."""
    host = hosts.get(conn, server.host) if server.host else None
    if host is not None and not host.is_up(now):
        raise Conflict(f"Cannot '{begins.kind}' instance {server.id}: its host is down.")


def _flavor(conn: Connection, context: Context, server: Server, flavor_id: str) -> ServerFlavor:
    """Return the flavor that a server is to have. Raises Invalid, Forbidden."""
    flavor, now = flavors.usable(conn, context, flavor_id), server.flavor
    if flavor.flavor_id == now.flavor_id:
        raise Invalid("When resizing, instances must change flavor!")
    if flavor.root_gib == 0 and now.root_gib:
        raise Invalid(f"{_NO_DISK}Resize to zero disk flavor is not allowed.")
    if flavor.root_gib == 0 and not context.is_admin:
        raise Forbidden(f"Flavor {flavor.name} has a root disk of 0 GiB; only administrators may use it.")
    extra_specs.check_obeyed(flavor)
    hardware_of(flavor.extra_specs, server.image_properties, flavor.vcpus)
    check_memory(flavor.memory_mib, server.image_properties)
    image = images.get(conn, server.image_id) if server.image_id else None
    if image is not None:
        check_image_fits(
            flavor,
            image_id=image.id,
            min_disk_gib=image.min_disk,
            min_ram_mib=image.min_ram,
            virtual_size=image.virtual_size or 0,
        )
    return flavor


def _demand_room(conn: Connection, server: Server, flavor: ServerFlavor) -> None:
    """Raise OverQuota where its project, or its user there, has no room for what the server takes more than now."""
    more = {"cores": flavor.vcpus - server.flavor.vcpus, "ram": flavor.memory_mib - server.flavor.memory_mib}
    room = quotas.room_of_user(conn, server.project_id, server.user_id)
    room.demand({name: amount for name, amount in more.items() if amount > 0})


def _wanted(server: Server, vm_state: str, now: datetime) -> Wanted:
    """Return what the guest is to be: off if the server was stopped before its resize, else running."""
    generation = ahead.after(max(server.guest_generation, server.boots), now)
    if vm_state == STOPPED:
        return Wanted(power=Power.STOPPED, boots=server.boots, generation=generation)
    return Wanted(power=Power.RUNNING, boots=generation, generation=generation)


def _disks(server: Server, flavor: ServerFlavor, had: Sequence[Disk], make: int) -> tuple[Disk, ...]:
    """Return the disks that a server of a flavor has, made from those that it had. Raises Invalid if one shrinks."""
    properties = server.image_properties
    root, *others = displaced(had, properties)
    assert isinstance(root, Overlay)
    size = _size(ROOT, root.size_mib, server.flavor.root_gib * MIB_PER_GIB, flavor.root_gib * MIB_PER_GIB)
    swap = next((disk for disk in others if disk.role == SWAP), blank(SWAP, 0, SWAPPING))
    assert isinstance(swap, Blank)
    wanted: list[Disk] = [
        structs.replace(root, size_mib=size, base_make=root.stands_on),
        *_ephemerals([disk for disk in others if is_ephemeral(disk)], server.flavor, flavor),
        structs.replace(swap, size_mib=_size(SWAP, swap.size_mib, server.flavor.swap_mib, flavor.swap_mib)),
    ]
    drive = any(isinstance(disk, ConfigDrive) for disk in had)
    planned = placed(
        [disk for disk in wanted if getattr(disk, "size_mib", 0) or disk.role == ROOT], properties, config_drive=drive
    )
    same = [disk.role for disk in planned] == [disk.role for disk in had]
    return tuple(
        structs.replace(disk, make=make, device=old.device, bus=old.bus, boot_index=old.boot_index)
        for disk, old in zip(planned, had if same else planned, strict=True)
    )


def _ephemerals(had: Sequence[Blank], old: ServerFlavor, new: ServerFlavor) -> list[Blank]:
    """Return a server's disks for files: one follows its flavor, of several each stays as large as it is."""
    least, most = old.ephemeral_gib * MIB_PER_GIB, new.ephemeral_gib * MIB_PER_GIB
    if len(had) > 1:
        _size(EPHEMERAL, sum(disk.size_mib for disk in had), least, most)
        return list(had)
    one = had[0] if had else blank(EPHEMERAL, 0)
    return [structs.replace(one, size_mib=_size(EPHEMERAL, one.size_mib, least, most))]


def _size(role: str, now: int, old: int, new: int) -> int:
    """Return how many MiB a disk is to have that has so many now, where the flavors say `old` and `new`."""
    if old == new and (now or role == ROOT):
        return now  # it may have been asked for smaller than the flavor's
    if role == SWAP or not now or new >= now:
        return new
    what = "root" if role == ROOT else "ephemeral"
    raise Invalid(f"{_NO_DISK}The {what} disk has {now} MiB, and the flavor only {new} MiB: a disk cannot get smaller.")
