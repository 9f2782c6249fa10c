"""Networks of a project."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from floe.cloud import host_networks, network_room
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden, Invalid, Unavailable
from floe.core.networks import FLAT, Network, checked_kind, checked_mtu, first_tag
from floe.core.ports import DHCP_OWNER, FLOATING_OWNER
from floe.store import floating_ips, ports, routers
from floe.store import networks as rows
from floe.store import subnets as subnet_rows
from floe.store.engine import Connection

_MADE = ("kind", "tag", "physical")
"""How a network is made: fields of a create that are an administrator's."""
_OPEN = {
    "shared": "share a network with all projects",
    "external": "say whether a network leads out of the cloud (router:external)",
    "default": "choose the default external network (is_default)",
}
"""Fields that are an administrator's, and what they do."""

OWNED = network_room.Owned("network", rows.ROWS)
find, show, retag = OWNED.find, OWNED.show, OWNED.retag


async def create(cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[Network]:
    """Make networks (name, description, up, shared, mtu, port_security, dns_domain, project_id, and for administrators:
    external, default, kind, tag, physical).

    All of them or none. Raises Invalid, Forbidden, Conflict, NoRoom.
    """

    now, ids = cloud.clock.now(), [cloud.new_id() for _ in asked]

    def make(conn: Connection) -> list[Network]:
        return [make_in(conn, cloud, context, item, ident, now) for item, ident in zip(asked, ids, strict=True)]

    return await cloud.db.write(make)


def make_in(
    conn: Connection, cloud: Cloud, context: Context, item: Mapping[str, Any], network_id: str, now: datetime
) -> Network:
    """Make one network, on the caller's connection."""
    project_id = network_room.owner(context, item.get("project_id"))
    _may_open(context, [key for key in _OPEN if item.get(key)])
    if item.get("default"):
        _only_default(conn, item.get("external", False))
    kind, tag, physical = _kind(conn, context, network_id, item)
    network_room.demand(conn, project_id, "network")
    network = Network(
        id=network_id,
        project_id=project_id,
        name=item.get("name") or "",
        description=item.get("description") or "",
        up=item.get("up", True),
        shared=item.get("shared", False),
        mtu=checked_mtu(item.get("mtu"), cloud.settings.default_mtu),
        external=item.get("external", False),
        default=item.get("default", False),
        kind=kind,
        physical=physical,
        dns_domain=item.get("dns_domain", ""),
        tag=tag,
        port_security=item.get("port_security", True),
        created_at=now,
        updated_at=now,
    )
    rows.insert(conn, network)
    return network


async def update(
    cloud: Cloud, context: Context, network_id: str, asked: Mapping[str, Any], seen: int | None = None
) -> Network:
    """Change a network, if it is at the revision `seen`. Raises NotFound, Forbidden, Invalid, Conflict, Outdated."""

    now = cloud.clock.now()

    def change(conn: Connection) -> tuple[Network, bool]:
        network = OWNED.own(conn, context, network_id, seen)
        changes = _remade(context, network, asked)
        if "mtu" in changes:
            changes["mtu"] = checked_mtu(changes["mtu"], cloud.settings.default_mtu)
        changes = {key: value for key, value in changes.items() if value != getattr(network, key)}
        _may_open(context, changes)
        if "external" in changes or "default" in changes:
            _reopen(conn, network, changes)
        if "shared" in changes:
            foreign = ports.foreign_in_network(conn, network_id, network.project_id)
            if network.shared and foreign:
                raise Conflict(
                    f"Unable to reconfigure sharing settings for network {network_id}: {foreign} port(s) of other"
                    " projects use it.",
                    reason="used_by_others",
                )
        if changes:
            rows.update(conn, network_id, changes, now)
        touched = bool({"mtu", "up", "dns_domain"} & changes.keys()) and host_networks.touch_network(conn, network_id)
        return OWNED.get(conn, context, network_id), touched

    changed, touched = await cloud.db.write(change)
    if touched:
        await cloud.network_nudge()
    return changed


async def delete(cloud: Cloud, context: Context, network_id: str, seen: int | None = None) -> None:
    """Remove a network without ports, its subnets with it, and floating IPs of it that lead nowhere.

    Raises NotFound, Forbidden, Conflict, Outdated."""
    now = cloud.clock.now()
    await cloud.db.write(lambda conn: delete_in(conn, context, network_id, now, seen))


def delete_in(conn: Connection, context: Context, network_id: str, now: datetime, seen: int | None = None) -> None:
    """Remove a network as `delete` does, on the caller's connection."""
    network = OWNED.own(conn, context, network_id, seen)
    rows.update(conn, network_id, {}, now)
    users = ports.count_in_network(conn, network_id, DHCP_OWNER)
    idle = floating_ips.idle(conn, network_id) if network.external else 0
    if users > idle:
        raise Conflict(
            f"Unable to complete operation on network {network_id}. There are one or more ports still in use on the"
            f" network ({users - idle}).",
            reason="network_in_use",
        )
    if idle:
        floating_ips.delete_idle(conn, network_id)
    dhcp = ports.with_owner(conn, network_id, DHCP_OWNER)
    if dhcp is not None:
        ports.delete(conn, dhcp.id)
    for subnet_id in network.subnet_ids:
        subnet_rows.delete(conn, subnet_id)
    rows.delete(conn, network_id)


def _kind(conn: Connection, context: Context, network_id: str, item: Mapping[str, Any]) -> tuple[str, int, str | None]:
    """Return how a network is made: kind, tag (an administrator's choice, else a free one), physical network."""
    asked = [item.get(key) for key in _MADE]
    if any(value is not None for value in asked):
        _may_choose(context)
    kind, tag, physical = checked_kind(*asked)
    if physical is not None and rows.physical_taken(conn, physical):
        raise Conflict(
            f"Unable to create the flat network. Physical network {physical} is in use.", reason="physical_in_use"
        )
    if tag is None:
        tag = rows.free_tag(conn, first_tag(network_id))
        if tag is None:
            raise Unavailable("No tenant network is available: all network tags are in use.", reason="no_tag_left")
    elif rows.tag_taken(conn, tag):
        raise Conflict(f"Unable to create the network. The tunnel ID {tag} is in use.", reason="tag_in_use")
    return kind, tag, physical


def _only_default(conn: Connection, external: bool, network_id: str | None = None) -> None:
    """Raise unless a network may be the default one."""
    if not external:
        raise Invalid("Invalid input for is_default: only an external network can be the default one.")
    other = rows.default(conn)
    if other not in {None, network_id}:
        raise Conflict(f"A default external network already exists: {other}.", reason="default_exists")


def _reopen(conn: Connection, network: Network, changes: Mapping[str, Any]) -> None:
    """Raise unless a network may become an external one, or the default one, or cease to be."""
    external = changes.get("external", network.external)
    if (
        network.external
        and not external
        and (
            routers.with_gateway_on(conn, network.id) or ports.with_owner(conn, network.id, FLOATING_OWNER) is not None
        )
    ):
        raise Conflict(
            f"External network {network.id} cannot be updated to be made non-external, since it has existing gateway"
            " ports.",
            reason="external_in_use",
        )
    if changes.get("default", network.default):
        _only_default(conn, external, network.id)


def _remade(context: Context, network: Network, asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what an update asks for without how the network is made, which may be repeated and not changed."""
    named = [key for key in _MADE if key in asked]
    if named:
        _may_choose(context)
    tag = None if network.kind == FLAT else network.tag
    made = {"kind": network.kind, "tag": tag, "physical": network.physical}
    if any(asked[key] != made[key] for key in named):
        raise Invalid(f"Invalid input for network {network.id}: how it is made (provider:*) cannot change.")
    return {key: value for key, value in asked.items() if key not in _MADE}


def _may_choose(context: Context) -> None:
    if not context.is_admin:
        raise Forbidden("Only an administrator may choose how a network is made (provider:*).")


def _may_open(context: Context, named: Iterable[str]) -> None:
    """Refuse to change who else than its owner uses a network, unless an administrator asks for it."""
    for key in named:
        if key in _OPEN and not context.is_admin:
            raise Forbidden(f"Only an administrator may {_OPEN[key]}.")
