"""Port forwardings of floating IPs: ports of one address that lead to ports of several guests."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from msgspec.structs import replace

from floe.cloud import host_networks, network_room
from floe.cloud.cloud import Cloud
from floe.cloud.floating_ips import OWNED as FLOATING
from floe.cloud.floating_ips import way
from floe.core.context import Context
from floe.core.errors import Conflict, NotFound
from floe.core.floating_ips import FloatingIP
from floe.core.listing import Listing
from floe.core.networks import unchanged_since
from floe.core.port_forwardings import PortForwarding, bad_request, check, text_of
from floe.core.ports import Port
from floe.store import floating_ips, ports
from floe.store import port_forwardings as rows
from floe.store.engine import Connection

_Ident = tuple[str, str]
"""The id of a floating IP, and that of one of its port forwardings."""


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[PortForwarding]:
    """Make port forwardings, all of them or none.

    Each names its floating_id, port_id, protocol, external and internal ports (`external_port` or `external_range`, and
    so on), and may have fixed_address and description. Raises NotFound, Forbidden, Invalid, Conflict.
    """
    now, ids = cloud.clock.now(), [cloud.new_id() for _ in asked]

    def make(conn: Connection) -> tuple[list[PortForwarding], bool]:
        made = [_make(conn, context, item, ident, now) for item, ident in zip(asked, ids, strict=True)]
        above = (FLOATING.get(conn, context, ident) for ident in {each.floating_id: None for each in made})
        return made, _touch(conn, {each.router_id for each in above}, *made)

    made, touched = await cloud.db.write(make)
    if touched:
        await cloud.network_nudge()
    return made


async def find(cloud: Cloud, context: Context, listing: Listing) -> list[PortForwarding]:
    """Return those of a floating IP's port forwardings that are asked for. Raises NotFound, Invalid."""

    def read(conn: Connection) -> list[PortForwarding]:
        for floating_id in listing.filters["floating_id"]:
            FLOATING.get(conn, context, floating_id)
        return rows.find(conn, network_room.scope(context), listing)

    return await cloud.db.read(read)


async def show(cloud: Cloud, context: Context, ident: _Ident) -> PortForwarding:
    """Return a port forwarding. Raises NotFound."""

    def read(conn: Connection) -> PortForwarding:
        return _get(conn, FLOATING.get(conn, context, ident[0]), ident[1])

    return await cloud.db.read(read)


async def update(
    cloud: Cloud, context: Context, ident: _Ident, asked: Mapping[str, Any], seen: int | None = None
) -> PortForwarding:
    """Change a port forwarding, by the fields of `create`, if it is at the revision `seen`.

    Raises NotFound, Forbidden, Invalid, Conflict, Outdated.
    """
    now = cloud.clock.now()

    def change(conn: Connection) -> tuple[PortForwarding, bool]:
        floating = FLOATING.own(conn, context, ident[0])
        before = _get(conn, floating, ident[1])
        unchanged_since(before.revision, seen)
        wanted = {key: asked[key] for key in ("description", "protocol") if key in asked} | _ports(asked)
        after = replace(before, **wanted)
        if "port_id" in asked or "fixed_address" in asked:
            to = asked.get("port_id", before.port_id)
            after = _led(conn, context, floating, after, to, asked.get("fixed_address"), known=to == before.port_id)
        if after == before:
            return before, False
        check(after, floating.forwardings, _behind(conn, after))
        rows.update(conn, after.id, _changes(before, after), now)
        _count_up(conn, floating, now)
        changed = FLOATING.get(conn, context, ident[0])
        leads_alike = replace(after, description=before.description) == before
        by = {floating.router_id, changed.router_id}
        return _get(conn, changed, after.id), not leads_alike and _touch(conn, by, before, after)

    changed, touched = await cloud.db.write(change)
    if touched:
        await cloud.network_nudge()
    return changed


async def delete(cloud: Cloud, context: Context, ident: _Ident, seen: int | None = None) -> None:
    """Remove a port forwarding; with the last one its floating IP leads nowhere.

    Raises NotFound, Forbidden, Outdated.
    """
    now = cloud.clock.now()

    def remove(conn: Connection) -> bool:
        floating = FLOATING.own(conn, context, ident[0])
        found = _get(conn, floating, ident[1])
        unchanged_since(found.revision, seen)
        touched = _touch(conn, {floating.router_id}, found)
        floating_ips.forward_no_more(conn, [found], now)
        return touched

    if await cloud.db.write(remove):
        await cloud.network_nudge()


def _make(conn: Connection, context: Context, item: Mapping[str, Any], ident: str, now: datetime) -> PortForwarding:
    floating = FLOATING.own(conn, context, item["floating_id"])
    if floating.port_id is not None:
        raise Conflict(
            f"Cannot associate floating IP {floating.address} ({floating.id}) with port {item['port_id']}, as it"
            f" leads to fixed IP {floating.fixed_address} of port {floating.port_id}; disassociate it first.",
            reason="address_has_floating_ip",
        )
    chosen = _ports(item)
    for side in ("external", "internal"):
        if f"{side}_first" not in chosen:
            raise bad_request(f"{side}_port, or {side}_port_range, has to be given")
    new = PortForwarding(
        id=ident,
        project_id=floating.project_id,
        floating_id=floating.id,
        port_id=item["port_id"],
        fixed_address="",
        protocol=item["protocol"],
        description=item.get("description") or "",
        created_at=now,
        updated_at=now,
        **chosen,
    )
    new = _led(conn, context, floating, new, new.port_id, item.get("fixed_address"), known=False)
    check(new, floating.forwardings, _behind(conn, new))
    rows.insert(conn, new)
    _count_up(conn, floating, now)
    return new


def _led(
    conn: Connection,
    context: Context,
    floating: FloatingIP,
    forwarding: PortForwarding,
    port_id: str,
    fixed: str | None,
    *,
    known: bool,
) -> PortForwarding:
    """Have a port forwarding lead to a port, at one of its addresses, and the floating IP through the router to it.

    A port that is `known` is the one that it led to. Raises NotFound, Invalid, Conflict.
    """
    port = ports.get(conn, port_id, None if known else network_room.scope(context))
    if port is None:
        raise NotFound("port", port_id)
    _may_lead_to(conn, context, floating, port)
    subnet_id, address = _address_of(port, fixed)
    try:
        router_id = way(conn, port, subnet_id, floating.network_id)
    except NotFound:
        raise bad_request(
            f"External network {floating.network_id} is not reachable from subnet {subnet_id}. Cannot set Port"
            f" forwarding for port {port_id} with Floating IP {floating.id}"
        ) from None
    others = [each for each in floating.forwardings if each.id != forwarding.id]
    if others and router_id != floating.router_id:
        raise bad_request(
            f"The Floating IP {floating.id} had been set on router {floating.router_id}, the internal Neutron port"
            f" {port_id} can not reach it"
        )
    if router_id != floating.router_id:
        floating_ips.update(conn, floating.id, {"router_id": router_id}, forwarding.updated_at)
    return replace(forwarding, port_id=port_id, fixed_address=address)


def _may_lead_to(conn: Connection, context: Context, floating: FloatingIP, port: Port) -> None:
    if port.project_id != floating.project_id and not context.is_admin:
        raise bad_request(f"Port {port.id} is owned by a different project than Floating IP {floating.id}")
    if port.device_owner.startswith("network:"):
        raise bad_request(f"Port {port.id} has device owner {port.device_owner}; nothing can be forwarded to it")
    for other in floating_ips.of_ports(conn, [port.id]):
        raise Conflict(
            f"Cannot create port forwarding to floating IP {floating.address} ({floating.id}) with port {port.id}, as"
            f" that port already has a binding floating IP, {other.address} at its fixed IP {other.fixed_address}.",
            reason="port_has_floating_ip",
        )


def _address_of(port: Port, asked: str | None) -> tuple[str, str]:
    """Return the (subnet id, address) of a port that is meant: the first where none is named."""
    if not port.fixed_ips:
        raise bad_request(f"Requested internal port {port.id} must allocate an IPv4 address at least")
    for subnet_id, address in port.fixed_ips:
        if asked in {None, address}:
            return subnet_id, address
    raise bad_request(
        f"Requested internal IP address {asked} is not suitable for internal neutron port {port.id}, as its fixed_ips"
        f" are {', '.join(address for _, address in port.fixed_ips)}"
    )


def _ports(asked: Mapping[str, Any]) -> dict[str, int]:
    """Return the first and last ports that are named, by field; a port and a range say the same where both are."""
    found: dict[str, int] = {}
    for side in ("external", "internal"):
        one, span = asked.get(f"{side}_port"), asked.get(f"{side}_range")
        named = [ports for ports in (span, None if one is None else (one, one)) if ports is not None]
        if len(set(named)) > 1:
            raise bad_request(f"{side}_port {one} is not {side}_port_range {text_of(named[0])}; leave one of them out")
        for first, last in named:
            found |= {f"{side}_first": first, f"{side}_last": last}
    return found


def _behind(conn: Connection, new: PortForwarding) -> list[PortForwarding]:
    """Return the port forwardings, of any floating IP, that lead to the same address of the same port."""
    found = rows.to_ports(conn, [new.port_id])
    return [other for other in found if other.fixed_address == new.fixed_address]


def _changes(before: PortForwarding, after: PortForwarding) -> dict[str, Any]:
    return {
        name: value for name in before.__struct_fields__ if (value := getattr(after, name)) != getattr(before, name)
    }


def _count_up(conn: Connection, floating: FloatingIP, now: datetime) -> None:
    """A floating IP is another with other port forwardings."""
    floating_ips.update(conn, floating.id, {}, now)


def _get(conn: Connection, floating: FloatingIP, ident: str) -> PortForwarding:
    found = rows.get(conn, ident)
    if found is None or found.floating_id != floating.id:
        raise NotFound("port forwarding", ident, f"Port Forwarding {ident} could not be found.")
    return found


def _touch(conn: Connection, by: Collection[str | None], *changed: PortForwarding) -> bool:
    """Have the hosts told that have the ports which these lead, or led, to by routers. True if there are any."""
    to = {each.port_id: None for each in changed}
    touched = [host_networks.touch_led_to(conn, port_id, router_id) for port_id in to for router_id in by]
    return any(touched)
