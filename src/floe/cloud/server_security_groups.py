"""Security groups as whoever has servers sees them: those that a server's ports are in, and their names in rules."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import msgspec

from floe.cloud import host_networks, security_groups, server_ports, servers
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Conflict, NotFound
from floe.core.listing import Listing
from floe.core.ports import Port
from floe.core.security_groups import Group
from floe.core.servers import BUILDING
from floe.store import ports
from floe.store import security_groups as rows
from floe.store.engine import Connection


class ServerGroups(msgspec.Struct, frozen=True, kw_only=True):
    """The groups, by project and name, and of each group that a rule of theirs refers to the project and name."""

    groups: tuple[Group, ...]
    referred: dict[str, tuple[str, str]]


async def of_server(cloud: Cloud, context: Context, server_id: str) -> ServerGroups:
    """Return the groups of a server's ports; while it is built and has none yet, those they will be in.

    Raises NotFound for a server the caller does not see.
    """

    def look(conn: Connection) -> ServerGroups:
        server = servers.visible(conn, context, server_id)
        ports = server_ports.of_server(conn, server_id)
        wanted = {group_id for port in ports for group_id, _ in port.groups}
        if not ports and server.vm_state == BUILDING:
            wanted = {group_id for nic in server.networks for group_id in nic.security_groups}
        return with_referred(conn, rows.many(conn, wanted))

    return await cloud.db.read(look)


def with_referred(conn: Connection, groups: Sequence[Group]) -> ServerGroups:
    """Return groups with what is shown of those that their rules refer to."""
    others = {rule.remote_group for group in groups for rule in group.rules if rule.remote_group}
    known = [*groups, *rows.many(conn, others - {group.id for group in groups})]
    return ServerGroups(
        groups=tuple(sorted(groups, key=lambda group: (group.project_id, group.name))),
        referred={group.id: (group.project_id, group.name) for group in known},
    )


async def of_project(
    cloud: Cloud, context: Context, *, limit: int, offset: int = 0, every: bool = False
) -> ServerGroups:
    """Return a page of the groups of the caller's project, or of `every` one that the caller sees, by project and name.

    The project's default group is made if it is not there.
    """
    mine = {} if every else {"project_id": [context.project_id or ""]}
    order = (("project_id", True), ("name", True))
    found = await security_groups.find(cloud, context, Listing(filters=mine, sort=order, limit=limit, offset=offset))
    return await cloud.db.read(lambda conn: with_referred(conn, found))


async def show(cloud: Cloud, context: Context, group_id: str) -> ServerGroups:
    """Return one group. Raises NotFound."""
    return await cloud.db.read(lambda conn: with_referred(conn, [security_groups.OWNED.get(conn, context, group_id)]))


async def add(cloud: Cloud, context: Context, server_id: str, named: str) -> None:
    """Have the ports of a server in one more group, by its name or id; those that are in it stay.

    Raises NotFound, Conflict for a name that several groups have.
    """

    def more(group_id: str, found: Sequence[Port]) -> Iterator[tuple[Port, set[str]]]:
        for port in found:
            if port.port_security and port.fixed_ips and group_id not in port.groups:
                yield port, {*port.groups, group_id}

    await _regroup(cloud, context, server_id, named, more)


async def remove(cloud: Cloud, context: Context, server_id: str, named: str) -> None:
    """Take the ports of a server out of a group, by its name or id.

    Raises NotFound also where none is in it, Conflict for a name that several groups have.
    """

    def less(group_id: str, found: Sequence[Port]) -> Iterator[tuple[Port, set[str]]]:
        inside = [port for port in found if group_id in port.groups]
        if not inside:
            message = f"Security group {named} not associated with the instance {server_id}"
            raise NotFound("security group", named, message=message)
        for port in inside:
            yield port, {*port.groups} - {group_id}

    await _regroup(cloud, context, server_id, named, less)


async def _regroup(
    cloud: Cloud,
    context: Context,
    server_id: str,
    named: str,
    changes: Callable[[str, Sequence[Port]], Iterator[tuple[Port, set[str]]]],
) -> None:
    now = cloud.clock.now()

    def write(conn: Connection) -> bool:
        server = servers.visible(conn, context, server_id)
        group_id = _group(conn, server.project_id, named)
        found = ports.of_server(conn, server.id)
        if not found:
            message = f"Instance {server_id} could not be found as device id on any ports"
            raise NotFound("port", message=message)
        touched = False
        for port, groups in changes(group_id, found):
            ports.update(conn, port.id, {"groups": tuple(sorted(groups))}, now)
            after = ports.get(conn, port.id)
            assert after is not None
            touched |= host_networks.touch_port(conn, port, after)
        return touched

    if await cloud.db.write(write):
        await cloud.network_nudge()


def _group(conn: Connection, project_id: str, named: str) -> str:
    """Return the id of a project's group. Raises NotFound, Conflict."""
    known = rows.named(conn, project_id, [named])
    found = [ident for ident, _ in known if ident == named] or [ident for ident, _ in known]
    if not found:
        raise NotFound("security group", named, message=f"Security group {named} not found.")
    if len(found) > 1:
        raise Conflict(f"Multiple security groups found matching '{named}'. Use an ID to be more specific.")
    return found[0]
