"""Images of servers that are not made after all: their rows go with the action that was to make them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import partial

import msgspec

from floe.cloud import images
from floe.cloud.cloud import Cloud
from floe.core.actions import (
    CANCELLED,
    CREATE_BACKUP,
    CREATE_IMAGE,
    DELETE_IMAGE,
    IMAGE,
    MIGRATE,
    RESIZE,
    SHELVE,
    UPLOAD_IMAGE,
    Action,
)
from floe.core.block_devices import MOST_LOCAL
from floe.core.disks import ROOT
from floe.core.given import BlobGiven, ResizeGiven, SnapshotGiven
from floe.core.image_quotas import ImageUsage
from floe.core.images import QUEUED, SAVING, Image
from floe.core.servers import (
    IMAGE_BACKUP,
    IMAGE_SNAPSHOT,
    IMAGE_UPLOADING,
    RESIZE_FINISH,
    RESIZE_MIGRATING,
    RESIZE_PREP,
    SHELVING,
    SHELVING_IMAGE_PENDING,
    SHELVING_IMAGE_UPLOADING,
    Server,
)
from floe.store import actions, image_usage, travelling_images
from floe.store import images as rows
from floe.store import servers as server_rows
from floe.store.engine import Connection

KINDS = frozenset({CREATE_IMAGE.kind, CREATE_BACKUP.kind})
MOVERS = frozenset({RESIZE.kind, MIGRATE.kind})
"""The kinds of those for which what is on a disk travels as an image that nobody sees."""
MAKERS = KINDS | MOVERS | {SHELVE.kind}
"""The kinds of all actions that make an image of a server."""
MOST = MOST_LOCAL
"""Images that one of them makes at most: of each disk that travels."""
MEANWHILE = frozenset({IMAGE_SNAPSHOT, IMAGE_BACKUP, IMAGE_UPLOADING})
"""The task_states of a server of which an image is being made."""
_LEAVING = frozenset(
    {SHELVING, SHELVING_IMAGE_PENDING, SHELVING_IMAGE_UPLOADING, RESIZE_PREP, RESIZE_MIGRATING, RESIZE_FINISH}
)


def give_up(conn: Connection, action: Action, now: datetime, action_ids: Sequence[str]) -> None:
    """Delete the images that a failed or cancelled action did not make, by actions of these ids for their bytes.

    One that its user gave other bytes meanwhile is the user's own, and one that is whole stays: but not what a
    server was to be kept in, nor what it was to travel as.
    """
    for image_id, action_id in zip(images_of(action).values(), action_ids, strict=False):
        image = rows.get(conn, image_id)
        if image is not None and _goes(conn, image, action):
            remove(conn, image, action, now, action_id)


def _goes(conn: Connection, image: Image, action: Action) -> bool:
    if action.kind in MOVERS:
        return True
    if action.kind == SHELVE.kind:
        return image.status == QUEUED or not _is_sent_by_another(conn, image.id, action.id)
    return image.status == QUEUED or (image.status == SAVING and is_sent(conn, image.id, action.id, is_open=True))


def remove(conn: Connection, image: Image, action: Action, now: datetime, action_id: str) -> None:
    """Delete an image, for a process that has no bytes of images: an action of that id has one remove them."""
    blob_id = _delete(conn, image, now)
    if blob_id is not None:
        actions.add(
            conn,
            Action(
                id=action_id,
                kind=DELETE_IMAGE.kind,
                version=DELETE_IMAGE.version,
                subject_kind=IMAGE,
                subject_id=image.id,
                project_id=action.project_id,
                user_id=action.user_id,
                request_id=action.request_id,
                input=msgspec.to_builtins(BlobGiven(blob=blob_id)),
                created_at=now,
            ),
        )


async def remove_travelled(cloud: Cloud) -> list[str]:
    """Delete the images that servers had travelled as; return their ids. Their bytes want an action: see `adopt`."""
    now = cloud.clock.now()

    def write(conn: Connection) -> list[str]:
        left = travelling_images.left(conn)
        for image in map(partial(rows.get, conn), left):
            if image is not None:
                _delete(conn, image, now)
        return left

    return await cloud.db.write(write)


def _delete(conn: Connection, image: Image, now: datetime) -> str | None:
    """Delete an image, and return its blob if that is to be removed."""
    blob_id = images.let_go(conn, image, now)
    image_usage.add(conn, image.owner, ImageUsage(images=-1, bytes=-images.size_of(image)))
    rows.delete(conn, image.id, now)
    return blob_id


def cancelled(conn: Connection, server: Server, now: datetime, action_ids: Sequence[str]) -> None:
    """Give up making an image of a server, if that is being done, and delete what there is of it."""
    if server.task_state in MEANWHILE | _LEAVING:
        for action in actions.find(conn, server.id, is_open=True):
            if action.kind in MAKERS:
                give_up(conn, action, now, action_ids)
                actions.close(conn, action.id, CANCELLED, None, now)


def settle(conn: Connection, server_id: str, now: datetime) -> None:
    """Have nothing be done with a server any more, if it is an image of it that was being made."""
    server = server_rows.get(conn, server_id)
    if server is not None and server.task_state in MEANWHILE:
        server_rows.change(conn, server_id, task_state=None, updated_at=now)


def is_sent(conn: Connection, image_id: str, maker: str, *, is_open: bool = False) -> bool:
    """Say whether the bytes of an image are those that an action makes; with `is_open`, whether they still come."""
    found = actions.find(conn, image_id, is_open=is_open, kind=UPLOAD_IMAGE.kind, subject=IMAGE, limit=1)
    return any(msgspec.convert(each.input, BlobGiven).maker == maker for each in found)


def _is_sent_by_another(conn: Connection, image_id: str, maker: str) -> bool:
    """Say whether the bytes of an image are known to be somebody else's; how they came may be forgotten."""
    found = actions.find(conn, image_id, kind=UPLOAD_IMAGE.kind, subject=IMAGE, limit=1)
    return any(msgspec.convert(each.input, BlobGiven).maker != maker for each in found)


def images_of(action: Action) -> Mapping[str, str]:
    """Return the images that an action makes, by the role of the disk that each is made of."""
    if action.kind in MOVERS:
        return msgspec.convert(action.input, ResizeGiven).images
    return {ROOT: given(action).image_id}


def given(action: Action) -> SnapshotGiven:
    """Return what an action that makes an image is given."""
    return msgspec.convert(action.input, SnapshotGiven)
