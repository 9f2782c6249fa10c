"""Ports that an administrator binds to a host: they are plugged there as those of servers are, with nobody at them.

A host that is not known cannot have them: such a binding is kept, and shown as one that failed until the host comes. A
server that takes the port takes it to its own host, and leaves it bound to none.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from floe.cloud import host_networks
from floe.core.context import Context
from floe.core.errors import Conflict, Forbidden
from floe.core.ports import Port
from floe.store import hosts, port_bindings, ports
from floe.store.engine import Connection

_NAMES = {"host": "binding:host_id", "profile": "binding:profile"}


def chosen(conn: Connection, context: Context, item: Mapping[str, Any], port: Port | None = None) -> dict[str, Any]:
    """Return what a create, or a change of a port, asks of its binding, as its row has it.

    Raises Forbidden for who is no administrator, Conflict for the host of a port that is a server's or the cloud's own.
    """
    held: dict[str, Any] = (
        {"host": None, "profile": {}} if port is None else {"host": port.host, "profile": port.profile}
    )
    asked: dict[str, Any] = {"host": item.get("host") or None, "profile": item.get("profile") or {}}
    changes = {key: value for key, value in asked.items() if key in item and value != held[key]}
    for key in changes:
        if not context.is_admin:
            raise Forbidden(f"Only an administrator may choose {_NAMES[key]} of a port.")
    if "host" not in changes:
        return changes
    if port is not None and (port.server_id is not None or port.kept):
        raise Conflict(
            f"Port {port.id} is bound ({port.device_owner} {port.device_id}); binding:host_id cannot change.",
            reason="port_in_use",
        )
    host: str | None = changes["host"]
    known = host is not None and hosts.get(conn, host) is not None
    return {**changes, "pinned": host is not None, "plugged": known}


def host_came(conn: Connection, host: str) -> None:
    """Have a host that is known now told of the ports that were bound to it before it was."""
    waiting = port_bindings.awaiting(conn, host)
    if waiting:
        port_bindings.host_came(conn, waiting)
        host_networks.touch_members(conn, host, ports.many(conn, waiting).values())
        host_networks.touch_hosts(conn, [host])


def tell(conn: Connection, before: Port | None, after: Port | None) -> bool:
    """Have the hosts told that have, or had, a port, of which something they know of has changed; True if any has."""
    there = [port for port in (before, after) if port is not None]
    if after is not None and after.router_id is not None:
        changed = before is not None and (before.up, before.fixed_ips) != (after.up, after.fixed_ips)
        return changed and host_networks.touch_router(conn, after.router_id)
    known = set().union(*(port.plugged_on for port in there))
    if not known or (len(there) == 2 and _told(there[0]) == _told(there[1])):
        return False
    host_networks.touch_hosts(conn, known)
    if len(there) == 1 or _membership(there[0]) != _membership(there[1]):
        for host in sorted(known):
            host_networks.touch_members(conn, host, [port for port in there if host in port.plugged_on])
    return True


def _membership(port: Port) -> tuple[Any, ...]:
    return port.fixed_ips, port.groups, port.plugged_on


def _told(port: Port) -> tuple[Any, ...]:
    its = (port.up, port.mac, port.allowed_pairs, port.port_security, port.hostname, port.dns_domain, port.dhcp_options)
    return its + _membership(port)
