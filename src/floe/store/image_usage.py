"""How much of the image service each project uses: counters, changed in one transaction with what they count."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from floe.core.image_quotas import ImageUsage
from floe.core.images import ACTIVE, DEACTIVATED, DELETED, WRITING
from floe.store.image_blobs import image_blobs
from floe.store.images import images
from floe.store.prepared import Prepared
from floe.store.schema import Ident, metadata

image_usage = sa.Table(
    "image_usage",
    metadata,
    sa.Column("project_id", Ident, primary_key=True),
    sa.Column("images", sa.BigInteger, nullable=False),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("uploads", sa.BigInteger, nullable=False),
    sa.Column("staged", sa.BigInteger, nullable=False),
)

_u = image_usage.c
_COUNTED = (_u.images, _u.bytes, _u.uploads, _u.staged)
_INSERT = Prepared(image_usage.insert())
_MORE = Prepared(
    image_usage.update()
    .where(_u.project_id == sa.bindparam("ident"))
    .values({column.name: column + sa.bindparam(f"more_{column.name}") for column in _COUNTED})
)
_ONE = Prepared(sa.select(*_COUNTED).where(_u.project_id == sa.bindparam("project_id")))
_ALL = Prepared(sa.select(_u.project_id, *_COUNTED))
_i, _b = images.c, image_blobs.c
_HAS_BYTES = sa.or_(_i.status == ACTIVE, _i.status == DEACTIVATED)
_SIZE = sa.case((_HAS_BYTES, sa.func.coalesce(_i.size, 0)), else_=0)
_KEPT = Prepared(
    sa.select(_i.owner, sa.func.count(), sa.func.sum(_SIZE))
    .where(_i.status != DELETED, _i.owner.is_not(None))
    .group_by(_i.owner)
)
_COMING = Prepared(
    sa.select(_b.project_id, sa.func.count(), sa.func.sum(_b.reserved))
    .where(_b.state == WRITING, _b.project_id.is_not(None))
    .group_by(_b.project_id)
)


def get(conn: Connection, project_id: str) -> ImageUsage:
    """Return what a project uses."""
    row = _ONE.first(conn, project_id=project_id)
    return ImageUsage() if row is None else ImageUsage(**row._asdict())


def add(conn: Connection, project_id: str | None, more: ImageUsage) -> None:
    """Count more, or less, for a project; what belongs to none is not counted."""
    if project_id is None:
        return
    amounts = {column.name: getattr(more, column.name) for column in _COUNTED}
    if not _MORE.write(conn, ident=project_id, **{f"more_{name}": amount for name, amount in amounts.items()}):
        _INSERT.write(conn, project_id=project_id, **amounts)


def real(conn: Connection) -> dict[str, ImageUsage]:
    """Return what each project uses, counted anew from the rows."""
    found: dict[str, dict[str, Any]] = {}
    for owner, count, total in _KEPT.rows(conn):
        found.setdefault(owner, {}).update(images=count, bytes=total)
    for owner, count, total in _COMING.rows(conn):
        found.setdefault(owner, {}).update(uploads=count, staged=total)
    return {owner: ImageUsage(**values) for owner, values in found.items()}


def counted(conn: Connection) -> dict[str, ImageUsage]:
    """Return what is counted for each project, those that use nothing left out."""
    names = [column.name for column in _COUNTED]
    found = {row[0]: ImageUsage(**dict(zip(names, row[1:], strict=True))) for row in _ALL.rows(conn)}
    return {owner: usage for owner, usage in found.items() if usage != ImageUsage()}


def mend(conn: Connection) -> list[str]:
    """Count anew; return the projects whose counters were wrong, as a release that did not know them leaves them."""
    right, wrong = real(conn), counted(conn)
    changed = sorted(owner for owner in right.keys() | wrong.keys() if right.get(owner) != wrong.get(owner))
    for owner in changed:
        conn.execute(sa.delete(image_usage).where(_u.project_id == owner))
        add(conn, owner, right.get(owner, ImageUsage()))
    return changed
