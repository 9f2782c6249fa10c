"""Rebuild: a server gets other disks, and becomes what else was asked for; noted here, done by a conductor."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from msgspec import structs

from floe.cloud import new_servers, quotas, sealing, server_ports, server_power, servers
from floe.cloud.cloud import Cloud
from floe.cloud.new_servers import Boot
from floe.core import ahead, disk_config
from floe.core.actions import REBUILD, Action
from floe.core.context import Context
from floe.core.disks import Blank, Disk, Overlay, displaced, placed, root_device
from floe.core.given import RebuildGiven
from floe.core.new_servers import check_files, check_metadata, check_user_data
from floe.core.power import Power, Wanted
from floe.core.seen_servers import SeenServer
from floe.core.server_rebuild import NewMake
from floe.core.servers import STOPPED, Server
from floe.store import actions, server_disks
from floe.store import servers as rows
from floe.store.engine import Connection


class Begun(msgspec.Struct, frozen=True, kw_only=True):
    """A rebuild that was begun: the server as it is to be, and the password that it is given."""

    server: SeenServer
    admin_password: str


async def rebuild(cloud: Cloud, context: Context, server_id: str, asked: NewMake) -> Begun:
    """Have a server rebuilt. Its row is what was asked for from now on, and what it was again should that fail.

    Raises NotFound, Invalid, Forbidden, OverQuota; Conflict for a server that is locked, or in no state for it.
    """
    now, action_id = cloud.clock.now(), cloud.new_id()
    password = asked.admin_password or servers.new_password()
    sealed = sealing.seal(cloud, {"admin_password": password, "files": asked.files})

    def begin(conn: Connection) -> tuple[Action, SeenServer, bool]:
        action, renamed = actions.get(conn, action_id), False  # of a run whose commit was not answered
        if action is None:
            server = servers.changeable(conn, context, server_id)
            given = _given(conn, cloud, context, server, asked, now)
            action = servers.new_action(action_id, context, server, REBUILD, now, given, sealed)
            servers.begin(conn, server, REBUILD, action, guest_generation=given.wanted.generation, **given.became)
            server_disks.replace(conn, server_id, given.makes)
        hostname = msgspec.convert(action.input, RebuildGiven).became.get("hostname")
        if hostname is not None:
            server = servers.visible(conn, context, server_id)
            renamed = server_ports.rename(conn, server_id, server.project_id, hostname, now)
        return action, servers.detail(conn, context, server_id, now), renamed

    action, seen, renamed = await cloud.db.write(begin)
    if renamed:
        await cloud.network_nudge()
    await cloud.hand_over(action)
    return Begun(server=seen, admin_password=password)


def restore(conn: Connection, server: Server, given: RebuildGiven, now: datetime, **more: Any) -> bool:
    """Have a server be what it was before a rebuild, but for what was changed since; True if its host has to be told.

    `more` are columns that it gets besides.
    """
    is_now = _as_kept(server)
    mine = {name: value for name, value in given.was.items() if is_now[name] == given.became[name]}
    server_disks.replace(conn, server.id, given.disks)
    rows.change(conn, server.id, **mine, **more, updated_at=now)
    if "hostname" not in mine:
        return False
    return server_ports.rename(conn, server.id, server.project_id, mine["hostname"], now)


def former(server: Server, given: RebuildGiven) -> Server:
    """Return a server as it was before a rebuild."""
    return msgspec.convert({**_as_kept(server), **given.was}, Server)


def _as_kept(server: Server) -> dict[str, Any]:
    """Return the columns of a server as what an action is given keeps them."""
    kept: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(server))
    return kept


def _given(
    conn: Connection, cloud: Cloud, context: Context, server: Server, asked: NewMake, now: datetime
) -> RebuildGiven:
    """Check a rebuild against everything that is known before its host is asked, and return what it is given."""
    servers.check_state(server, REBUILD)
    server_power.check_free(server, REBUILD.kind)
    server_power.check_nics(conn, server.id, REBUILD.kind)
    limits, changes = quotas.limits(conn, server.project_id, context.user_id), asked.changes
    trusted = server.trusted_certificates
    if asked.trusted_certificates is not msgspec.UNSET:
        trusted = new_servers.trusted_by(cloud, asked.trusted_certificates)
    boot = new_servers.boot_of(conn, context, server.flavor, asked.image_id, trusted)
    check_metadata(changes.get("metadata", {}), limits)
    check_files(asked.files, limits)
    if changes.get("user_data") is not None:
        check_user_data(changes["user_data"])
    wanted = _wanted(server, now)
    had = server_disks.of_server(conn, server)
    drive = server.config_drive or new_servers.wants_drive(boot.image)
    disks = _remade(server, had, boot, drive, wanted.generation, preserve=asked.preserve_ephemeral)
    became = {
        **changes,
        **disk_config.among(changes, boot.image.properties),
        **_key(conn, context, asked),
        "image_id": boot.image.id,
        "image_properties": boot.image.properties,
        "made_of": boot.made_of,
        "config_drive": drive,
        "trusted_certificates": trusted,
        "root_device": root_device(disks),
        "boots": wanted.boots,
    }
    is_now = _as_kept(server)
    return RebuildGiven(
        host=server.host or "",
        wanted=wanted,
        # What is kept of a guest that goes is to be whole.
        patience=server_power.patience(server, cloud.settings.shutdown_timeout) if asked.preserve_ephemeral else 0.0,
        was={name: is_now[name] for name in became},
        became=msgspec.json.decode(msgspec.json.encode(became)),
        disks=had,
        makes=disks,
    )


def _wanted(server: Server, now: datetime) -> Wanted:
    """Return what the guest is to be: off if it was stopped, else running, as it is once it is in order again."""
    generation = ahead.after(max(server.guest_generation, server.boots), now)
    if server.vm_state == STOPPED:
        return Wanted(power=Power.STOPPED, boots=server.boots, generation=generation)
    return Wanted(power=Power.RUNNING, boots=generation, generation=generation)


def _remade(
    server: Server, had: Sequence[Disk], boot: Boot, drive: bool, make: int, *, preserve: bool
) -> tuple[Disk, ...]:
    """Return the disks that a server has from now on: as it had them, but for those on its image's bus."""
    image = boot.image
    disks = [
        structs.replace(disk, image_id=image.id, base_make=None) if isinstance(disk, Overlay) else disk
        for disk in displaced(had, server.image_properties)
    ]
    kept = {disk.role: disk.make for disk in had if preserve and isinstance(disk, Blank)}
    found = placed(disks, image.properties, config_drive=drive)
    new_servers.check_buses(server.flavor, image, found)
    return tuple(structs.replace(disk, make=kept.get(disk.role, make)) for disk in found)


def _key(conn: Connection, context: Context, asked: NewMake) -> dict[str, Any]:
    if asked.key_name is msgspec.UNSET:
        return {}
    key = new_servers.keypair(conn, context, asked.key_name)
    return {"key_name": key.name if key else None, "keys": new_servers.keys_of(key)}
