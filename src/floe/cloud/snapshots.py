"""Images made of servers: noted here, done by a conductor, and their bytes taken from the host that has the disk."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from datetime import datetime

import msgspec

from floe.cloud import image_quotas, quotas, servers, unmade_images
from floe.cloud.cloud import Cloud
from floe.cloud.image_data import Upload, receive
from floe.core import image_properties, image_tickets
from floe.core.actions import CREATE_BACKUP, CREATE_IMAGE, OPEN_STATES, SHELVE, Action, Begins
from floe.core.context import Context
from floe.core.disks import MIB, ROOT, Blank
from floe.core.errors import Conflict, Forbidden, Gone, Invalid, OverQuota, TooLarge, Unavailable
from floe.core.given import ResizeGiven, SnapshotGiven
from floe.core.image_tickets import ImageTicket
from floe.core.images import ACTIVE, DEACTIVATED, QUEUED, SAVING, Image, ImageMember, demand_limits
from floe.core.servers import IMAGE_UPLOADING, SHELVING_IMAGE_UPLOADING, Server
from floe.core.snapshots import BACKUP, image_of
from floe.store import actions, hosts
from floe.store import images as rows
from floe.store import servers as server_rows
from floe.store.engine import Connection
from floe.store.images import Wanted

_SPARE = 300.0
_GIB = 1 << 30
_TABLES = 64 << 20
"""Bytes that an image may be larger than the disk in it, beside a thousandth of that."""


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What a user asks for: the image's name and metadata; of a backup its kind, and how many of that kind stay."""

    name: str
    metadata: Mapping[str, str] = msgspec.field(default_factory=dict)
    backup: str = ""
    rotation: int = 0
    counted: bool = False
    """Whether the metadata is held against the project's quota of it."""


async def create(cloud: Cloud, context: Context, server_id: str, asked: Asked) -> str:
    """Begin to make an image of a server's root disk, of a locked one too; return the image's id.

    Raises NotFound, Conflict where the server's state does not allow it or its guest cannot be quiesced as its image
    demands, OverQuota, Invalid.
    """
    now, image_id, action_id = cloud.clock.now(), cloud.new_id(), cloud.new_id()
    begins = CREATE_BACKUP if asked.backup else CREATE_IMAGE

    def begin(conn: Connection) -> Action:
        known = actions.get(conn, action_id)  # of a run whose commit was not answered
        if known is not None:
            return known
        server = servers.visible(conn, context, server_id)
        _check(server, begins)
        if asked.counted:
            _demand_room(conn, server.project_id, asked.metadata)
        image = insert(conn, context, server, asked, image_id, now)
        given = SnapshotGiven(host=server.host or "", image_id=image.id, backup=asked.backup, rotation=asked.rotation)
        action = servers.new_action(action_id, context, server, begins, now, given)
        servers.begin(conn, server, begins, action)
        return action

    await cloud.hand_over(await cloud.db.write(begin))
    return image_id


def _check(server: Server, begins: Begins) -> None:
    if server.vm_state in (begins.allowed or ()):
        if server.task_state is not None:
            raise Conflict(f"Cannot '{begins.kind}' instance {server.id} while it is in task_state {server.task_state}")
        if server.host is None or server.launched_at is None:
            raise Conflict(f"Cannot '{begins.kind}' instance {server.id}: it was never built, so there is no guest.")
        try:
            image_properties.quiesces(server.image_properties)
        except Invalid as error:
            raise Conflict(f"Failed to quiesce instance {server.id}: {error.message}") from None


def _demand_room(conn: Connection, project_id: str, metadata: Mapping[str, str]) -> None:
    limit = quotas.limits(conn, project_id)["metadata_items"]
    if 0 <= limit < len(metadata):
        raise OverQuota("Image metadata limit exceeded")


def insert(conn: Connection, context: Context, server: Server, asked: Asked, image_id: str, now: datetime) -> Image:
    """Insert the image that a server's root disk is to become. Raises OverQuota, Invalid."""
    image = image_of(
        server,
        None if server.image_id is None else rows.get(conn, server.image_id),
        ident=image_id,
        name=asked.name,
        backup=asked.backup,
        user_id=context.user_id,
        project_id=context.project_id or server.project_id,
        metadata=asked.metadata,
        now=now,
    )
    try:
        demand_limits((), image.properties)
        image_quotas.take_image(conn, image.owner)
    except TooLarge as error:
        raise OverQuota(error.message) from error
    except Forbidden as error:
        raise Invalid(error.message) from error
    rows.insert(conn, image)
    if image.owner != server.project_id:
        rows.put_member(
            conn, ImageMember(image_id=image_id, project_id=server.project_id, created_at=now, updated_at=now)
        )
    return image


# -- how it ends, in the workflow's transactions ----------------------------------------------------------


def finish(conn: Connection, action: Action, now: datetime) -> None:
    """Have the server do nothing more for an image that is there. Raises Gone where that was deleted meanwhile."""
    image = rows.get(conn, unmade_images.given(action).image_id)
    if image is None or image.status in {QUEUED, SAVING}:
        raise Gone(f"Image {unmade_images.given(action).image_id} was deleted while it was being made.")
    unmade_images.settle(conn, action.subject_id, now)


def rotate(conn: Connection, action: Action, now: datetime, action_ids: Sequence[str]) -> int:
    """Delete the oldest backups of a server and kind beyond those that are to stay; return how many.

    What is protected stays; more than there are `action_ids` for, the next backup deletes.
    """
    given, owner = unmade_images.given(action), action.project_id
    alike = {"instance_uuid": action.subject_id, "image_type": BACKUP, "backup_type": given.backup}
    found, _ = rows.find(conn, Wanted(project_id=owner, conditions=(("owner", "eq", owner),), properties=alike))
    old = [image for image in found[given.rotation :] if not image.protected and image.status == ACTIVE]
    gone = old[::-1][: len(action_ids)]
    for image, action_id in zip(gone, action_ids, strict=False):
        unmade_images.remove(conn, image, action, now, action_id)
    return len(gone)


# -- its bytes --------------------------------------------------------------------------------------------


def ticket(cloud: Cloud, host: str, action_id: str, *, role: str = ROOT, seconds: float) -> ImageTicket:
    """Return what a host needs to send the bytes that an action makes of a disk, in a command of so many seconds."""
    expires = int(cloud.clock.now().timestamp() + seconds + _SPARE)
    name = action_id if role == ROOT else f"{action_id}.{role}"
    (made,) = image_tickets.issue(cloud.token_keys()[0], host, [name], expires)
    return made


async def take(cloud: Cloud, shown: str | None, name: str, chunks: AsyncIterator[bytes], *, announced: int) -> None:
    """Take the bytes that an action makes from the host that shows a ticket for them; what is there already is taken.

    Raises Forbidden, Gone where nobody wants them any more, Conflict where others came, Unavailable while those that
    came before are taken away, TooLarge, and whatever `image_data.upload` does.
    """
    try:
        found = image_tickets.read(shown)
        image_tickets.demand_valid(found, cloud.token_keys(), cloud.clock.now().timestamp(), "PUT", name)
    except ValueError as error:
        raise Forbidden(str(error)) from None
    now, (action_id, _, role) = cloud.clock.now(), name.partition(".")

    def admit(conn: Connection) -> Upload | None:
        action = actions.get(conn, action_id)
        known = action is not None and action.kind in unmade_images.MAKERS and hosts.get(conn, found.host) is not None
        if action is None or not known or unmade_images.given(action).host != found.host:
            raise Forbidden("The ticket is for nothing that this host makes.")
        image_id = unmade_images.images_of(action).get(role or ROOT, "")
        image, server = rows.get(conn, image_id), server_rows.get(conn, action.subject_id)
        if action.state not in OPEN_STATES or image is None or server is None:
            raise Gone("Nobody wants the image any more: it was deleted, or its server was.")
        if image.status != QUEUED and not unmade_images.is_sent(conn, image.id, action_id):
            raise Conflict(f"Image {image.id} was given other data while it was being made.")
        if image.status in {ACTIVE, DEACTIVATED}:
            return None
        if image.status == SAVING:
            raise Unavailable("What came of the image before is still being taken away.")
        _demand_size(server.flavor.root_gib * _GIB if not role else _size_of(action, role), announced)
        if action.kind not in unmade_images.MOVERS:
            uploading = SHELVING_IMAGE_UPLOADING if action.kind == SHELVE.kind else IMAGE_UPLOADING
            server_rows.change(conn, server.id, task_state=uploading, updated_at=now)
        roles = frozenset[str]() if image.owner else frozenset({"admin"})  # one that is nobody's
        context = Context(request_id=action.request_id, user_id=action.user_id, project_id=image.owner, roles=roles)
        return Upload(context=context, image_id=image.id, maker=action_id, announced=announced)

    await receive(cloud, admit, chunks)


def _size_of(action: Action, role: str) -> int:
    """Return how many bytes a disk has that travels."""
    disks = msgspec.convert(action.input, ResizeGiven).disks
    return next(disk.size_mib * MIB for disk in disks if isinstance(disk, Blank) and disk.role == role)


def _demand_size(disk: int, announced: int) -> None:
    most = disk + disk // 1000 + _TABLES
    if disk and announced > most:
        raise TooLarge(f"The image is {announced} bytes large; of a disk of {disk} bytes it is at most {most}.")
