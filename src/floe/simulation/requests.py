"""Users: what they ask for in a run, what they were answered, and whether that came true."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

from msgspec.structs import replace

from floe.cloud import (
    aggregates,
    compute_quotas,
    image_data,
    images,
    ports,
    security_groups,
    server_groups,
    server_metadata,
    server_power,
    server_states,
    servers,
)
from floe.cloud.audit import Violation
from floe.cloud.cloud import Cloud
from floe.core.errors import FloeError, Gone
from floe.core.guest_actions import ON_GUEST, STOP
from floe.core.idempotency import once
from floe.core.images import ACTIVE, NewImage
from floe.core.listing import Listing
from floe.core.new_servers import NewServer
from floe.core.nics import PlannedNic
from floe.core.server_groups import ServerGroup
from floe.simulation import drives
from floe.simulation.allotted import Allotted
from floe.simulation.forwarded import Forwarded
from floe.simulation.lives import Lives
from floe.simulation.outside import Outside
from floe.simulation.pinned import Pinned
from floe.simulation.planting import BY_ITSELF, failed_by_itself
from floe.simulation.posted import Posted
from floe.simulation.routed import Routed
from floe.simulation.shape import Event
from floe.simulation.site import IMAGES, PROJECTS, WITH_SWAP, Site, operator_of, user_of
from floe.simulation.wired import Wired, all_of
from floe.store import hosts as host_rows
from floe.store import images as image_rows
from floe.store import security_groups as group_rows
from floe.store.engine import Connection
from floe.store.past_servers import past_servers
from floe.store.servers import servers as table

ZONE = "east"
_FLAVORS = {"2": WITH_SWAP.flavor_id}
_OTHER = "x"
"""What the name of a server in another body ends with."""


class Users:
    """All users. What was answered is kept, to be compared with what there is at the end."""

    def __init__(self, site: Site, note: Callable[..., None], accuse: Callable[[Violation], None]) -> None:
        self._site, self._note, self._accuse = site, note, accuse
        self._made: list[tuple[int, str]] = []
        """Project and id of the servers whose create was answered."""
        self._asked: dict[str, tuple[int, int]] = {}
        """Name of each create, and how many servers it asked for: at least and at most."""
        self._keyed: dict[str, tuple[int, NewServer]] = {}
        """What was asked for with each key."""
        self._answers: dict[str, set[tuple[str, ...]]] = {}
        """What each key and body was answered: password and ids of servers."""
        self._images: list[str] = [*IMAGES]
        self._uploaded: dict[str, bytes] = {}
        """The bytes of images whose upload was answered."""
        self._delete_asked: set[str] = set()
        self._deleted: set[str] = set()
        self._groups: list[ServerGroup] = []
        self._ports: list[tuple[int, str]] = []
        self._rules = 0
        self._routed, self.posted = Routed(site), Posted(site.store, accuse)
        self._forwarded, self._outside = Forwarded(self._routed), Outside(self._routed)
        self._allotted = Allotted(self._routed)
        self._pinned = Pinned(self._routed, site, lambda *port: self._ports.append(port))
        self._wired = Wired(self._routed, site, self._made, self._ports, self._drop)
        self.lives = Lives(self._made, self._drop, self._delete_asked.add, site.store, accuse)
        self._locked: set[str] = set()
        """Servers that are being locked, looked at, and unlocked."""

    async def ask(self, cloud: Cloud, number: int, event: Event) -> None:
        """Make one request; what is refused is noted and no more."""
        asks: dict[str, Callable[[Cloud, str, dict[str, Any]], Awaitable[None]]] = {
            "group": self._group,
            "group-delete": self._group_delete,
            "create": self._create,
            "create-delete": self._create_and_delete,
            "delete": self._delete,
            "delete-twice": self._delete_twice,
            "port": self._port,
            "port-delete": self._port_delete,
            "rule": self._rule,
            "again": self._again,
            "upload": self._upload,
            "upload-again": self._upload_again,
            "image-delete": self._image_delete,
            "metadata": self._metadata,
            "quota": self._quota,
            "user-quota": self._user_quota,
            "reset": self._reset,
            "guest-power": self._power,
            "password-clear": self._password_clear,
            "lock": self._lock,
            "zone": self._zone,
            "drives": self._drives,
            "routed": self._routed.ask,
            "forwarding": self._forwarded.ask,
            "gateway": self._outside.ask,
            "pool": self._allotted.ask_pool,
            "topology": self._allotted.ask_topology,
            "pin": self._pinned.ask,
            "nic": self._wired.ask,
            **self.lives.asks,
        }
        try:
            await asks[event.what](cloud, event.args.get("key", f"r{number}"), event.args)
            self._note("answered", number, event.what)
        except FloeError as error:
            self._note("refused", number, event.what, error.message)
        except Exception as error:
            rule = BY_ITSELF if failed_by_itself(error) else "a request failed unexpectedly"
            said = str(error).partition("\n")[0]
            self._accuse(Violation(rule, event.what, f"{type(error).__name__}: {said}"))

    def check(self, conn: Connection) -> list[Violation]:
        """Compare the answers with the rows, when nothing is under way."""
        rows = {row.id: row for row in conn.execute(table.select())}
        past = {row.id: row for row in conn.execute(past_servers.select())}
        found = [Violation("a server that is there is past", ident) for ident in sorted(rows.keys() & past.keys())]
        for _, server_id in self._made:
            if server_id not in rows and server_id not in past:
                found.append(Violation("a server was promised and is not there", server_id))
        per_name: dict[str, int] = {}
        without_room: dict[str, int] = {}
        for row in past.values():
            base = row.name.partition("-")[0]
            per_name[base] = per_name.get(base, 0) + 1
            without_room[base] = without_room.get(base, 0) + (row.id not in self._delete_asked)
        for row in rows.values():
            base = row.name.partition("-")[0]
            per_name[base] = per_name.get(base, 0) + 1
            if row.deleted_at is not None and row.id not in self._delete_asked:
                if row.launch_index < self._asked[base][0]:
                    found.append(Violation("a server is gone that nobody deleted", row.id))
                without_room[base] = without_room.get(base, 0) + 1
            if row.deleted_at is None and row.id in self._deleted:
                found.append(Violation("a server whose delete was accepted is there", row.id, row.vm_state))
            if row.fault and "nexpected" in row.fault["message"]:
                found.append(Violation("a fault tells the user nothing", row.id, row.fault["message"]))
        for name, count in per_name.items():
            least, most = self._asked.get(name, (0, 0))
            if count > most:
                found.append(Violation("a create was done twice", name, f"{count} servers"))
            if count - without_room.get(name, 0) < least:
                found.append(Violation("fewer servers are made than were asked for at least", name, f"{count} made"))
        zones = {host.name: host.zone for host in host_rows.every(conn)}
        found += [
            Violation("a server is not in the zone that it was asked for in", row.id, zones[row.host])
            for row in rows.values()
            if row.deleted_at is None and row.host is not None and row.requested_zone not in (None, zones[row.host])
        ]
        found += self._check_keys(per_name) + self._check_images(conn)
        parts = self._routed, self._forwarded, self._outside, self._allotted, self._wired
        found += [each for part in (*parts, self.lives, self.posted) for each in part.check(conn)]
        return found

    def _check_keys(self, made: dict[str, int]) -> list[Violation]:
        found = []
        for key in self._keyed:
            if key in made and f"{key}{_OTHER}" in made:
                found.append(Violation("a key was taken for two requests", key))
        for name, answers in self._answers.items():
            if len(answers) > 1:
                found.append(Violation("a request sent again was answered otherwise", name, str(sorted(answers))))
        return found

    def _check_images(self, conn: Connection) -> list[Violation]:
        found = []
        for image_id in self._images:
            image = image_rows.get(conn, image_id)
            data = self._uploaded.get(image_id)
            if image is not None and image.status not in ("queued", ACTIVE):
                found.append(Violation("an image is stuck", image_id, image.status))
            elif image is not None and data is not None and image.sha512 != hashlib.sha512(data).hexdigest():
                found.append(Violation("an image is not what was uploaded", image_id, image.status))
        return found

    # -- what they ask for ----------------------------------------------------------------------------

    async def _group(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        (made,) = await server_groups.create(cloud, user_of(0, name), [{"name": name, "policy": args["policy"]}])
        self._groups.append(made.group)

    async def _group_delete(self, cloud: Cloud, name: str, _args: dict[str, Any]) -> None:
        """Delete the group, whoever is in it or on the way to it; who asks for it later is refused."""
        if self._groups:
            await server_groups.delete(cloud, user_of(0, name), self._groups[0].id)

    async def _create(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        await self._new(cloud, name, args)

    async def _again(self, cloud: Cloud, key: str, args: dict[str, Any]) -> None:
        """Send what was sent before, or, to be refused, something else with the same key."""
        if key in self._keyed:
            project, new = self._keyed[key]
            await self._send(cloud, key, project, replace(new, name=f"{key}{_OTHER}") if args["other"] else new)

    async def _new(self, cloud: Cloud, name: str, args: dict[str, Any]) -> list[str]:
        project, network = args["project"], args["network"]
        mine = [ident for owner, ident in self._ports if owner == project]
        if network == "port":
            network = (PlannedNic(port_id=mine[-1], made=False),) if mine else "auto"
        if network == "auto" and (one := self._routed.network(project, len(self._made))):
            network = (PlannedNic(network_id=one),)
        group = self._groups[0].id if args["group"] and self._groups and project == 0 else None
        new = NewServer(
            name=name,
            flavor_id=drives.FAST.flavor_id if args.get("fast") else _FLAVORS.get(args["flavor"], args["flavor"]),
            image_id=self._image(args["image"]),
            min_count=args["least"],
            max_count=args["most"],
            networks=network,
            hints={"group": group} if group else {},
            zone=ZONE if args.get("zone") else None,
            admin_password=None if "key" in args else "secret",  # the guests do not exist
        )
        if "key" in args:
            self._keyed[args["key"]] = project, new
        return await self._send(cloud, args.get("key"), project, new)

    async def _send(self, cloud: Cloud, key: str | None, project: int, new: NewServer) -> list[str]:
        self._asked[new.name] = new.min_count, new.max_count
        body = repr(new).encode()
        made = await servers.create(cloud, user_of(project, new.name), new, once(key, body))
        ids = [server.id for server in made.servers]
        if key is not None:
            self._answers.setdefault(new.name, set()).add((made.admin_password, *ids))
        self._made += [(project, ident) for ident in ids if (project, ident) not in self._made]
        return ids

    def _image(self, which: int) -> str:
        """Return the id of an image to boot: of those that are there from the start, or of the latest upload."""
        return IMAGES[which] if which < len(IMAGES) else self._images[-1]

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
        await all_of(self._delete(cloud, name, args), self._delete(cloud, name, args))

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

    async def _upload(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        user = user_of(0, name)
        new = NewImage(name=name, disk_format="raw", container_format="bare", visibility="shared")
        image = await images.create(cloud, user, new)
        self._images.append(image.id)
        parts = [f"part {number} of {name}".encode() for number in range(args["parts"])]
        times = 2 if args["twice"] else 1
        await all_of(*(self._send_bytes(cloud, name, image.id, parts, args["cut"]) for _ in range(times)))

    async def _upload_again(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        """Send bytes for an image that was made before, whatever has become of its upload."""
        made = self._images[len(IMAGES) :]
        if made:
            parts = [f"again, part {number} of {name}".encode() for number in range(args["parts"])]
            times = 2 if args["twice"] else 1
            await all_of(*(self._send_bytes(cloud, name, made[-1], parts, args["cut"]) for _ in range(times)))

    async def _send_bytes(self, cloud: Cloud, name: str, image_id: str, parts: list[bytes], cut: bool) -> None:
        async def chunks() -> AsyncIterator[bytes]:
            for part in parts:
                await asyncio.sleep(0.2)
                yield part
            if cut:
                raise Gone("The client went away.")

        await image_data.upload(cloud, user_of(0, name), image_id, chunks())
        self._uploaded[image_id] = b"".join(parts)

    async def _image_delete(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        await images.delete(cloud, user_of(0, name), self._images[1 + args["pick"] % (len(self._images) - 1)])

    async def _metadata(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        if self._made:
            project, server_id = self._made[args["pick"] % len(self._made)]
            await server_metadata.merge(cloud, user_of(project, name), server_id, {"note": name})

    async def _password_clear(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        """Clear the password of a guest that has posted one, now or before; whoever made it must know its id."""
        posted = self.posted.known
        if known := [(project, ident) for project, ident in self._made if ident in posted]:
            project, server_id = known[args["pick"] % len(known)]
            await self.posted.clear(cloud, user_of(project, name), server_id)

    async def _reset(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        if self._made:
            project, server_id = self._made[args["pick"] % len(self._made)]
            operator = operator_of(project, name)
            await server_states.reset(cloud, operator, server_id, active=args["active"])

    async def _power(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        """Ask for changes of a guest's power, one after the other; those that the state forbids are refused."""
        for index in args["rows"]:
            if self._made:
                project, server_id = self._made[args["pick"] % len(self._made)]
                with contextlib.suppress(FloeError):
                    await server_power.change(cloud, user_of(project, name), server_id, ON_GUEST[index])
            await asyncio.sleep(args["between"])

    async def _lock(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        """Lock a server for a while, in which its user can change nothing."""
        if not self._made:
            return
        project, server_id = self._made[args["pick"] % len(self._made)]
        user = user_of(project, name)
        if server_id not in self._locked:
            self._locked.add(server_id)
            await server_states.lock(cloud, user, server_id, "it is looked at")
            for touch in (partial(server_power.change, asked=STOP), servers.delete):
                with contextlib.suppress(FloeError):
                    await touch(cloud, user, server_id)
                    self._accuse(Violation("a locked server was changed", server_id))
            await server_states.unlock(cloud, user, server_id, lambda: None)
            self._locked.remove(server_id)

    async def _zone(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        """Put a host into a zone, or take it out."""
        operator = operator_of(0, name)
        there = [each for each in await aggregates.find(cloud, operator, Listing()) if each.name == ZONE]
        (zone,) = there or await aggregates.create(cloud, operator, [{"name": ZONE, "zone": ZONE}])
        names = await cloud.db.read(lambda conn: [host.name for host in host_rows.every(conn)])
        if names:
            change = aggregates.add_host if args["add"] else aggregates.remove_host
            await change(cloud, operator, str(zone.id), {"host": names[args["pick"] % len(names)]})

    async def _drives(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        """Move a host, or its drives, to where servers that ask for fast ones may come, or may not."""
        await drives.change(cloud, operator_of(0, name), args)

    async def _quota(self, cloud: Cloud, _name: str, args: dict[str, Any]) -> None:
        limits = {"instances": args["instances"]}
        await compute_quotas.change(cloud, PROJECTS[args["project"]], limits, force=False)

    async def _user_quota(self, cloud: Cloud, name: str, args: dict[str, Any]) -> None:
        user = user_of(args["project"], name)
        whose = PROJECTS[args["project"]], user.user_id
        if args["limits"]:
            await compute_quotas.change_of_user(cloud, *whose, args["limits"], force=args["force"])
        else:
            await compute_quotas.reset_of_user(cloud, *whose)
