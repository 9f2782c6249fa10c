"""Rescue: a server's guest boots another disk than its own; noted here, done by a conductor."""

from __future__ import annotations

from datetime import datetime

from floe.cloud import new_servers, sealing, server_power, servers
from floe.cloud.cloud import Cloud
from floe.core import ahead
from floe.core.actions import RESCUE_SERVER, UNRESCUE_SERVER, Action, Begins
from floe.core.context import Context
from floe.core.errors import Conflict, Invalid
from floe.core.given import RescueGiven
from floe.core.guest_hardware import hardware_of
from floe.core.power import Power, Wanted
from floe.core.server_rescue import CDROM, Rescue, machine_of, rescue_disks
from floe.core.servers import Server
from floe.store import actions, server_disks
from floe.store.engine import Connection


async def rescue(
    cloud: Cloud, context: Context, server_id: str, *, image_id: str | None = None, admin_password: str | None = None
) -> str:
    """Have a server rescued with an image, or the one that it is made of; return the password that it is given.

    Raises NotFound, Invalid, Forbidden; Conflict for a server that is locked, or in no state for it.
    """
    now, action_id = cloud.clock.now(), cloud.new_id()
    password = admin_password or servers.new_password()
    sealed = sealing.seal(cloud, {"admin_password": password})

    def begin(conn: Connection) -> Action:
        if (before := actions.get(conn, action_id)) is not None:  # of a run whose commit was not answered
            return before
        server = servers.changeable(conn, context, server_id)
        _check_free(conn, server, RESCUE_SERVER)
        wanted = _wanted(server, now)
        patience = server_power.patience(server, cloud.settings.shutdown_timeout)
        chosen = _chosen(conn, context, server, image_id, wanted.generation)
        given = RescueGiven(host=server.host or "", wanted=wanted, patience=patience, rescue=chosen)
        return _begin(conn, context, server, RESCUE_SERVER, action_id, given, now, sealed)

    await cloud.hand_over(await cloud.db.write(begin))
    return password


async def unrescue(cloud: Cloud, context: Context, server_id: str) -> None:
    """Have a server boot its own disk again. Raises NotFound, and Conflict as `rescue` does."""
    now, action_id = cloud.clock.now(), cloud.new_id()

    def begin(conn: Connection) -> Action:
        if (before := actions.get(conn, action_id)) is not None:
            return before
        server = servers.changeable(conn, context, server_id)
        if server.rescue is None:
            raise Conflict(f"Cannot 'unrescue' instance {server_id} while it is in vm_state {server.vm_state}")
        _check_free(conn, server, UNRESCUE_SERVER)
        given = RescueGiven(host=server.host or "", wanted=_wanted(server, now), rescue=server.rescue)
        return _begin(conn, context, server, UNRESCUE_SERVER, action_id, given, now)

    await cloud.hand_over(await cloud.db.write(begin))


def _check_free(conn: Connection, server: Server, begins: Begins) -> None:
    servers.check_state(server, begins)
    server_power.check_free(server, begins.kind)
    server_power.check_nics(conn, server.id, begins.kind)


def _wanted(server: Server, now: datetime) -> Wanted:
    generation = ahead.after(max(server.guest_generation, server.boots), now)
    return Wanted(power=Power.RUNNING, boots=generation, generation=generation)


def _begin(
    conn: Connection,
    context: Context,
    server: Server,
    begins: Begins,
    action_id: str,
    given: RescueGiven,
    now: datetime,
    sealed: str | None = None,
) -> Action:
    action = servers.new_action(action_id, context, server, begins, now, given, sealed)
    told = {"boots": given.wanted.boots, "guest_generation": given.wanted.generation}
    servers.begin(conn, server, begins, action, **told)
    return action


def _chosen(conn: Connection, context: Context, server: Server, image_id: str | None, make: int) -> Rescue:
    """Return what a server is rescued with. Raises Invalid where that does not do for it."""
    if image_id is None:
        made_of = new_servers.made_of(conn, server)
    else:
        trusted = server.trusted_certificates
        try:
            made_of = new_servers.boot_of(conn, context, server.flavor, image_id, trusted).made_of
        except Invalid as error:
            raise _unsupported(image_id, error) from error
    chosen = Rescue(made_of=made_of, make=make)
    try:
        new_servers.check_signatures(made_of, server.trusted_certificates)
        _check_machine(conn, server, chosen)
    except Invalid as error:
        raise _unsupported(made_of.image.image_id, error) from error
    return chosen


def _check_machine(conn: Connection, server: Server, chosen: Rescue) -> None:
    """Raise Invalid for a rescue that the machine is not made for."""
    disks = rescue_disks(server_disks.of_server(conn, server), chosen)
    properties = machine_of(server.image_properties, chosen)
    machine = hardware_of(server.flavor.extra_specs, properties, server.flavor.vcpus, [disk.bus for disk in disks])
    rescue_disk = next(disk for disk in disks if disk.make == chosen.make and disk.boot_index == 0)
    if machine.machine == "q35" and rescue_disk.bus == "ide":
        raise Invalid("Image property hw_rescue_bus 'ide' does not go with hw_machine_type 'q35'; use virtio or scsi.")
    if chosen.properties.get("hw_rescue_device") == CDROM:
        if rescue_disk.bus == "virtio":
            raise Invalid("Image property hw_rescue_bus 'virtio' is no bus of CDs; use sata, scsi, ide or usb.")
        if chosen.made_of.kernel is not None:
            raise Invalid("Image property hw_rescue_device 'cdrom' does not go with kernel_id.")


def _unsupported(image_id: str, error: Invalid) -> Invalid:
    return Invalid(f"Requested rescue image '{image_id}' is not supported: {error.message}")
