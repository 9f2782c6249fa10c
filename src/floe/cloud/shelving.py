"""Shelve, offload and unshelve: noted here, done by a conductor."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from floe.cloud import places, server_power, servers, snapshots
from floe.cloud.cloud import Cloud
from floe.core import guest_actions
from floe.core.actions import OFFLOAD, SHELVE, UNSHELVE, Action
from floe.core.context import Context
from floe.core.errors import Conflict, NotFound
from floe.core.given import ShelveGiven, UnshelveGiven
from floe.core.guests import GuestImage
from floe.core.images import ACTIVE as WHOLE
from floe.core.images import guest_image
from floe.core.power import Power, Wanted
from floe.core.servers import ACTIVE, PAUSED, SHELVED, SUSPENDED, Server
from floe.store import actions, shelved_servers
from floe.store import images as image_rows
from floe.store import places as place_rows
from floe.store import servers as rows
from floe.store.engine import Connection

_LONGEST_NAME = 255
_SUFFIX = "-shelved"
_LONGEST = 1e9
"""Seconds that a server waits at most to leave its host."""
_AT_ONCE = 100
"""Servers that one look of a sweep has leave their hosts; the next look goes on."""


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server is to be once it is unshelved; a zone of None takes its zone's pin away."""

    zone: str | msgspec.UnsetType | None = msgspec.UNSET
    host: str | None = None

    @property
    def named(self) -> bool:
        """Whether anything is asked for."""
        return self.zone is not msgspec.UNSET or self.host is not None


async def shelve(cloud: Cloud, context: Context, server_id: str) -> None:
    """Have a server put away: its guest ended, its root disk kept as an image.

    Raises NotFound, Conflict for one that is locked or in no state for it, OverQuota, Invalid.
    """
    now, action_id, image_id = cloud.clock.now(), cloud.new_id(), cloud.new_id()

    def begin(conn: Connection) -> Action:
        known = actions.get(conn, action_id)  # of a run whose commit was not answered
        if known is not None:
            return known
        server = servers.changeable(conn, context, server_id)
        servers.check_state(server, SHELVE)
        server_power.check_free(server, SHELVE.kind)
        server_power.check_nics(conn, server_id, SHELVE.kind)
        name = server.name[: _LONGEST_NAME - len(_SUFFIX)] + _SUFFIX
        owner = _of_its_project(context, server)
        image = snapshots.insert(conn, owner, server, snapshots.Asked(name=name), image_id, now)
        wanted = guest_actions.STOP.wanted(server, now)
        given = ShelveGiven(
            host=server.host or "",
            image_id=image.id,
            runs=server.vm_state == ACTIVE,
            stands=server.vm_state in {PAUSED, SUSPENDED},
            wanted=wanted,
            patience=server_power.patience(server, cloud.settings.shutdown_timeout),
        )
        action = servers.new_action(action_id, context, server, SHELVE, now, given)
        servers.begin(conn, server, SHELVE, action, guest_generation=wanted.generation)
        return action

    await cloud.hand_over(await cloud.db.write(begin))


def _of_its_project(context: Context, server: Server) -> Context:
    """Return the caller as one of the server's project, which owns what the server is kept in."""
    return context if context.project_id == server.project_id else replace(context, project_id=server.project_id)


async def offload(cloud: Cloud, context: Context, server_id: str) -> None:
    """Have a shelved server leave its host. Raises NotFound; Conflict as `shelve` does."""
    now, action_id = cloud.clock.now(), cloud.new_id()

    def begin(conn: Connection) -> Action:
        known = actions.get(conn, action_id)
        if known is not None:
            return known
        server = servers.changeable(conn, context, server_id)
        servers.check_state(server, OFFLOAD)
        server_power.check_free(server, OFFLOAD.kind)
        action = servers.new_action(action_id, context, server, OFFLOAD, now)
        servers.begin(conn, server, OFFLOAD, action)
        return action

    await cloud.hand_over(await cloud.db.write(begin))


async def unshelve(cloud: Cloud, context: Context, server_id: str, where: Destination) -> None:
    """Have a shelved server run again, where it is or wherever there is room.

    Raises NotFound; Conflict as `shelve` does, where its image is gone, and for a destination of one that is on a host;
    Invalid for a destination that is none.
    """
    now, action_id = cloud.clock.now(), cloud.new_id()

    def begin(conn: Connection) -> Action:
        known = actions.get(conn, action_id)
        if known is not None:
            return known
        server = servers.changeable(conn, context, server_id)
        servers.check_state(server, UNSHELVE)
        if server.task_state is not None:
            server_power.check_free(server, UNSHELVE.kind)
        given, changes = _unshelved(conn, cloud, server, where, now)
        action = servers.new_action(action_id, context, server, UNSHELVE, now, given)
        servers.begin(conn, server, UNSHELVE, action, **changes)
        return action

    await cloud.hand_over(await cloud.db.write(begin))


def _unshelved(
    conn: Connection, cloud: Cloud, server: Server, where: Destination, now: datetime
) -> tuple[UnshelveGiven, dict[str, Any]]:
    """Return what an unshelve is given, and the columns of the server that change with the request."""
    wanted = guest_actions.START.wanted(server, now)
    if server.vm_state == SHELVED:
        if where.named:
            raise Conflict(
                "Specifying an availability zone or a host when unshelving server "
                f'"{server.id}" with status "SHELVED" is not supported, status must be SHELVED_OFFLOADED.'
            )
        told = {"boots": wanted.boots, "guest_generation": wanted.generation}
        return UnshelveGiven(host=server.host or "", wanted=wanted), told
    zone = server.requested_zone if where.zone is msgspec.UNSET else where.zone
    asked = None if where.zone is msgspec.UNSET else where.zone
    places.check(conn, cloud.settings.availability_zone, now, zone=asked, host=None)
    if where.host is not None:
        places.check(conn, cloud.settings.availability_zone, now, zone=None, host=where.host)
        place = place_rows.get(conn, where.host, now)
        if zone is not None and place is not None and place.zone != zone:
            raise Conflict(f'Host "{where.host}" is not in the availability zone "{zone}".')
    changes = {"requested_zone": zone, "requested_host": where.host}
    given = UnshelveGiven(
        wanted=Wanted(power=Power.RUNNING),  # a guest that is made has its first boot
        image=_kept(conn, server),
        make=wanted.generation,
        was={name: getattr(server, name) for name in changes},
    )
    return given, changes


def _kept(conn: Connection, server: Server) -> GuestImage:
    """Return the image that a server is kept in. Raises Conflict where that is gone, or no longer to be had."""
    kept = shelved_servers.get(conn, server.id)
    image = None if kept is None else image_rows.get(conn, kept.image_id)
    if image is None or image.status != WHOLE:
        what = kept.image_id if kept else "it was shelved to"
        state = "was deleted" if image is None else f"is {image.status}"
        raise Conflict(
            f"Instance {server.id} cannot be unshelved: image {what}, which has its disk, {state}. "
            "It stays shelved; " + ("it can only be deleted." if image is None else "have the image active again.")
        )
    return guest_image(image)


# -- in the workflows' transactions -----------------------------------------------------------------------


def settle(conn: Connection, action: Action, zone: str, now: datetime) -> None:
    """Note that a server is shelved. Raises NotFound where its image was deleted meanwhile."""
    image_id = msgspec.convert(action.input, ShelveGiven).image_id
    image = image_rows.get(conn, image_id)
    if image is None or image.status != WHOLE:
        raise NotFound("image", image_id, message=f"Image {image_id} was deleted while the server was being shelved.")
    shelved_servers.delete(conn, action.subject_id)
    shelved_servers.insert(
        conn,
        shelved_servers.ShelvedServer(server_id=action.subject_id, image_id=image_id, zone=zone, shelved_at=now),
    )


def offload_action(ident: str, server: Server, now: datetime, request_id: str = "") -> Action:
    """Return what has a server leave its host without being asked for."""
    return Action(
        id=ident,
        kind=OFFLOAD.kind,
        version=OFFLOAD.version,
        subject_id=server.id,
        project_id=server.project_id,
        user_id=server.user_id,
        request_id=request_id,
        created_at=now,
    )


async def offload_due(cloud: Cloud) -> int:
    """Have those servers leave their hosts that were shelved long enough ago; return how many."""
    seconds, now = cloud.settings.shelved_offload_time, cloud.clock.now()
    if seconds <= 0:
        return 0
    before = now - timedelta(seconds=min(seconds, _LONGEST))
    found = await cloud.db.read(lambda conn: shelved_servers.due(conn, before, _AT_ONCE))
    for server_id in found:
        action_id = cloud.new_id()

        def begin(conn: Connection, server_id: str = server_id, action_id: str = action_id) -> Action | None:
            if (known := actions.get(conn, action_id)) is not None:
                return known
            server = rows.get(conn, server_id)
            if server is None or server.vm_state != SHELVED or server.task_state is not None:
                return None
            action = offload_action(action_id, server, now)
            servers.begin(conn, server, OFFLOAD, action)
            return action

        action = await cloud.db.write(begin)
        if action is not None:
            await cloud.hand_over(action)
    return len(found)
