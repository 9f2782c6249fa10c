"""Servers: create, find, change, delete."""

from __future__ import annotations

import logging
import secrets
import string
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial
from typing import Any, TypeVar

import msgspec

from floe.cloud import (
    guest_metadata,
    idempotency,
    new_servers,
    sealing,
    server_ports,
    server_removal,
    shelved_images,
    unmade_images,
)
from floe.cloud.cloud import Cloud
from floe.cloud.new_servers import Plan
from floe.cloud.own_actions import Begun
from floe.core import disk_config, hostnames
from floe.core.actions import CREATE, DELETE, Action, Begins
from floe.core.context import Context
from floe.core.disks import root_device
from floe.core.errors import Conflict, Forbidden, Gone, Invalid, NotFound
from floe.core.given import Given
from floe.core.idempotency import Once
from floe.core.ids import derived
from floe.core.messages import ConsoleOutput, ReadConsole
from floe.core.new_servers import NewServer, names
from floe.core.seen_servers import SeenServer
from floe.core.server_filters import ServerFilter
from floe.core.server_migrations import CONFIRMED, FAILED
from floe.core.servers import BUILDING, ERROR, RESIZED, SCHEDULING, SHELVED, SHELVED_OFFLOADED, Server
from floe.store import actions, server_lists, server_migrations, server_views
from floe.store import servers as rows
from floe.store.engine import Connection
from floe.store.foresight import foresee
from floe.store.server_lists import NamedServer

log = logging.getLogger(__name__)

SORT_KEYS = frozenset(server_lists.SORT_KEYS)
_MAY_BE_SHELVED = frozenset({SHELVED, SHELVED_OFFLOADED, ERROR})
S = TypeVar("S", Server, SeenServer)
_PASSWORD = string.ascii_letters + string.digits
_CONSOLE_SECONDS = 30.0


class Created(msgspec.Struct, frozen=True, kw_only=True):
    """What a create made."""

    servers: tuple[Server, ...]
    reservation_id: str
    admin_password: str


async def create(cloud: Cloud, context: Context, new: NewServer, once: Once | None = None) -> Created:
    """Make servers that a conductor then builds: rows, tags and actions in one transaction, or nothing at all.

    A request that was sent `once` before gives what it gave then, and makes nothing. Raises Invalid, Forbidden,
    OverQuota and Conflict, each naming what was asked and what would be right.
    """
    project_id = project_of(context)
    password = new.admin_password or new_password()
    reservation_id = f"r-{cloud.new_id().replace('-', '')[:8]}"
    ids = [(cloud.new_id(), cloud.new_id()) for _ in range(new.max_count)]
    now = cloud.clock.now()
    sealed = sealing.seal(cloud, {"admin_password": password, "files": new.files})

    def make(conn: Connection) -> tuple[Created, list[Action]]:
        before = idempotency.earlier(conn, cloud, project_id, once, now) if once else None
        if before is not None:
            return _again(conn, before), []
        fresh = derived(reservation_id, "default group")
        plan = new_servers.plan(conn, cloud, context, project_id, new, fresh, now, ids[0][0])
        made, waiting = [], []
        for index, (name, (ident, action_id)) in enumerate(zip(names(new.name, plan.count), ids, strict=False)):
            server = as_planned(ident, context, project_id, new, plan, name, index, reservation_id, now)
            server = rows.add(conn, server, plan.disks)
            if new.tags:
                rows.set_tags(conn, server.id, new.tags)
            action = new_action(action_id, context, server, CREATE, now, plan.given, sealed)
            begin(conn, server, CREATE, action)
            made.append(server)
            waiting.append(action)
        if once:
            answer = {"servers": [server.id for server in made], "reservation": reservation_id, "password": password}
            idempotency.keep(conn, cloud, project_id, once, answer, now)
        return Created(servers=tuple(made), reservation_id=reservation_id, admin_password=password), waiting

    created, waiting = await cloud.db.write(make)
    for action in waiting:
        await cloud.hand_over(action)
    return created


def _again(conn: Connection, answer: Mapping[str, Any]) -> Created:
    """Return what an earlier create made, whatever became of it since. Raises Gone where its history was purged."""
    found = [server for ident in answer["servers"] if (server := rows.get(conn, ident, deleted=True)) is not None]
    if len(found) < len(answer["servers"]):
        raise Gone("What this request made was deleted, and its history has been purged; choose a new Idempotency-Key.")
    return Created(servers=tuple(found), reservation_id=answer["reservation"], admin_password=answer["password"])


def project_of(context: Context) -> str:
    """Return the project that a new server is to be of. Raises Forbidden for a caller without one."""
    if context.project_id is None:
        raise Forbidden("A server belongs to a project; use a token that is scoped to one.")
    return context.project_id


def as_planned(
    ident: str,
    context: Context,
    project_id: str,
    new: NewServer,
    plan: Plan,
    name: str,
    index: int,
    reservation_id: str,
    now: datetime,
) -> Server:
    """Return one of the servers that a create makes, as it is at first."""
    hostname = new.hostname
    if hostname is None:
        hostname = hostnames.hostname_of(name, ident)
    elif plan.count > 1:
        hostname = hostnames.numbered(hostname, index + 1)
    return Server(
        id=ident,
        number=0,
        project_id=project_id,
        user_id=context.user_id,
        name=name,
        description=new.description,
        hostname=hostname,
        vm_state=BUILDING,
        task_state=SCHEDULING,
        requested_zone=new.zone,
        requested_host=new.host,
        reservation_id=reservation_id,
        launch_index=index,
        flavor=plan.flavor,
        image_id=plan.boot.image.id,
        image_properties=plan.boot.image.properties,
        key_name=plan.keypair.name if plan.keypair else None,
        keys=new_servers.keys_of(plan.keypair),
        user_data=new.user_data,
        metadata=new.metadata,
        config_drive=plan.config_drive,
        access_ipv4=new.access_ipv4,
        access_ipv6=new.access_ipv6,
        security_groups=plan.security_groups,
        networks=plan.nics,
        scheduler_hints=new.hints,
        group_id=plan.group_id,
        quota_owner=plan.quota_owner,
        disk_config=plan.disk_config,
        root_device=root_device(plan.disks),
        trusted_certificates=plan.trusted_certificates,
        created_at=now,
        updated_at=now,
    )


def new_password() -> str:
    """Return a password for an administrator of a guest."""
    return "".join(secrets.choice(_PASSWORD) for _ in range(12))


def new_action(
    ident: str,
    context: Context,
    server: Server,
    begins: Begins,
    now: datetime,
    given: Given | None = None,
    sealed: str | None = None,
) -> Action:
    """Return the action that a caller begins on a server, for others' use inside their transactions."""
    if not isinstance(given := given or Given(), begins.given):
        raise TypeError(f"a {begins.kind!r} is given a {begins.given.__name__}, no {type(given).__name__}")
    return Action(
        id=ident,
        kind=begins.kind,
        version=begins.version,
        subject_kind=begins.subject,
        subject_id=server.id,
        project_id=context.project_id or server.project_id,
        user_id=context.user_id,
        request_id=context.request_id,
        input=msgspec.to_builtins(given),
        sealed=sealed,
        created_at=now,
    )


def begin(conn: Connection, server: Server, begins: Begins, action: Action, **more: Any) -> None:
    """Insert an action of a server, and put that in the state which it has meanwhile, with what `more` there is.

    Raises Conflict where the server is in no state that the action may begin in.
    """
    put_in_state(conn, server, begins, action.created_at, **more)
    actions.add(conn, action)


def put_in_state(conn: Connection, server: Server, begins: Begins, now: datetime, **more: Any) -> None:
    """Put a server in the state that it has while an action lasts. Raises Conflict as `begin` does."""
    check_state(server, begins)
    if more or server.task_state != begins.task_state:
        meanwhile = {"task_state": begins.task_state, "updated_at": now, **more}
        rows.change(conn, server.id, only_in=server.vm_state, **meanwhile)


def check_state(server: Server, begins: Begins) -> None:
    """Raise Conflict for a server in no state that an action may begin in; one that keeps what it was is resized."""
    if server.former is not None and begins.allowed is not None and RESIZED not in begins.allowed:
        raise Conflict(
            f"Cannot '{begins.kind}' instance {server.id} before its resize is confirmed or reverted; "
            f"it is in vm_state {server.vm_state}"
        )
    if begins.allowed is not None and server.vm_state not in begins.allowed:
        raise Conflict(f"Cannot '{begins.kind}' instance {server.id} while it is in vm_state {server.vm_state}")


def visible(conn: Connection, context: Context, server_id: str, *, deleted: bool = False) -> Server:
    """Return a server the caller may see; for others' use inside their transactions. Raises NotFound."""
    return _seen(context, server_id, rows.get(conn, server_id, deleted=deleted))


def changeable(conn: Connection, context: Context, server_id: str) -> Server:
    """Return a server the caller may change. Raises NotFound, and Conflict for one that is locked."""
    server = visible(conn, context, server_id)
    if server.locked and not context.is_admin:
        raise Conflict(f"Instance {server_id} is locked")
    return server


async def get(cloud: Cloud, context: Context, server_id: str) -> SeenServer:
    """Return one server. Raises NotFound."""
    now = cloud.clock.now()
    return await cloud.db.read(lambda conn: detail(conn, context, server_id, now), *server_views.asks(server_id))


async def find(cloud: Cloud, context: Context, server_id: str) -> Server:
    """Return one server's own row. Raises NotFound."""
    return await cloud.db.read(lambda conn: visible(conn, context, server_id))


def detail(conn: Connection, context: Context, server_id: str, now: datetime) -> SeenServer:
    """Return a server the caller may see, with what other nouns know of it. Raises NotFound."""
    return _seen(context, server_id, server_views.get(conn, server_id, now))


async def listed(
    cloud: Cloud,
    context: Context,
    wanted: ServerFilter,
    *,
    sort: Sequence[tuple[str, bool]] = (),
    marker: str | None = None,
    limit: int = 1000,
) -> list[NamedServer]:
    """Return a page of servers, their names alone. Raises Invalid for a marker that is no server the caller may see."""

    def look(conn: Connection) -> list[NamedServer]:
        _check_marker(conn, context, marker)
        return server_lists.listed(conn, wanted, sort=sort, marker=marker, limit=limit)

    return await (cloud.db.scan(look) if wanted.thorough else cloud.db.read(look))


async def listed_in_detail(
    cloud: Cloud,
    context: Context,
    wanted: ServerFilter,
    *,
    sort: Sequence[tuple[str, bool]] = (),
    marker: str | None = None,
    limit: int = 1000,
) -> list[SeenServer]:
    """Return a page of servers with what other nouns know of them. Raises Invalid as `listed` does."""
    now = cloud.clock.now()

    def look(conn: Connection) -> list[SeenServer]:
        _check_marker(conn, context, marker)
        return server_views.listed(conn, wanted, now, sort=sort, marker=marker, limit=limit)

    return await (cloud.db.scan(look) if wanted.thorough else cloud.db.read(look))


def _check_marker(conn: Connection, context: Context, marker: str | None) -> None:
    if marker is not None:
        try:
            visible(conn, context, marker, deleted=True)
        except NotFound:
            raise Invalid(f"marker [{marker}] not found: it is the id of no server that you can see.") from None


def _seen(context: Context, server_id: str, server: S | None) -> S:
    if server is None or not (context.is_admin or context.owns(server.project_id)):
        raise NotFound("server", server_id, message=f"Server {server_id} could not be found.")
    return server


async def update(cloud: Cloud, context: Context, server_id: str, changes: dict[str, Any]) -> SeenServer:
    """Change name, description, hostname, access addresses, disk_config or the zone it is kept in; also if locked.

    Raises NotFound, Invalid for what its image rules out, and Conflict for a zone that it is not in or has to stay in.
    """
    now = cloud.clock.now()

    def apply(conn: Connection) -> tuple[SeenServer, Server, bool]:
        server = visible(conn, context, server_id)
        if "requested_zone" in changes:
            _check_pin(server, detail(conn, context, server_id, now).zone, changes["requested_zone"])
        rows.change(conn, server_id, updated_at=now, **changes | disk_config.among(changes, server.image_properties))
        renamed = "hostname" in changes and server_ports.rename(
            conn, server_id, server.project_id, changes["hostname"], now
        )
        return detail(conn, context, server_id, now), visible(conn, context, server_id), renamed

    found, server, renamed = await cloud.db.write(apply)
    if renamed:
        await cloud.network_nudge()
    if {"name", "hostname", "disk_config"} & changes.keys():
        await guest_metadata.tell(cloud, server, found.zone)
    return found


def _check_pin(server: Server, zone: str, asked: str | None) -> None:
    """Raise Conflict where a server in this zone cannot be kept in the zone asked for. None lets it leave."""
    pinned = server.requested_zone
    if asked is None or asked == pinned:
        return
    if pinned is not None:
        raise Conflict(
            f"Server {server.id} is pinned to availability zone {pinned!r}, not to be changed into {asked[:80]!r}: "
            "unpin it first, with null."
        )
    if asked != zone:
        raise Conflict(f"Server {server.id} can be pinned to its zone {zone!r} alone, not to {asked[:80]!r}.")


async def delete(cloud: Cloud, context: Context, server_id: str, *, overdue: datetime | None = None) -> None:
    """Delete a server, whatever is being done with it; once more while it is under way changes nothing.

    With `overdue` only if it is soft-deleted, nothing is being done with it, and its time was over then.

    Raises NotFound, and Conflict when it is locked.
    """
    now, action_id, kept_id = cloud.clock.now(), cloud.new_id(), cloud.new_id()
    removal_ids = [cloud.new_id() for _ in range(unmade_images.MOST)]
    leases = cloud.leases if cloud.leases is not None and cloud.leases.at_work() else None

    def mark(conn: Connection) -> tuple[Action | None, Begun | None]:
        cancelled = partial(actions.cancel_open, ident=server_id, now=now, but=DELETE.kind)
        foresee(conn, partial(rows.get, server_id=server_id), cancelled)
        server = changeable(conn, context, server_id)
        if overdue is not None and not server.overdue(overdue):
            return None, None
        unmade_images.cancelled(conn, server, now, removal_ids)
        if server.former is not None:
            server_migrations.note(conn, server_id, CONFIRMED if server.vm_state == RESIZED else FAILED, now)
        if server.vm_state in _MAY_BE_SHELVED:
            shelved_images.let_go(conn, context, server, now, kept_id)
        if cancelled(conn):
            return None, None
        action = new_action(action_id, context, server, DELETE, now)
        put_in_state(conn, server, DELETE, now)
        return action, server_removal.begin(conn, action, leases, now)

    action, begun = await cloud.db.write(mark)
    if begun is not None and leases is not None:
        leases.take(begun)
        if begun.known[server_removal.Targets].ports:
            await cloud.network_nudge(members=True)
    elif action is not None:
        await cloud.hand_over(action)


async def console_output(cloud: Cloud, context: Context, server_id: str, lines: int | None) -> str:
    """Return the end of what the guest wrote to its console. Raises Conflict while no host has it."""
    server = await find(cloud, context, server_id)
    if server.host is None:
        raise Conflict(f"Server {server_id} is on no host yet, so it has no console; it is {server.vm_state}.")
    answer = await cloud.bus.request(
        server.host, ReadConsole(server_id=server_id, lines=lines), timeout=_CONSOLE_SECONDS
    )
    return answer.text if isinstance(answer, ConsoleOutput) else ""
