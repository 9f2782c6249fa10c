"""Users who have servers resized, and keep that or take it back; what rows, hosts and each commit make of that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

from msgspec.structs import replace

from floe.cloud import server_resize
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.actions import CONFIRM_RESIZE, MIGRATE, OPEN_STATES, RESIZE, REVERT_RESIZE, SUCCEEDED
from floe.core.disks import Disk
from floe.core.guests import PowerState
from floe.core.nic_limits import limits_of
from floe.core.server_resize import Asked
from floe.core.server_states import BUILT, settled
from floe.core.servers import RESIZED, Former, Server, ServerFlavor
from floe.simulation.machines import Machine
from floe.simulation.routed import Args
from floe.simulation.site import GROWN, WITH_SWAP, user_of
from floe.simulation.wired import all_of, built
from floe.store import server_disks
from floe.store import servers as rows
from floe.store.actions import actions
from floe.store.engine import Connection
from floe.store.memory import MemoryStore
from floe.store.servers import servers as table

Drop = Callable[[Cloud, str, int, str], Awaitable[None]]
_KINDS = RESIZE.kind, MIGRATE.kind, CONFIRM_RESIZE.kind, REVERT_RESIZE.kind
_FLAVORS = *GROWN, WITH_SWAP
_WINDOW = 1
"""Seconds after which `confirm-old` confirms what nobody has decided."""

_LOOK, _LOOKS = 0.25, 30
"""How often users look for a server to resize, or to decide of: seconds between two looks, and how many."""


class Shape(NamedTuple):
    """All of a server that a resize changes, and a revert brings back."""

    flavor: ServerFlavor
    disks: Sequence[Disk]
    disk_config: str
    root_device: str


class Seen(NamedTuple):
    """What a server is after a commit; `under_way` is the action that makes it another, or again the one it was.

    `left` is the host that it moved from.
    """

    shape: Shape
    former: Former | None
    under_way: str | None
    left: str


class Resized:
    """Users of resizes; `made` are the servers that were made, each with its project."""

    def __init__(
        self, made: Sequence[tuple[int, str]], drop: Drop, store: MemoryStore, accuse: Callable[[Violation], None]
    ) -> None:
        self._made, self._drop, self._store, self._accuse = made, drop, store, accuse
        self._seen: dict[str, Seen] = {}
        """What each server that somebody asked a resize of was after the last commit."""

    async def ask(self, cloud: Cloud, name: str, args: Args) -> None:
        """Have a server resized that is not, or decide of one that is."""
        first, _, other = args["do"].partition("-and-")
        there = await self._there(cloud, _is_built if first == RESIZE.kind else _waits)
        if not there:
            return
        project, server_id = there[args["pick"] % len(there)]
        user = user_of(project, name)
        larger = await cloud.db.read(lambda conn: _larger(conn, server_id))
        flavors = larger if larger and args["other"] % 10 else _FLAVORS
        flavor_id = flavors[args["other"] % len(flavors)].flavor_id
        if server_id not in self._seen and (seen := self._store.read(lambda conn: _look(conn, server_id))):
            self._seen[server_id] = seen

        async def sweep() -> None:
            settings = replace(cloud.settings, resize_confirm_window=_WINDOW)
            await server_resize.confirm_old(replace(cloud, settings=settings))

        deeds: Mapping[str, Callable[[], Awaitable[Any]]] = {
            "resize": lambda: server_resize.resize(cloud, user, server_id, Asked(flavor_id=flavor_id)),
            "confirm": lambda: server_resize.confirm(cloud, user, server_id),
            "revert": lambda: server_resize.revert(cloud, user, server_id),
            "confirm-old": sweep,
            "drop": lambda: self._drop(cloud, name, project, server_id),
        }

        async def later() -> None:
            await asyncio.sleep(args["after"])
            await deeds[other]()

        await all_of(deeds[first](), *([later()] if other else []))

    async def _there(self, cloud: Cloud, which: Callable[[Server], bool]) -> list[tuple[int, str]]:
        """Return such servers that were made; look for some seconds until there is one."""
        for _ in range(_LOOKS):
            found = await cloud.db.read(lambda conn: [(each, rows.get(conn, each[1])) for each in self._made])
            if there := [each for each, server in found if server is not None and which(server)]:
                return there
            await asyncio.sleep(_LOOK)
        return []

    def committed(self) -> None:
        """Something was committed: see that a resize keeps what was, and that its end leaves one of both, whole."""
        for server_id, before in list(self._seen.items()):
            now = self._store.read(partial(_look, server_id=server_id))
            if now is None:  # it is deleted
                del self._seen[server_id]
                continue
            self._seen[server_id] = now
            if before.former is None and now.former is not None:
                if _shape_of(now.former) != before.shape:
                    self._accuse(Violation("a resize does not keep what a server was", server_id))
            elif before.former is not None and now.former is not None:
                if now.former != before.former or (now.shape != before.shape and not _arrives(before, now)):
                    self._accuse(Violation("a server that was resized is changed before that is decided", server_id))
            elif before.former is not None:
                confirmed = before.under_way is not None and self._store.read(partial(_kept, before=before))
                wanted = before.shape if confirmed else _shape_of(before.former)
                if now.shape != wanted:
                    what = f"{'confirmed' if confirmed else 'reverted'}: {now.shape.flavor.name}"
                    self._accuse(Violation("a server is not what the end of its resize made of it", server_id, what))

    def check(self, conn: Connection) -> list[Violation]:
        """See that those are resized which wait for it to be decided, when nothing is under way."""
        return [
            Violation("a server is resized by half", server.id, server.vm_state)
            for server in built(conn, self._made)
            if (server.vm_state == RESIZED) is not (server.former is not None)
        ]


def missized(conn: Connection, machines: Mapping[str, Machine]) -> list[Violation]:
    """Find guests that were started with what another flavor than their servers' has."""
    found = []
    for row in conn.execute(table.select().where(table.c.deleted_at.is_(None), table.c.host.is_not(None))):
        machine = machines[row.host]
        if row.vm_state not in BUILT or not settled(row.vm_state, row.task_state):
            continue
        if machine.host.guests.get(row.id) is not PowerState.RUNNING:
            continue
        *has, limits = machine.sizes.get(row.id, (0, 0, set()))
        takes, asked = [row.flavor["vcpus"], row.flavor["memory_mib"]], limits_of(row.flavor.get("extra_specs", {}))
        if not limits <= {asked}:
            found.append(Violation("the NICs of a guest have other limits than its server", row.id, f"not {asked}"))
        if has != takes:
            found.append(Violation("a guest has another size than its server", row.id, f"{has}, not {takes}"))
    return found


def _is_built(server: Server) -> bool:
    return server.launched_at is not None and server.former is None


def _waits(server: Server) -> bool:
    return server.former is not None and server.task_state is None


def _larger(conn: Connection, server_id: str) -> list[ServerFlavor]:
    """Return the flavors that a server may have with no disk of it made smaller."""
    server = rows.get(conn, server_id)
    now = None if server is None else server.flavor
    return [
        each
        for each in _FLAVORS
        if now is None or (each.root_gib >= now.root_gib and each.ephemeral_gib >= now.ephemeral_gib and each != now)
    ]


def _look(conn: Connection, server_id: str) -> Seen | None:
    server = rows.get(conn, server_id)
    if server is None:
        return None
    a = actions.c
    opened = a.subject_id == server_id, a.kind.in_(_KINDS), a.state.in_(sorted(OPEN_STATES))
    under_way = conn.execute(actions.select().where(*opened)).first()
    return Seen(_now(conn, server), server.former, None if under_way is None else under_way.id, server.left)


def _now(conn: Connection, server: Server) -> Shape:
    disks = tuple(server_disks.of_server(conn, server))
    return Shape(server.flavor, disks, server.disk_config, server.root_device)


def _shape_of(former: Former) -> Shape:
    return Shape(former.flavor, former.disks, former.disk_config, former.root_device)


def _arrives(before: Seen, now: Seen) -> bool:
    """Say whether a server comes to another host: its root disk stands on what it travelled as from then on."""
    ended = before.under_way is not None and now.under_way is None
    roles = [[disk.role for disk in each.shape.disks] for each in (before, now)]
    return (
        ended
        and bool(now.left)
        and roles[0] == roles[1]
        and now.shape._replace(disks=()) == before.shape._replace(disks=())
    )


def _kept(conn: Connection, before: Seen) -> bool:
    """Say whether what was under way has kept what a server was resized to."""
    row = conn.execute(actions.select().where(actions.c.id == before.under_way)).first()
    return row is not None and row.kind == CONFIRM_RESIZE.kind and row.state == SUCCEEDED
