"""Users who have servers rebuilt, and what rows and hosts make of that."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import msgspec

from floe.agent.agent import GUESTS
from floe.agent.disks import KINDS, bases, paths
from floe.cloud import server_rebuild
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.actions import FAILED, REBUILD, SUCCEEDED
from floe.core.disks import RESCUE, Overlay
from floe.core.errors import HostFailure
from floe.core.given import RebuildGiven
from floe.core.server_rebuild import NewMake
from floe.core.server_rescue import rescue_disks
from floe.core.server_states import BUILT, settled
from floe.core.servers import Server
from floe.simulation.machines import Machine
from floe.simulation.routed import Args
from floe.simulation.site import IMAGES, bytes_of, user_of
from floe.simulation.wired import all_of, built
from floe.store import server_disks
from floe.store import servers as rows
from floe.store.actions import actions
from floe.store.engine import Connection
from floe.store.servers import servers as table


class Rebuilt:
    """Users who ask for rebuilds; `made` are the servers that were made, each with its project."""

    def __init__(
        self,
        made: Sequence[tuple[int, str]],
        drop: Callable[[Cloud, str, int, str], Awaitable[None]],
    ) -> None:
        self._made, self._drop = made, drop

    async def ask(self, cloud: Cloud, name: str, args: Args) -> None:
        """Have one of the servers rebuilt, mostly one that was built."""
        there = await cloud.db.read(lambda conn: [each for each in self._made if _is_built(rows.get(conn, each[1]))])
        servers = there or self._made
        if not servers:
            return
        project, server_id = servers[args["pick"] % len(servers)]
        asked = NewMake(
            image_id=IMAGES[args["other"] % len(IMAGES)],
            changes={"description": f"rebuilt by {name}", "metadata": {"rebuilt": name}},
            preserve_ephemeral=args["other"] % 3 == 0,
        )

        async def rebuild() -> None:
            await server_rebuild.rebuild(cloud, user_of(project, name), server_id, asked)

        if args["do"] == "rebuild":
            await rebuild()
        elif args["do"] == "rebuild-twice":
            await all_of(rebuild(), rebuild())
        else:
            await all_of(rebuild(), self._later(cloud, name, args, (project, server_id)))

    async def _later(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        await asyncio.sleep(args["other"] % 8 * 0.05)
        await self._drop(cloud, name, *server)

    def check(self, conn: Connection) -> list[Violation]:
        """Compare what became of each rebuild with the rows, when nothing is under way."""
        found = []
        for server in built(conn, self._made):  # what one is in ERROR by may be that nobody knows what it is
            where = actions.c.subject_id == server.id, actions.c.kind == REBUILD.kind
            done = [row for row in conn.execute(actions.select().where(*where)) if row.state in {SUCCEEDED, FAILED}]
            if not done:
                continue
            last = max(done, key=lambda row: msgspec.convert(row.input, RebuildGiven).wanted.generation)
            given = msgspec.convert(last.input, RebuildGiven)
            wanted = given.became if last.state == SUCCEEDED else given.was
            if server.image_id != wanted["image_id"] and "Nobody knows" not in (last.message or ""):
                what = f"image {server.image_id}, not {wanted['image_id']}: its rebuild {last.state}"
                found.append(Violation("a server is not what its rebuild made of it", server.id, what))
        return found


def misbuilt(conn: Connection, machines: Mapping[str, Machine]) -> list[Violation]:
    """Find guests whose disks are not those of their servers: of another make, of another image, or more than those."""
    found = []
    for row in conn.execute(table.select().where(table.c.deleted_at.is_(None))):
        server = rows.get(conn, row.id)
        if server is None or server.host is None or server.vm_state not in BUILT:
            continue
        machine = machines[server.host]
        folder = machine.folder / GUESTS / server.id
        if not folder.exists() or machine.given_up(server.id) or not settled(server.vm_state, server.task_state):
            continue
        kept = server_disks.of_server(conn, server)
        disks = kept if server.rescue is None else rescue_disks(kept, server.rescue)
        try:
            own, under = paths(disks, folder, KINDS), bases(disks, folder)
            aside = paths(kept, folder, KINDS)
            former = {} if server.former is None or server.left else paths(server.former.disks, folder, KINDS)
        except HostFailure as error:
            found.append(Violation("a server has strange disks", server.id, error.message))
            continue
        there = set(_disks_in(folder))
        all_of_them = {*own.values(), *aside.values(), *former.values()}
        if there != all_of_them:
            what = f"{server.host}: {_names(there)}, not {_names(all_of_them)}"
            found.append(Violation("a guest has other disks than its server", server.id, what))
        if server.left:
            found += _misleft(server, machines[server.left])
        if (server.rescue is None) is not (RESCUE not in own):
            found.append(Violation("a rescued server has no rescue disk", server.id))
        images = {disk.role: disk.image_id for disk in disks if isinstance(disk, Overlay)}
        for role, base in under.items():
            image_id = server.rescue.image_id if server.rescue is not None and role == RESCUE else images.get(role)
            if image_id in IMAGES and base.exists() and base.read_bytes() != bytes_of(image_id):
                found.append(Violation("a guest's disk stands on another image than its server's", server.id))
    return found


def _misleft(server: Server, machine: Machine) -> list[Violation]:
    """Find that a server which has moved has not kept its disks where it was, or more than those."""
    assert server.former is not None
    folder = machine.folder / GUESTS / server.id
    there = set(_disks_in(folder)) if folder.exists() else set()
    kept = set(paths(server.former.disks, folder, KINDS).values())
    if there == kept or machine.given_up(server.id):
        return []
    what = f"{server.left}: {_names(there)}, not {_names(kept)}"
    return [Violation("a server that moved has not left what it was", server.id, what)]


def _disks_in(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.suffix in {".qcow2", ".raw", ".iso"})


def _names(files: Iterable[Path]) -> list[str]:
    return sorted(path.name for path in files)


def _is_built(server: Server | None) -> bool:
    return server is not None and server.launched_at is not None and server.deleted_at is None
