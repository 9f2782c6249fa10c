"""Users: what they ask for in a run, what they were answered, and whether that came true."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from floe.cloud import images, ports, security_groups, server_groups, servers
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.errors import FloeError
from floe.core.new_servers import NewServer
from floe.core.server_groups import ServerGroup
from floe.simulation.plan import Event
from floe.simulation.site import IMAGES, Site, user_of
from floe.store import security_groups as group_rows
from floe.store.engine import Connection
from floe.store.servers import servers as table


class Users:
    """All users. What was answered is kept, to be compared with what there is at the end."""

    def __init__(self, site: Site, note: Callable[..., None]) -> None:
        self._site, self._note = site, note
        self._made: list[tuple[int, str]] = []
        """Project and id of the servers whose create was answered."""
        self._asked: dict[str, int] = {}
        """Name of each create, and how many servers it asked for at most."""
        self._delete_asked: set[str] = set()
        self._deleted: set[str] = set()
        self._groups: list[ServerGroup] = []
        self._ports: list[tuple[int, str]] = []
        self._rules = 0

    async def ask(self, cloud: Cloud, number: int, event: Event) -> None:
        """Make one request; what is refused is noted and no more."""
        asks: dict[str, Callable[[Cloud, str, dict[str, Any]], Awaitable[None]]] = {
            "group": self._group,
            "create": self._create,
            "create-delete": self._create_and_delete,
            "delete": self._delete,
            "delete-twice": self._delete_twice,
            "port": self._port,
            "port-delete": self._port_delete,
            "rule": self._rule,
            "image-delete": self._image_delete,
        }
        try:
            await asks[event.what](cloud, f"r{number}", event.args)
            self._note("answered", number, event.what)
        except FloeError as error:
            self._note("refused", number, event.what, error.message)

    def check(self, conn: Connection) -> list[Violation]:
        """Compare the answers with the rows, when nothing is under way."""
        rows = {row.id: row for row in conn.execute(table.select())}
        found = []
        for _, server_id in self._made:
            if server_id not in rows:
                found.append(Violation("a server was promised and is not there", server_id))
        per_name: dict[str, int] = {}
        for row in rows.values():
            base = row.name.partition("-")[0]
            per_name[base] = per_name.get(base, 0) + 1
            if row.deleted_at is not None and row.id not in self._delete_asked:
                found.append(Violation("a server is gone that nobody deleted", row.id))
            if row.deleted_at is None and row.id in self._deleted:
                found.append(Violation("a server whose delete was accepted is there", row.id, row.vm_state))
            if row.fault and "nexpected" in row.fault["message"]:
                found.append(Violation("a fault tells the user nothing", row.id, row.fault["message"]))
        for name, count in per_name.items():
            if count > self._asked.get(name, 0):
                found.append(Violation("a create was done twice", name, f"{count} servers"))
        return found

    # -- what they ask for ----------------------------------------------------------------------------

    async def _group(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        made = await server_groups.create(cloud, user_of(0, name), name, args["policy"], None)
        self._groups.append(made.group)

    async def _create(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        await self._new(cloud, name, args)

    async def _new(self, cloud: Cloud, name: str, args: dict[str, Any]) -> list[str]:
        project, network = args["project"], args["network"]
        mine = [ident for owner, ident in self._ports if owner == project]
        if network == "port":
            network = [{"port": mine[-1]}] if mine else "auto"
        group = self._groups[0].id if args["group"] and self._groups and project == 0 else None
        new = NewServer(
            name=name,
            flavor_id=args["flavor"],
            image_id=IMAGES[args["image"]],
            min_count=args["least"],
            max_count=args["most"],
            networks=network,
            hints={"group": group} if group else {},
            admin_password="secret",  # noqa: S106  # the guests do not exist
        )
        self._asked[name] = args["most"]
        made = await servers.create(cloud, user_of(project, name), new)
        self._made += [(project, server.id) for server in made.servers]
        return [server.id for server in made.servers]

    async def _create_and_delete(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        made = await self._new(cloud, name, args)
        await asyncio.sleep(args["after"])
        for server_id in made:
            await self._drop(cloud, name, args["project"], server_id)

    async def _delete(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        if self._made:
            project, server_id = self._made[args["pick"] % len(self._made)]
            await self._drop(cloud, name, project, server_id)

    async def _delete_twice(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        await asyncio.gather(self._delete(cloud, name, args), self._delete(cloud, name, args), return_exceptions=True)

    async def _drop(self, cloud: Cloud, name: str, project: int, server_id: str) -> None:
        self._delete_asked.add(server_id)
        await servers.delete(cloud, user_of(project, name), server_id)
        self._deleted.add(server_id)

    async def _port(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        project = args["pick"] % 2
        made = await ports.create(
            cloud, user_of(project, name), [{"network_id": self._site.network_ids[project], "name": name}]
        )
        self._ports.append((project, made[0].id))

    async def _port_delete(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        if self._ports:
            project, port_id = self._ports[args["pick"] % len(self._ports)]
            await ports.delete(cloud, user_of(project, name), port_id)

    async def _rule(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        context = user_of(args["pick"] % 2, name)
        group = await cloud.db.read(lambda conn: group_rows.default_id(conn, context.project_id or ""))
        if group is not None:
            self._rules += 1
            rule = {
                "group_id": group,
                "direction": "ingress",
                "ethertype": "IPv4",
                "protocol": "tcp",
                "port_min": 1000 + self._rules,
                "port_max": 1000 + self._rules,
            }
            await security_groups.create_rules(cloud, context, [rule])

    async def _image_delete(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        await images.delete(cloud, user_of(0, name), IMAGES[1])
