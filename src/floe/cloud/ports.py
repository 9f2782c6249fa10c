"""Ports: those that users make and change, and (from `server_ports`) those that servers need."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from floe.cloud import host_networks, network_room
from floe.cloud.addresses import assign, insert_with_mac
from floe.cloud.cloud import Cloud
from floe.cloud.security_groups import ensure_default
from floe.cloud.server_ports import activate, bind, of_server, of_servers, plan, release, rename, unplug
from floe.core import addresses
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound
from floe.core.ids import derived
from floe.core.networks import Network
from floe.core.ports import ACTIVE, DOWN, RESERVED_OWNERS, Port, read_pairs
from floe.core.subnets import Subnet
from floe.core.tags import checked_tags
from floe.store import addresses as address_rows
from floe.store import floating_ips, networks, port_forwardings, security_groups, subnets
from floe.store import ports as rows
from floe.store.engine import Connection

__all__ = [
    "activate", "bind", "create", "delete", "find", "of_server", "of_servers", "plan", "release", "rename", "retag",
    "show", "unplug", "update",
]  # fmt: skip


def _owns_network(conn: Connection, context: Context, port: Port) -> None:
    """Let whoever owns a port's network change the port too."""
    if not context.owns(networks.many(conn, [port.network_id])[port.network_id].project_id):
        raise Forbidden(f"Only the owner of port {port.id} may change it.")


OWNED = network_room.Owned("port", rows.ROWS, _owns_network)
find, show, retag = OWNED.find, OWNED.show, OWNED.retag


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[Port]:
    """Make ports, all of them or none.

    Each names its network_id and may have name, description, up, mac, fixed_ips (pairs of subnet id and address, either
    may be None), groups, port_security, allowed_pairs, device_id, device_owner, project_id. Raises NotFound, Invalid,
    Forbidden, Conflict, NoRoom.
    """
    now, ids = cloud.clock.now(), [cloud.new_id() for _ in asked]

    def make(conn: Connection) -> list[Port]:
        return [_make(conn, context, item, ident, now) for item, ident in zip(asked, ids, strict=True)]

    return await cloud.db.write(make)


async def update(
    cloud: Cloud, context: Context, port_id: str, asked: Mapping[str, Any], seen: int | None = None
) -> Port:
    """Change a port, by the fields of `create`, if it is at the revision `seen`.

    Raises NotFound, Invalid, Forbidden, Conflict, Outdated.
    """

    now = cloud.clock.now()

    def change(conn: Connection) -> tuple[Port, bool]:
        port = OWNED.own(conn, context, port_id, seen)
        network = networks.many(conn, [port.network_id])[port.network_id]
        wanted = _changes(conn, context, port, network, asked)
        changes = {key: value for key, value in wanted.items() if value != getattr(port, key)}
        moved = "fixed_ips" in asked and _readdress(conn, context, port, asked["fixed_ips"], now)
        if (changes or moved) and not rows.update(conn, port_id, changes, now):
            raise _mac_in_use(changes["mac"], network)
        changed = OWNED.get(conn, context, port_id)
        return changed, _tell(conn, port, changed)

    changed, touched = await cloud.db.write(change)
    if touched:
        await cloud.network_nudge()
    return changed


async def delete(cloud: Cloud, context: Context, port_id: str, seen: int | None = None) -> None:
    """Remove a port; floating IPs that lead to it lead nowhere then, and port forwardings to it are no more.

    Raises NotFound, Outdated; Conflict while a server or the cloud itself uses it.
    """
    now = cloud.clock.now()

    def remove(conn: Connection) -> None:
        port = OWNED.own(conn, context, port_id, seen)
        if port.server_id is not None:
            raise Conflict(
                f"Port {port_id} is in use by server {port.server_id}; delete the server first.", reason="port_in_use"
            )
        if port.kept:
            raise Conflict(
                f"Port {port_id} cannot be deleted directly via the port API: has device owner {port.device_owner}.",
                reason="port_of_service",
            )
        floating_ips.leave(conn, [port_id], now)
        rows.delete(conn, port_id)

    await cloud.db.write(remove)


def _make(conn: Connection, context: Context, item: Mapping[str, Any], port_id: str, now: datetime) -> Port:
    project_id = network_room.owner(context, item.get("project_id"))
    network = networks.get(conn, item["network_id"], network_room.scope(context))
    if network is None:
        raise NotFound("network", item["network_id"])
    _may_choose(context, network, item)
    below = _subnets(conn, context, network.id, item.get("fixed_ips"))
    network_room.demand(conn, project_id, "port")
    mac = addresses.mac_of(item["mac"]) if item.get("mac") else ""
    port_security = item.get("port_security", network.port_security)
    port = Port(
        id=port_id,
        network_id=network.id,
        project_id=project_id,
        name=item.get("name") or "",
        description=item.get("description") or "",
        tags=checked_tags(item.get("tags", ())),
        mac=mac or addresses.mac_for(port_id),
        up=item.get("up", True),
        device_id=item.get("device_id") or "",
        device_owner=item.get("device_owner") or "",
        port_security=port_security,
        groups=_new_groups(conn, project_id, item, port_security, derived(port_id, "default group"), now),
        created_at=now,
        updated_at=now,
    )
    if not mac:
        port = insert_with_mac(conn, port)
    elif not rows.insert(conn, port):
        raise _mac_in_use(mac, network)
    if item.get("allowed_pairs"):
        _pairs_need_security(port_security)
        rows.update(conn, port_id, {"allowed_pairs": read_pairs(item["allowed_pairs"], port.mac)}, now)
    assign(conn, network.id, port_id, below, item.get("fixed_ips"), port.device_owner)
    return OWNED.get(conn, context, port_id)


def _new_groups(
    conn: Connection, project_id: str, item: Mapping[str, Any], port_security: bool, fresh: str, now: datetime
) -> tuple[str, ...]:
    if item.get("groups"):
        _groups_need_security(port_security)
        return _known_groups(conn, project_id, item["groups"])
    if "groups" in item or not port_security:
        return ()
    return (ensure_default(conn, project_id, fresh, now),)


def _changes(
    conn: Connection, context: Context, port: Port, network: Network, asked: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the new values of the port's row. Raises Invalid, Forbidden, Conflict."""
    _may_choose(context, network, asked, port.device_owner)
    plain = ("name", "description", "up", "device_id", "device_owner", "port_security")
    changes: dict[str, Any] = {key: asked[key] for key in plain if key in asked}
    tied = port.server_id is not None or port.kept
    for key in ("device_id", "device_owner"):
        if tied and changes.get(key, getattr(port, key)) != getattr(port, key):
            raise Conflict(
                f"Port {port.id} is bound ({port.device_owner} {port.device_id}); {key} cannot change.",
                reason="port_in_use",
            )
    if asked.get("mac"):
        mac = addresses.mac_of(asked["mac"])
        if tied and mac != port.mac:
            raise Conflict(f"Port {port.id} is bound; its MAC address cannot change.", reason="port_bound")
        changes["mac"] = mac
    port_security = changes.get("port_security", port.port_security)
    groups = port.groups
    if "groups" in asked:
        groups = _known_groups(conn, port.project_id, asked["groups"])
        changes["groups"] = groups
        if groups:
            _groups_need_security(port_security)
    if groups and not port_security:
        raise Conflict(
            f"Port {port.id} has security groups; remove them before, or while, turning port_security_enabled off.",
            reason="port_has_groups",
        )
    if "allowed_pairs" in asked:
        changes["allowed_pairs"] = read_pairs(asked["allowed_pairs"], changes.get("mac", port.mac))
    if changes.get("allowed_pairs", port.allowed_pairs):
        _pairs_need_security(port_security)
    if "up" in changes and port.plugged:
        changes["status"] = ACTIVE if changes["up"] else DOWN
    return changes


def _readdress(
    conn: Connection, context: Context, port: Port, wanted: Sequence[tuple[str | None, str | None]], now: datetime
) -> bool:
    """Give the port other addresses; those it has and asks for again it keeps. False if they are the same as before.

    Port forwardings to an address end with it.
    """
    if port.kept:
        raise Conflict(
            f"Port {port.id} has device owner {port.device_owner}; its addresses cannot change.",
            reason="port_of_service",
        )
    held = dict(port.fixed_ips)
    kept = [(subnet, held.get(subnet or "") if address is None else address) for subnet, address in wanted]
    _floating_stays(conn, port, {address for _, address in kept})
    below = _subnets(conn, context, port.network_id, wanted)
    address_rows.release(conn, port.id)
    given = assign(conn, port.network_id, port.id, below, kept)
    there = {address for _, address in given}
    ended = [each for each in port_forwardings.to_ports(conn, [port.id]) if each.fixed_address not in there]
    floating_ips.forward_no_more(conn, ended, now)
    return set(given) != set(port.fixed_ips)


def _floating_stays(conn: Connection, port: Port, addresses: Collection[str | None]) -> None:
    for floating in floating_ips.of_ports(conn, [port.id]):
        if floating.fixed_address not in addresses:
            raise Invalid(
                f"Bad port request: Cannot update the fixed_ips of the port {port.id}, because its original fixed_ip"
                " has been associated to a floating ip.",
                reason="bad_port_request",
            )


def _subnets(
    conn: Connection, context: Context, network_id: str, wanted: Sequence[tuple[str | None, str | None]] | None
) -> list[Subnet]:
    """Return the subnets of a port's network. Raises NotFound if one is wanted that is on no network at all."""
    below = subnets.of_networks(conn, [network_id])
    for subnet_id in {subnet_id for subnet_id, _ in wanted or () if subnet_id} - {subnet.id for subnet in below}:
        if subnets.get(conn, subnet_id, network_room.scope(context)) is None:
            raise NotFound("subnet", subnet_id)
    return below


def _tell(conn: Connection, before: Port, after: Port) -> bool:
    """Have the hosts told that the change concerns; True if there are any."""
    if not before.plugged_on:
        return False
    seen = [(p.up, p.mac, p.fixed_ips, p.groups, p.allowed_pairs, p.port_security) for p in (before, after)]
    if seen[0] == seen[1]:
        return False
    host_networks.touch_hosts(conn, before.plugged_on)
    if (before.fixed_ips, before.groups) != (after.fixed_ips, after.groups):
        for host in sorted(before.plugged_on):
            host_networks.touch_members(conn, host, (before, after))
    return True


def _known_groups(conn: Connection, project_id: str, asked: Sequence[str]) -> tuple[str, ...]:
    wanted = tuple(dict.fromkeys(asked))
    known = security_groups.owned(conn, wanted, project_id) if wanted else set()
    for group_id in wanted:
        if group_id not in known:
            raise NotFound("security group", group_id)
    return tuple(sorted(wanted))


def _mac_in_use(mac: str, network: Network) -> Conflict:
    return Conflict(
        f"Unable to complete operation for network {network.id}. The mac address {mac} is in use.", reason="mac_in_use"
    )


def _groups_need_security(port_security: bool) -> None:
    if not port_security:
        raise Invalid(
            "Invalid input for security_groups: they need port security, which is off for this port"
            " (port_security_enabled).",
            reason="groups_need_security",
        )


def _pairs_need_security(port_security: bool) -> None:
    if not port_security:
        raise Conflict(
            "allowed_address_pairs needs port security, which is off for this port (port_security_enabled).",
            reason="pairs_need_security",
        )


def _may_choose(context: Context, network: Network, item: Mapping[str, Any], there: str = "") -> None:
    """Refuse what only a network's owner may decide, on a network that is shared with the caller."""
    owner = item.get("device_owner") or ""
    if owner in RESERVED_OWNERS and owner != there:
        raise Conflict(f"Ports with a device_owner of {owner!r} are made by the cloud alone.", reason="reserved_owner")
    if item.get("host"):
        if not context.is_admin:
            raise Forbidden("Only an administrator may name the host of a port (binding:host_id).")
        raise Invalid("Invalid input for binding:host_id: the scheduler binds ports; leave it out.")
    if context.is_admin or context.owns(network.project_id):
        return
    named = any(address for _, address in item.get("fixed_ips") or ())
    for field, chosen in (
        ("a device_owner of 'network:'", owner.startswith("network:")),
        ("mac_address", item.get("mac")),
        ("fixed_ips (ip_address)", named),
        ("port_security_enabled", "port_security" in item),
        ("allowed_address_pairs", item.get("allowed_pairs")),
    ):
        if chosen:
            raise Forbidden(f"Only the owner of network {network.id} may choose {field} on it.")
