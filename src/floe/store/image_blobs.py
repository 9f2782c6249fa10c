"""Bytes that are no image's data: being written for an upload, or to be removed. The row comes before the first byte.

Whose data a blob is stands in the image itself. A blob that has no row here and is no image's data is nobody's, for
ever: its id is not used again.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.images import ACTIVE, DEACTIVATED, REMOVING, SAVING, WRITING, ImageBlob, image_of_blob
from floe.store.images import images
from floe.store.listing import in_parts
from floe.store.prepared import Prepared
from floe.store.schema import Ident, Moment, metadata

image_blobs = sa.Table(
    "image_blobs",
    metadata,
    sa.Column("id", sa.String(80), primary_key=True),
    sa.Column("image_id", Ident, nullable=False),
    sa.Column("project_id", Ident),
    sa.Column("state", sa.String(16), nullable=False),
    sa.Column("beat", sa.BigInteger, nullable=False),
    sa.Column("reserved", sa.BigInteger, nullable=False),
    sa.Column("since", Moment, nullable=False),
    sa.Index("ix_image_blobs_image_id", "image_id"),
)

_b = image_blobs.c
_AFTER = Prepared(
    sa.select(image_blobs).where(_b.id > sa.bindparam("after")).order_by(_b.id).limit(sa.bindparam("most"))
)
_WITH_DATA = (ACTIVE, DEACTIVATED)


def insert(conn: Connection, blob: ImageBlob) -> None:
    """Say that bytes of it may come, or may be there."""
    conn.execute(sa.insert(image_blobs).values({column.name: getattr(blob, column.name) for column in _b}))


def get(conn: Connection, blob_id: str) -> ImageBlob | None:
    """Return one."""
    row = conn.execute(sa.select(image_blobs).where(_b.id == blob_id)).first()
    return None if row is None else ImageBlob(**row._mapping)


def find(conn: Connection, *, after: str = "", limit: int = 256) -> list[ImageBlob]:
    """Return some, in the order of their ids."""
    return [ImageBlob(**row._asdict()) for row in _AFTER.rows(conn, after=after, most=limit)]


def written_for(conn: Connection, image_id: str) -> ImageBlob | None:
    """Return the one that an image's upload is writing, if one is under way."""
    row = conn.execute(sa.select(image_blobs).where(_b.image_id == image_id, _b.state == WRITING)).first()
    return None if row is None else ImageBlob(**row._mapping)


def beat(conn: Connection, blob_id: str, more: int = 0) -> bool:
    """Show that the upload lives, and take `more` bytes for it; False once somebody else has ended it."""
    mine = sa.update(image_blobs).where(_b.id == blob_id, _b.state == WRITING)
    return conn.execute(mine.values(beat=_b.beat + 1, reserved=_b.reserved + more)).rowcount == 1


def take(conn: Connection, blob_id: str) -> bool:
    """End a row whose bytes have become an image's data; False unless its upload was still under way."""
    return conn.execute(sa.delete(image_blobs).where(_b.id == blob_id, _b.state == WRITING)).rowcount == 1


def to_remove(conn: Connection, blob_id: str, now: datetime) -> bool:
    """End an upload: its bytes are to be removed; False unless it was still under way."""
    ended = sa.update(image_blobs).where(_b.id == blob_id, _b.state == WRITING)
    return conn.execute(ended.values(state=REMOVING, reserved=0, since=now)).rowcount == 1


def delete(conn: Connection, blob_id: str) -> None:
    """Forget bytes that were removed."""
    conn.execute(sa.delete(image_blobs).where(_b.id == blob_id, _b.state == REMOVING))


def nobodys(conn: Connection, blob_ids: Collection[str]) -> list[str]:
    """Return those of them, seen in the store before this transaction began, that neither an image nor a row needs.

    An image that is being saved keeps those of its own id: a release that knew no rows may be writing them.
    """
    left = set(blob_ids)
    for part in in_parts(sorted(left)):
        left -= set(conn.execute(sa.select(_b.id).where(_b.id.in_(part))).scalars())
    i = images.c
    for part in in_parts(sorted({image_of_blob(blob_id) for blob_id in left})):
        kept = sa.select(sa.func.coalesce(i.blob_id, i.id)).where(i.id.in_(part), i.status.in_((SAVING, *_WITH_DATA)))
        left -= set(conn.execute(kept).scalars())
    return sorted(left)


def abandoned(conn: Connection) -> list[str]:
    """Return the images that are being saved, and no upload is at it: what a release that knew no rows left."""
    at_it = sa.exists().where(_b.image_id == images.c.id, _b.state == WRITING)
    query = sa.select(images.c.id).where(images.c.status == SAVING, sa.not_(at_it.correlate(images)))
    return list(conn.execute(query.order_by(images.c.id)).scalars())


def data(conn: Connection) -> dict[str, str]:
    """Return the blob of each image that has data, by the image's id."""
    i = images.c
    query = sa.select(i.id, sa.func.coalesce(i.blob_id, i.id)).where(i.status.in_(_WITH_DATA))
    return {row[0]: row[1] for row in conn.execute(query)}
