"""A create on trial: all that one checks is checked, where its servers would go is told, and nothing is changed."""

from __future__ import annotations

import zlib
from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from floe.cloud import new_servers, servers
from floe.cloud.cloud import Cloud
from floe.cloud.new_servers import Plan
from floe.core.aggregates import demands, fitting
from floe.core.context import Context
from floe.core.errors import NoValidHost
from floe.core.ids import derived
from floe.core.new_servers import NewServer, names
from floe.core.servers import Server
from floe.scheduler.hosts import HostTable
from floe.scheduler.select import Selection, choose, explain
from floe.scheduler.spec import RequestSpec, hinted, spec_of
from floe.store import aggregates, allocations, hosts, server_groups
from floe.store.engine import Connection


class Tried(msgspec.Struct, frozen=True, kw_only=True):
    """Where servers would go, and why not more of them would; fewer than `least` would not be made."""

    least: int
    chosen: tuple[Selection, ...] = ()
    refusal: NoValidHost | None = None
    warning: str = ""

    @property
    def possible(self) -> bool:
        """Whether the create would make servers."""
        return len(self.chosen) >= self.least


class _Planned(Exception):
    """Ends the transaction of a create that was found good, so that nothing of it stays."""

    def __init__(self, plan: Plan, made: Sequence[Server]) -> None:
        super().__init__("a dry run changes nothing")
        self.plan, self.made = plan, made


async def run(cloud: Cloud, context: Context, new: NewServer) -> Tried:
    """Say what a create would come to now. Raises what the create would.

    Conductors may know of a host what its row does not say yet: builds that failed there, and room that is promised.
    """
    project_id = servers.project_of(context)
    idents = [cloud.new_id() for _ in range(new.max_count)]
    now = cloud.clock.now()

    def plan(conn: Connection) -> None:
        fresh = derived(idents[0], "default group")
        found = new_servers.plan(conn, cloud, context, project_id, new, fresh, now, idents[0])
        named = zip(names(new.name, found.count), idents, strict=False)
        made = [
            servers.as_planned(ident, context, project_id, new, found, name, index, "", now)
            for index, (name, ident) in enumerate(named)
        ]
        raise _Planned(found, made)

    try:
        await cloud.db.write(plan)
    except _Planned as found:
        planned, made = found.plan, found.made

    def place(conn: Connection) -> Tried:
        table = HostTable()
        for host in hosts.every(conn):
            table.put(host, up=host.is_up(now))
        chosen, refusal = _placed(table, made, _asked(conn, made[0]))
        warning = planned.given.warning
        return Tried(least=new.min_count, chosen=chosen, refusal=refusal, warning=warning)

    return await cloud.db.scan(place)


def _asked(conn: Connection, server: Server) -> RequestSpec:
    """Return what the first of servers that are made together asks of its host."""
    group = server_groups.get(conn, server.group_id) if server.group_id else None
    asked, named = demands(server.flavor.extra_specs), hinted(server)
    return spec_of(
        server,
        group=group,
        group_hosts=allocations.members(conn, group.id) if group else None,
        hint_hosts=allocations.hosts_of(conn, named) if named else None,
        aggregates=fitting(aggregates.described(conn), asked) if asked else None,
    )


def _placed(
    table: HostTable, made: Sequence[Server], spec: RequestSpec
) -> tuple[tuple[Selection, ...], NoValidHost | None]:
    """Choose hosts one after the other, each as if those before it had been made."""
    chosen, there = list[Selection](), Counter(spec.group_hosts)
    for server in made:
        asked = replace(spec, group_hosts=there)
        selection = choose(asked, table, zlib.crc32(server.id.encode()))
        if selection is None:
            return tuple(chosen), explain(asked, table)
        chosen.append(selection)
        table.take(selection.host, spec.resources)
        if spec.group is not None:
            there[selection.host] += 1
    return tuple(chosen), None
