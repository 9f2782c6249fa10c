"""Ports: those that users make and change, and (from `server_ports`) those that servers need."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from floe.cloud import lost_addresses, network_room, pins, port_names
from floe.cloud.addresses import assign, insert_with_mac
from floe.cloud.cloud import Cloud
from floe.cloud.security_groups import ensure_default
from floe.cloud.server_ports import activate, bind, of_server, of_servers, plan, release, rename, unplug
from floe.core import addresses, dhcp_options
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, NotFound
from floe.core.ids import derived
from floe.core.listing import Listing
from floe.core.networks import Network
from floe.core.ports import ACTIVE, DHCP_OWNER, DOWN, INTERFACE_OWNER, RESERVED_OWNERS, Port, read_pairs
from floe.core.routers import check_hops
from floe.core.subnets import Subnet
from floe.core.tags import checked_tags
from floe.store import addresses as address_rows
from floe.store import floating_ips, networks, routers, security_groups, subnets
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


_PLAIN = ("name", "description", "up", "device_id", "device_owner", "port_security", "hostname", "dns_domain")
"""Fields that an update sets as they are."""

OWNED = network_room.Owned("port", rows.ROWS, _owns_network)
retag = OWNED.retag


async def find(cloud: Cloud, context: Context, listing: Listing) -> list[Port]:
    """Return the ports that the caller sees, to be shown. Raises Invalid."""
    seen, domain = network_room.scope(context), cloud.settings.dns_domain
    return await cloud.db.read(lambda conn: port_names.shown(conn, rows.find(conn, seen, listing), domain))


async def show(cloud: Cloud, context: Context, port_id: str) -> Port:
    """Return a port, to be shown. Raises NotFound."""
    return await cloud.db.read(lambda conn: _seen(conn, cloud, context, port_id))


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[Port]:
    """Make ports, all of them or none.

    Each names its network_id and may have name, description, up, mac, fixed_ips (pairs of subnet id and address, either
    may be None), groups, port_security, allowed_pairs, device_id, device_owner, hostname, dns_domain, dhcp_options
    (pairs of name and value), project_id, and for administrators: host, profile. Raises NotFound, Invalid, Forbidden,
    Conflict, NoRoom.
    """
    now, ids = cloud.clock.now(), [cloud.new_id() for _ in asked]

    def make(conn: Connection) -> tuple[list[Port], bool]:
        for item, ident in zip(asked, ids, strict=True):
            _make(conn, cloud, context, item, ident, now)
        made = [_seen(conn, cloud, context, ident) for ident in ids]
        touched = [pins.tell(conn, None, port) for port in made]
        return made, any(touched)

    made, touched = await cloud.db.write(make)
    if touched:
        await cloud.network_nudge()
    return made


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
        _check_name(conn, cloud, network, port, wanted)
        changes = {key: value for key, value in wanted.items() if value != getattr(port, key)}
        moved = "fixed_ips" in asked and _readdress(conn, context, port, asked["fixed_ips"], now)
        if (changes or moved) and not rows.update(conn, port_id, changes, now):
            raise _mac_in_use(changes["mac"], network)
        changed = _seen(conn, cloud, context, port_id)
        return changed, pins.tell(conn, port, changed)

    changed, touched = await cloud.db.write(change)
    if touched:
        await cloud.network_nudge()
    return changed


async def delete(cloud: Cloud, context: Context, port_id: str, seen: int | None = None) -> None:
    """Remove a port; floating IPs that lead to it lead nowhere then, and port forwardings to it are no more.

    In the place of a network's DHCP port another one stands then, with its addresses. Raises NotFound, Outdated;
    Conflict while a server or the cloud itself uses it.
    """
    now, fresh = cloud.clock.now(), cloud.new_id()

    def remove(conn: Connection) -> bool:
        port = OWNED.own(conn, context, port_id, seen)
        if port.server_id is not None:
            raise Conflict(
                f"Port {port_id} is in use by server {port.server_id}; delete the server first.", reason="port_in_use"
            )
        if port.device_owner == DHCP_OWNER:
            _stand_in(conn, port, fresh, now)
            return False
        if port.kept:
            raise Conflict(
                f"Port {port_id} cannot be deleted directly via the port API: has device owner {port.device_owner}.",
                reason="port_of_service",
            )
        floating_ips.leave(conn, [port_id], now)
        touched = pins.tell(conn, port, None)
        rows.delete(conn, port_id)
        return touched

    if await cloud.db.write(remove):
        await cloud.network_nudge()


def _stand_in(conn: Connection, port: Port, fresh: str, now: datetime) -> None:
    """Put another port in the place of one that serves DHCP, at the same addresses: hosts know of these alone."""
    rows.delete(conn, port.id)
    unnamed = {"name": "", "description": "", "tags": (), "revision": 0}
    insert_with_mac(conn, replace(port, id=fresh, created_at=now, updated_at=now, **unnamed))
    for subnet_id, address in port.fixed_ips:
        address_rows.claim(conn, port.network_id, subnet_id, fresh, addresses.number_of(address))


def _seen(conn: Connection, cloud: Cloud, context: Context, port_id: str) -> Port:
    (port,) = port_names.shown(conn, [OWNED.get(conn, context, port_id)], cloud.settings.dns_domain)
    return port


def _make(
    conn: Connection, cloud: Cloud, context: Context, item: Mapping[str, Any], port_id: str, now: datetime
) -> None:
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
        hostname=item.get("hostname", ""),
        dns_domain=item.get("dns_domain", ""),
        dhcp_options=dhcp_options.merged((), item.get("dhcp_options", ())),
        port_security=port_security,
        groups=_new_groups(conn, project_id, item, port_security, derived(port_id, "default group"), now),
        created_at=now,
        updated_at=now,
        **pins.chosen(conn, context, item),
    )
    _check_name(conn, cloud, network, port, {"hostname": port.hostname})
    if not mac:
        port = insert_with_mac(conn, port)
    elif not rows.insert(conn, port):
        raise _mac_in_use(mac, network)
    if item.get("allowed_pairs"):
        _pairs_need_security(port_security)
        rows.update(conn, port_id, {"allowed_pairs": read_pairs(item["allowed_pairs"], port.mac)}, now)
    assign(conn, network.id, port_id, below, item.get("fixed_ips"), port.device_owner)


def _check_name(conn: Connection, cloud: Cloud, network: Network, port: Port, changes: Mapping[str, Any]) -> None:
    if {"hostname", "dns_domain"} & changes.keys():
        if port.kept:
            raise Conflict(
                f"Port {port.id} has device owner {port.device_owner}; it has no name of its own.",
                reason="port_of_service",
            )
        domain = changes.get("dns_domain", port.dns_domain) or port_names.domain_of(network, cloud.settings.dns_domain)
        port_names.check(conn, network, port.project_id, changes.get("hostname", port.hostname), domain)


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
    changes: dict[str, Any] = {key: asked[key] for key in _PLAIN if key in asked}
    changes |= pins.chosen(conn, context, asked, port)
    tied = port.server_id is not None or port.kept
    for key in ("device_id", "device_owner"):
        if tied and changes.get(key, getattr(port, key)) != getattr(port, key):
            raise Conflict(
                f"Port {port.id} is bound ({port.device_owner} {port.device_id}); {key} cannot change.",
                reason="port_in_use",
            )
    if "dhcp_options" in asked:
        changes["dhcp_options"] = dhcp_options.merged(port.dhcp_options, asked["dhcp_options"])
    if asked.get("mac") and (mac := addresses.mac_of(asked["mac"])) != port.mac:
        _may_change_mac(context, network, port, mac, bound=tied or bool({port.host, changes.get("host")} - {None}))
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
    if "up" in changes and port.plugged and port.server_id is not None:
        changes["status"] = ACTIVE if changes["up"] else DOWN
    return changes


def _may_change_mac(context: Context, network: Network, port: Port, mac: str, *, bound: bool) -> None:
    """Raise Forbidden for whom Neutron's policy does not name, Conflict where somebody may be at the port."""
    if not context.is_admin and not (context.owns(network.project_id) and "manager" in context.roles):
        raise Forbidden(
            f"Only an administrator, or a manager of the project that owns network {network.id}, may change the"
            f" mac_address of port {port.id}."
        )
    if bound:
        vif_type = port.bindings[0].vif_type if port.bindings else "unbound"
        raise Conflict(
            f"Unable to complete operation on port {port.id}, port is already bound, port type: {vif_type}, old_mac"
            f" {port.mac}, new_mac {mac}.",
            reason="port_bound",
        )


def _readdress(
    conn: Connection, context: Context, port: Port, wanted: Sequence[tuple[str | None, str | None]], now: datetime
) -> bool:
    """Give the port other addresses; those it has and asks for again it keeps. False if they are the same as before.

    Port forwardings to an address end with it. An interface of a router stays on its subnet.
    """
    joins = port.device_owner == INTERFACE_OWNER
    if port.kept and not joins:
        raise _stays(port, "addresses")
    held = dict(port.fixed_ips)
    kept = [(subnet, held.get(subnet or "") if address is None else address) for subnet, address in wanted]
    below = _subnets(conn, context, port.network_id, wanted)
    address_rows.release(conn, port.id)
    given = assign(conn, port.network_id, port.id, below, kept)
    if joins:
        if sorted(subnet for subnet, _ in given) != sorted(held):
            raise _stays(port, "subnets")
        _check_routes(conn, port)
    if lost_addresses.led_to(conn, port.id, {address for _, address in given}, now):
        raise Invalid(
            f"Bad port request: Cannot update the fixed_ips of the port {port.id}, because its original fixed_ip"
            " has been associated to a floating ip.",
            reason="bad_port_request",
        )
    return set(given) != set(port.fixed_ips)


def _check_routes(conn: Connection, port: Port) -> None:
    """Raise Invalid where a router's own address would be a next hop of its routes."""
    router = routers.get(conn, port.router_id or "")
    assert router is not None
    there = routers.interfaces(conn, [router.id])
    check_hops(router.routes, {each.cidr for each in there}, [each.address for each in there])


def _stays(port: Port, what: str) -> Conflict:
    return Conflict(
        f"Port {port.id} has device owner {port.device_owner}; its {what} cannot change.", reason="port_of_service"
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
