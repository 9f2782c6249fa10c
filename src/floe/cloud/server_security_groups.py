"""The security groups that a server's ports are in."""

from __future__ import annotations

import msgspec

from floe.cloud import server_ports, servers
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.security_groups import Group
from floe.core.servers import BUILDING
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
        groups = rows.many(conn, wanted)
        others = {rule.remote_group for group in groups for rule in group.rules if rule.remote_group} - wanted
        known = [*groups, *rows.many(conn, others)]
        return ServerGroups(
            groups=tuple(sorted(groups, key=lambda group: (group.project_id, group.name))),
            referred={group.id: (group.project_id, group.name) for group in known},
        )

    return await cloud.db.read(look)
