"""Bytes that are no image's data: being written for an upload, or to be removed. The row comes before the first byte.

Whose data a blob is stands in the image itself. A blob that has no row here and is no image's data is nobody's, for
ever: its id is not used again.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.actions import IMAGE, OPEN_STATES
from floe.core.images import ACTIVE, DEACTIVATED, REMOVING, SAVING, WRITING, ImageBlob, image_of_blob
from floe.store.actions import actions
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
_BY_ID = Prepared(sa.select(image_blobs).where(_b.id == sa.bindparam("ident")))
_INSERT = Prepared(image_blobs.insert())
_RESERVE = Prepared(
    sa.update(image_blobs)
    .where(_b.id == sa.bindparam("ident"), _b.state == sa.literal(WRITING))
    .values(reserved=_b.reserved + sa.bindparam("more"))
)
_DELETE = Prepared(sa.delete(image_blobs).where(_b.id == sa.bindparam("ident"), _b.state == sa.bindparam("now_is")))
_AT_IT = sa.exists().where(
    actions.c.subject_id == _b.image_id,
    actions.c.subject_kind == sa.literal(IMAGE),
    actions.c.state.in_([sa.literal(state) for state in sorted(OPEN_STATES)]),
)
_WITHOUT_ACTION = Prepared(
    sa.select(image_blobs).where(sa.not_(_AT_IT)).order_by(_b.id).limit(sa.bindparam("most", type_=sa.Integer))
)
_WITH_DATA = (ACTIVE, DEACTIVATED)


def insert(conn: Connection, blob: ImageBlob) -> None:
    """Say that bytes of it may come, or may be there."""
    _INSERT.write(conn, **{column.name: getattr(blob, column.name) for column in _b})


def get(conn: Connection, blob_id: str) -> ImageBlob | None:
    """Return one."""
    row = _BY_ID.first(conn, ident=blob_id)
    return None if row is None else ImageBlob(**row._asdict())


def without_action(conn: Connection, *, limit: int = 256) -> list[ImageBlob]:
    """Return those that no action is at: what a release left that knew no actions of images."""
    return [ImageBlob(**row._asdict()) for row in _WITHOUT_ACTION.rows(conn, most=limit)]


def find(conn: Connection, *, after: str = "", limit: int = 256) -> list[ImageBlob]:
    """Return some, in the order of their ids."""
    return [ImageBlob(**row._asdict()) for row in _AFTER.rows(conn, after=after, most=limit)]


def written_for(conn: Connection, image_id: str) -> ImageBlob | None:
    """Return the one that an image's upload is writing, if one is under way."""
    row = conn.execute(sa.select(image_blobs).where(_b.image_id == image_id, _b.state == WRITING)).first()
    return None if row is None else ImageBlob(**row._mapping)


def reserve(conn: Connection, blob_id: str, more: int) -> bool:
    """Take `more` bytes for an upload; False once it has ended."""
    return _RESERVE.write(conn, ident=blob_id, more=more) == 1


def take(conn: Connection, blob_id: str) -> bool:
    """End the row of an upload, one way or the other; False unless it was still under way."""
    return _DELETE.write(conn, ident=blob_id, now_is=WRITING) == 1


def to_remove(conn: Connection, blob_id: str, now: datetime) -> bool:
    """End an upload: its bytes are to be removed; False unless it was still under way."""
    ended = sa.update(image_blobs).where(_b.id == blob_id, _b.state == WRITING)
    return conn.execute(ended.values(state=REMOVING, reserved=0, since=now)).rowcount == 1


def delete(conn: Connection, blob_id: str) -> None:
    """Forget bytes that were removed."""
    _DELETE.write(conn, ident=blob_id, now_is=REMOVING)


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
