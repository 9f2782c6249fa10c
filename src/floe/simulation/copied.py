"""Users who make images of servers that are there, and what rows, hosts and the image store have of it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from random import Random

from floe.agent.agent import GUESTS
from floe.cloud import images, snapshots, unmade_images
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.actions import CREATE_BACKUP, CREATE_IMAGE, SUCCEEDED
from floe.core.errors import FloeError, Unavailable
from floe.core.image_tickets import ImageTicket, authorization
from floe.core.images import ACTIVE, QUEUED, SAVING
from floe.simulation.loop import Process, current
from floe.simulation.machines import Machine
from floe.simulation.roles import Role
from floe.simulation.routed import Args
from floe.simulation.site import user_of
from floe.simulation.wired import all_of
from floe.store import actions as action_rows
from floe.store import images as image_rows
from floe.store import servers as rows
from floe.store.engine import Connection
from floe.store.servers import servers as table

KEPT = 1
"""Backups that stay."""
_PIECE = 1 << 17
_LOOK = 0.05
"""Seconds between two looks whether the process is there that was asked."""
Drop = Callable[[Cloud, str, int, str], Awaitable[None]]


class Copied:
    """Users of images of servers; `made` are the servers that were made, each with its project."""

    def __init__(self, made: Sequence[tuple[int, str]], drop: Drop) -> None:
        self._made, self._drop = made, drop
        self._asked: dict[str, str] = {}
        """Images that were asked for, and the server of each."""
        self._deleted: set[str] = set()

    async def ask(self, cloud: Cloud, name: str, args: Args) -> None:
        """Do what is asked for with one of the servers."""
        if not self._made:
            return
        server = self._made[args["pick"] % len(self._made)]
        deeds: dict[str, Callable[[Cloud, str, Args, tuple[int, str]], Awaitable[None]]] = {
            "image": self._image,
            "image-twice": self._twice,
            "backup": self._backup,
            "image-and-delete": self._and_delete,
            "image-and-drop": self._and_drop,
        }
        await deeds[args["do"]](cloud, name, args, server)

    async def _image(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str], backup: str = "") -> None:
        asked = snapshots.Asked(name=name, backup=backup, rotation=KEPT if backup else 0)
        image_id = await snapshots.create(cloud, user_of(server[0], name), server[1], asked)
        self._asked[image_id] = server[1]

    async def _backup(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        await self._image(cloud, name, args, server, "daily")

    async def _twice(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        await all_of(self._image(cloud, name, args, server), self._image(cloud, name, args, server))

    async def _and_delete(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        """Make an image of a server that is deleted meanwhile."""
        await self._image(cloud, name, args, server)
        await asyncio.sleep(args["other"] % 8 * 0.04)
        await self._drop(cloud, name, *server)

    async def _and_drop(self, cloud: Cloud, name: str, args: Args, server: tuple[int, str]) -> None:
        """Delete an image that is being made."""
        before = set(self._asked)
        await self._image(cloud, name, args, server)
        await asyncio.sleep(args["other"] % 8 * 0.04)
        for image_id in self._asked.keys() - before:
            self._deleted.add(image_id)
            await images.delete(cloud, user_of(server[0], name), image_id)

    def check(self, conn: Connection) -> list[Violation]:
        """Compare what was asked for with the rows, when nothing is under way: whole, or gone."""
        found = []
        for image_id, server_id in sorted(self._asked.items()):
            image = image_rows.get(conn, image_id)
            if image is not None and image.status in {QUEUED, SAVING}:
                found.append(Violation("an image of a server is neither whole nor gone", image_id, image.status))
            if image is not None and image.status == ACTIVE and not image.size:
                found.append(Violation("an image of a server is whole and has no bytes", image_id, server_id))
            if image is None and image_id not in self._deleted and self._must_be(conn, image_id, server_id):
                found.append(Violation("an image of a server that was made is gone", image_id, server_id))
        for row in conn.execute(table.select().where(table.c.deleted_at.is_(None))):
            if row.task_state in unmade_images.MEANWHILE and not _is_making(conn, row.id):
                found.append(Violation("an image is made of a server by nobody", row.id, row.task_state))
        return found

    def _must_be(self, conn: Connection, image_id: str, server_id: str) -> bool:
        """Say whether an image was made and no later backup can have taken its place."""
        made = action_rows.find(conn, server_id, kind=CREATE_IMAGE.kind, state=SUCCEEDED)
        return any(unmade_images.given(action).image_id == image_id for action in made)


def _is_making(conn: Connection, server_id: str) -> bool:
    kinds = {action.kind for action in action_rows.find(conn, server_id, is_open=True)}
    return bool(kinds & {CREATE_IMAGE.kind, CREATE_BACKUP.kind})


def too_many_backups(conn: Connection) -> list[Violation]:
    """Find servers of which more backups are there than are to stay, where the last one was made."""
    found = []
    for row in conn.execute(table.select().where(table.c.deleted_at.is_(None))):
        server, last = rows.get(conn, row.id), action_rows.find(conn, row.id, kind=CREATE_BACKUP.kind, limit=1)
        if server is None or not last or last[0].state != SUCCEEDED:
            continue
        alike = {"instance_uuid": row.id, "image_type": "backup", "backup_type": "daily"}
        there, _ = image_rows.find(conn, image_rows.Wanted(project_id=server.project_id, properties=alike))
        if len(there) > KEPT:
            found.append(Violation("a server has more backups than are to stay", row.id, str(len(there))))
    return found


def left(machines: Mapping[str, Machine]) -> list[Violation]:
    """Find copies of disks on hosts that nobody makes an image of any more."""
    return [
        Violation("a copy of a disk is left on a host", path.parent.name, name)
        for name, machine in machines.items()
        for path in sorted((machine.folder / GUESTS).glob("*/snapshot.*"))
    ]


class SimulatedStore:
    """See `agent.snapshots.SnapshotStore`: one of the processes that answer, each of which may die meanwhile."""

    def __init__(self, pause: Callable[[str], Awaitable[None]], roles: Mapping[str, Role], dice: Random) -> None:
        self._pause, self._roles, self._dice = pause, roles, dice

    async def send(self, ticket: ImageTicket, file: Path, size: int, told: Callable[[int], None]) -> None:
        """See `SnapshotStore.send`."""
        await self._pause("send.before")
        there = [role for role in self._roles.values() if role.answers and role.ready and role.cloud is not None]
        role = self._dice.choice(there) if there else None
        if role is None or role.process is None or role.cloud is None:
            raise Unavailable("No API answers.")
        process, answer = role.process, asyncio.get_running_loop().create_future()
        data = file.read_bytes()  # noqa: ASYNC240  # they are small here
        process.start(self._serve(role.cloud, ticket, self._pieces(data, current(), told), size, answer))
        try:
            while not answer.done() and process.alive:
                await asyncio.wait({answer}, timeout=_LOOK)
        finally:
            answer.cancel()
        if answer.cancelled():
            raise Unavailable("The API is gone.")
        answer.result()
        await self._pause("send.after")

    async def _serve(
        self, cloud: Cloud, ticket: ImageTicket, pieces: AsyncIterator[bytes], size: int, answer: asyncio.Future[None]
    ) -> None:
        """Take a request in the process that answers it."""
        try:
            await snapshots.take(cloud, authorization(ticket, "PUT"), ticket.blob, pieces, announced=size)
        except (FloeError, ConnectionError) as error:
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(None)

    async def _pieces(self, data: bytes, sender: Process | None, told: Callable[[int], None]) -> AsyncIterator[bytes]:
        for start in range(0, len(data), _PIECE):
            await self._pause("upload")
            if sender is not None and not sender.alive:
                raise ConnectionResetError("the host is gone")
            yield data[start : start + _PIECE]
            told(start)
