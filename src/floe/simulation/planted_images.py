"""Planted bugs in what becomes of the bytes of images, and of what uploads took."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from floe.cloud import image_blobs, image_uploads, images
from floe.cloud.cloud import Cloud
from floe.conductor.saga import Node, OnStore, Saga
from floe.core.image_quotas import ImageUsage
from floe.simulation.planting import Planted, altered, both, patched, with_steps
from floe.store import actions, image_usage
from floe.store import images as image_rows


def _store_does(saga: Saga, **instead: Any) -> Saga:
    def changed(node: Node) -> Node:
        return replace(node, **instead) if isinstance(node, OnStore) else node

    return with_steps(saga, changed)


async def _nothing(_flow: Any) -> None:
    """Leave the bytes."""


def _keep_bytes_of_uploads(_cloud: Cloud, saga: Saga) -> Saga:
    return _store_does(saga, undo=_nothing) if saga.kind == "upload-image" else saga


def _keep_bytes_of_images(_cloud: Cloud, saga: Saga) -> Saga:
    return _store_does(saga, do=_nothing) if saga.kind == "delete-image" else saga


def _give_nothing_back(_conn: Any, _blob_id: str, _now: Any) -> None:
    """Keep what an upload took."""


def _see_nothing(_conn: Any, _after: str, _most: int) -> list[Any]:
    """Leave to each process what it began."""
    return []


async def _no_strays(_cloud: Any) -> list[str]:
    """Trust that there is a row for all bytes."""
    return []


_delete_image = images.delete


async def _delete_unwritten(cloud: Any, context: Any, image_id: str) -> None:
    """Delete an image, and its bytes after the commit; who dies in between leaves them."""
    image, now = await images.show(cloud, context, image_id), cloud.clock.now()
    if image.size is None:
        await _delete_image(cloud, context, image_id)
        return

    def drop(conn: Any) -> None:
        images.own(conn, context, image_id)
        image_usage.add(conn, image.owner, ImageUsage(images=-1, bytes=-(image.size or 0)))
        image_rows.delete(conn, image_id, now)

    await cloud.db.write(drop)
    await cloud.blobs.delete(image.blob)


_NO_STRAYS = patched((image_blobs, "remove_strays", _no_strays))

IMAGES = (
    Planted(
        "upload-left",
        "an upload that a death cut off is neither queued again nor cleared away",
        patched((actions, "open_of_images", _see_nothing)),
    ),
    Planted(
        "bytes-without-a-row",
        "the bytes of a deleted image are removed after the commit, of which no row tells",
        both(patched((images, "delete", _delete_unwritten)), _NO_STRAYS),
    ),
    Planted(
        "upload-room-kept",
        "an upload that failed keeps what it took of its project's quota",
        patched((image_uploads, "give_back", _give_nothing_back)),
    ),
    Planted(
        "upload-bytes-kept",
        "the bytes of an upload that failed stay",
        both(altered(_keep_bytes_of_uploads), _NO_STRAYS),
    ),
    Planted("image-bytes-kept", "the bytes of a deleted image stay", both(altered(_keep_bytes_of_images), _NO_STRAYS)),
)
