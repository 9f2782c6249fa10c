"""Images, their tags and properties, and the projects that shared ones are offered to.

A deleted image keeps its row, without tags, properties and members, so that its id is not used again until that
is history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from floe.core.images import (
    COMMUNITY,
    DELETED,
    PUBLIC,
    QUEUED,
    SAVING,
    SHARED,
    Image,
    ImageMember,
    property_bytes,
)
from floe.store import listing as lists
from floe.store.prepared import Prepared
from floe.store.schema import GONE, Ident, Moment, metadata
from floe.store.table import columns_of

images = sa.Table(
    "images",
    metadata,
    sa.Column("id", Ident, primary_key=True),
    sa.Column("name", sa.String(255)),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("visibility", sa.String(16), nullable=False),
    sa.Column("owner", Ident),
    sa.Column("disk_format", sa.String(16)),
    sa.Column("container_format", sa.String(16)),
    sa.Column("min_disk", sa.BigInteger, nullable=False),
    sa.Column("min_ram", sa.BigInteger, nullable=False),
    sa.Column("size", sa.BigInteger),
    sa.Column("virtual_size", sa.BigInteger),
    sa.Column("checksum", sa.String(32)),
    sa.Column("sha512", sa.String(128)),
    sa.Column("protected", sa.Boolean, nullable=False),
    sa.Column("hidden", sa.Boolean, nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Column("deleted_at", Moment),
    sa.Column("blob_id", sa.String(80)),
    sa.Column("uploads", sa.Integer, nullable=False, server_default="0"),
    sa.Index("ix_images_deleted", "deleted_at", sqlite_where=GONE),
    sa.Index("ix_images_owner_created_at", "owner", "created_at"),
    sa.Index("ix_images_visibility_created_at", "visibility", "created_at"),
)
image_tags = sa.Table(
    "image_tags",
    metadata,
    sa.Column("image_id", Ident, sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("tag", sa.String(255), primary_key=True),
    sa.Index("ix_image_tags_tag", "tag"),
)
image_properties = sa.Table(
    "image_properties",
    metadata,
    sa.Column("image_id", Ident, sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("name", sa.String(255), primary_key=True),
    sa.Column("value", sa.Text, nullable=False),
)
image_members = sa.Table(
    "image_members",
    metadata,
    sa.Column("image_id", Ident, sa.ForeignKey("images.id"), primary_key=True),
    sa.Column("project_id", sa.String(255), primary_key=True),
    sa.Column("status", sa.String(16), nullable=False),
    sa.Column("created_at", Moment, nullable=False),
    sa.Column("updated_at", Moment, nullable=False),
    sa.Index("ix_image_members_project_id", "project_id"),
)

_SHOWN = columns_of(Image, images)
_MADE: Callable[..., Image] = Image
"""Takes a row's columns, and then what stands in no column."""
MAX_PAGE_BYTES = 4 << 20
"""Of the images of one page, before they are written as JSON."""
_FIXED_BYTES = 2048
"""What an image takes at most without tags and properties."""
_FIRST_PART = 32
"""Images whose properties are read before it is known how large they are."""
COLUMNS: Mapping[str, sa.Column[Any]] = {column.name: column for column in _SHOWN}
"""What a list can be filtered and sorted by, by the names of `Image`."""
_ONE = Prepared(sa.select(*_SHOWN).where(images.c.id == sa.bindparam("ident"), images.c.status != DELETED))
_BELOW = lists.ByIds(
    sa.select(image_properties), image_properties.c.image_id,
    (sa.select(image_tags.c.image_id, sa.null(), image_tags.c.tag), image_tags.c.image_id),
)  # fmt: skip
"""The properties of images, and their tags, which have no name."""
_OF_ONE = Prepared(
    sa.union_all(
        sa.select(sa.null().label("name"), image_tags.c.tag.label("value")).where(
            image_tags.c.image_id == sa.bindparam("ident")
        ),
        sa.select(image_properties.c.name, image_properties.c.value).where(
            image_properties.c.image_id == sa.bindparam("ident")
        ),
    ).order_by("name", "value")
)
"""The tags and properties of one image; a tag has no name."""
_TEXT = frozenset({"name", "owner", "disk_format", "container_format", "checksum", "sha512"})
_OPERATORS: Mapping[str, Callable[[sa.Column[Any], Any], sa.ColumnElement[bool]]] = {
    "eq": lambda column, value: column == value,
    "neq": lambda column, value: column != value,
    "gte": lambda column, value: column >= value,
    "lt": lambda column, value: column < value,
    "lte": lambda column, value: column <= value,
    "in": lambda column, value: column.in_(value),
    "outside": lambda column, value: sa.or_(column < value[0], column >= value[1]),
}
_SIMPLE = frozenset({"eq", "neq", "gte", "lt", "lte"})
"""Operators whose value is one."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What a list asks for. `conditions` are (name in COLUMNS, one of eq neq gte lt lte in outside, value).

    `project_id` None with `everything` is an administrator without a project. `visibility` None lists what the
    caller owns, what is public and what was shared and taken; `all` adds the community's.
    """

    project_id: str | None
    everything: bool = False
    visibility: str | None = None
    member_status: str = "accepted"
    conditions: tuple[tuple[str, str, Any], ...] = ()
    tags: tuple[str, ...] = ()
    properties: Mapping[str, str] = msgspec.field(default_factory=dict)
    sort: tuple[tuple[str, bool], ...] = (("created_at", False), ("id", False))
    """Names in COLUMNS, and whether upwards; `id` must be among them."""
    limit: int = 1000
    after: Image | None = None


def insert(conn: Connection, image: Image) -> None:
    """Keep a new image; its id must be free (`taken`)."""
    values = {column.name: getattr(image, column.name) for column in _SHOWN}
    conn.execute(sa.insert(images).values(values))
    _put_tags(conn, image.id, image.tags)
    _put_properties(conn, image.id, image.properties)


def taken(conn: Connection, image_id: str) -> bool:
    """Say whether an image has, or had, this id."""
    return conn.execute(sa.select(images.c.id).where(images.c.id == image_id)).first() is not None


def get(conn: Connection, image_id: str) -> Image | None:
    """Return an image that was not deleted."""
    row, below = _ONE.first(conn, ident=image_id), _OF_ONE.tuples(conn, ident=image_id)
    if row is None:
        return None
    tags = tuple(tag for name, tag in below if name is None)
    return _MADE(*row, tags, {name: value for name, value in below if name is not None})


def find(conn: Connection, wanted: Wanted) -> tuple[list[Image], bool]:
    """Return a page of what the caller may list, and whether more would follow but for `MAX_PAGE_BYTES`."""
    form = _Form(
        wanted.project_id is not None,
        wanted.everything,
        wanted.visibility,
        wanted.member_status,
        tuple((name, operator) for name, operator, _ in wanted.conditions),
        wanted.sort,
    )
    values = {f"is_{at}": value for at, (_, _, value) in enumerate(wanted.conditions)}
    values["at_most"] = wanted.limit
    if form.of_project:
        values["viewer"] = wanted.project_id
    simple = {operator for _, operator in form.conditions} <= _SIMPLE
    if simple and not (wanted.tags or wanted.properties or wanted.after):
        return _page(conn, _kept(form).rows(conn, **values))
    query = _query(form, wanted.conditions)
    if wanted.tags:
        tagged = sa.select(image_tags.c.image_id).where(image_tags.c.tag.in_(wanted.tags))
        all_of_them = tagged.group_by(image_tags.c.image_id).having(sa.func.count() == len(wanted.tags))
        query = query.where(images.c.id.in_(all_of_them))
    if wanted.properties:
        held = sa.tuple_(image_properties.c.name, image_properties.c.value).in_(list(wanted.properties.items()))
        count = sa.select(sa.func.count()).where(image_properties.c.image_id == images.c.id, held)
        query = query.where(count.correlate(images).scalar_subquery() == len(wanted.properties))
    if wanted.after is not None:
        query = query.where(_follows(wanted.sort, wanted.after))
    return _page(conn, conn.execute(query, values).all())


def change(conn: Connection, image_id: str, values: Mapping[str, Any], *, only_in: Iterable[str] = ()) -> bool:
    """Set columns by the names of `Image`; with `only_in`, only in these statuses. Return whether it was done."""
    query = sa.update(images).where(images.c.id == image_id, images.c.status != DELETED)
    statuses = list(only_in)
    if statuses:
        query = query.where(images.c.status.in_(statuses))
    return conn.execute(query.values(dict(values))).rowcount == 1


def set_tags(conn: Connection, image_id: str, tags: Sequence[str]) -> None:
    """Replace an image's tags."""
    conn.execute(sa.delete(image_tags).where(image_tags.c.image_id == image_id))
    _put_tags(conn, image_id, tags)


def set_properties(conn: Connection, image_id: str, properties: Mapping[str, str]) -> None:
    """Replace an image's properties."""
    conn.execute(sa.delete(image_properties).where(image_properties.c.image_id == image_id))
    _put_properties(conn, image_id, properties)


def delete(conn: Connection, image_id: str, now: datetime) -> None:
    """Mark an image deleted and drop what hung on it."""
    conn.execute(
        sa.update(images)
        .where(images.c.id == image_id)
        .values(status=DELETED, deleted_at=now, updated_at=now, name=None)
    )
    for table in (image_tags, image_properties, image_members):
        conn.execute(sa.delete(table).where(table.c.image_id == image_id))


def begin_upload(conn: Connection, image_id: str, now: datetime) -> int:
    """Let a queued image be saved; return how many uploads it has had with this one."""
    conn.execute(
        sa.update(images)
        .where(images.c.id == image_id, images.c.status == QUEUED)
        .values(status=SAVING, updated_at=now, uploads=images.c.uploads + 1)
    )
    return int(conn.execute(sa.select(images.c.uploads).where(images.c.id == image_id)).scalar_one())


def member(conn: Connection, image_id: str, project_id: str) -> ImageMember | None:
    """Return the membership of a project, if it has one."""
    query = sa.select(image_members).where(
        image_members.c.image_id == image_id, image_members.c.project_id == project_id
    )
    row = conn.execute(query).first()
    return None if row is None else ImageMember(**row._mapping)


def members(conn: Connection, image_id: str) -> list[ImageMember]:
    """Return all members of an image, the oldest first."""
    query = (
        sa.select(image_members)
        .where(image_members.c.image_id == image_id)
        .order_by(image_members.c.created_at, image_members.c.project_id)
    )
    return [ImageMember(**row._mapping) for row in conn.execute(query)]


def put_member(conn: Connection, new: ImageMember) -> None:
    """Add a membership, or replace it."""
    delete_member(conn, new.image_id, new.project_id)
    conn.execute(
        sa.insert(image_members).values(
            image_id=new.image_id,
            project_id=new.project_id,
            status=new.status,
            created_at=new.created_at,
            updated_at=new.updated_at,
        )
    )


def delete_member(conn: Connection, image_id: str, project_id: str) -> bool:
    """Remove a membership; return whether there was one."""
    query = sa.delete(image_members).where(
        image_members.c.image_id == image_id, image_members.c.project_id == project_id
    )
    return conn.execute(query).rowcount == 1


class _Form(NamedTuple):
    """What of a list decides how its statement is written; its members mean what those of `Wanted` do."""

    of_project: bool
    everything: bool
    visibility: str | None
    member_status: str
    conditions: tuple[tuple[str, str], ...]
    sort: tuple[tuple[str, bool], ...]


@lru_cache(maxsize=64)
def _kept(form: _Form) -> Prepared:
    """Return a list's statement, compiled once; which there are is up to clients, so only so many are kept."""
    return Prepared(_query(form, ()), packed=True)


def _query(form: _Form, several: Sequence[tuple[str, str, Any]]) -> sa.Select[Any]:
    """Return a list's statement: its parameters are `viewer`, `at_most`, and `is_N` for conditions in order.

    Values of conditions that compare with more than one stand in the statement itself.
    """
    query = sa.select(*_SHOWN).where(images.c.status != DELETED, *_seen(form))
    for at, (name, operator) in enumerate(form.conditions):
        column = COLUMNS[name]
        value = sa.bindparam(f"is_{at}", type_=column.type) if operator in _SIMPLE else several[at][2]
        query = query.where(_OPERATORS[operator](column, value))
    for name, upwards in form.sort:
        query = query.order_by(_sortable(name).asc() if upwards else _sortable(name).desc())
    return query.limit(sa.bindparam("at_most", type_=sa.Integer))


def _seen(wanted: _Form) -> list[sa.ColumnElement[bool]]:
    viewer = sa.bindparam("viewer", type_=sa.String)
    own = images.c.owner == viewer if wanted.of_project else sa.false()
    offered = sa.exists().where(
        image_members.c.image_id == images.c.id, image_members.c.project_id == (viewer if wanted.of_project else "")
    )
    if wanted.member_status != "all":
        offered = offered.where(image_members.c.status == wanted.member_status)
    taken_up = sa.and_(images.c.visibility == SHARED, offered.correlate(images))
    found: list[sa.ColumnElement[bool]] = []
    if not wanted.everything:
        found.append(sa.or_(own, images.c.visibility == PUBLIC, images.c.visibility == COMMUNITY, taken_up))
    if wanted.visibility is None:
        found.append(sa.or_(own, images.c.visibility != COMMUNITY))
    elif wanted.visibility != "all":
        found.append(images.c.visibility == wanted.visibility)
    return found


def _sortable(name: str) -> sa.ColumnElement[Any]:
    """A column without NULLs, which databases sort differently."""
    if name in _TEXT:
        return sa.func.coalesce(COLUMNS[name], "")
    return sa.func.coalesce(COLUMNS[name], -1) if name == "size" else COLUMNS[name]


def _follows(sort: Sequence[tuple[str, bool]], after: Image) -> sa.ColumnElement[bool]:
    """Return the condition of coming after an image in an order."""
    keys = []
    for name, upwards in sort:
        value = getattr(after, name)
        if value is None:
            value = "" if name in _TEXT else -1
        keys.append((_sortable(name), upwards, value))
    return lists.following(keys)


def _load(conn: Connection, rows: Sequence[Row[Any]]) -> list[Image]:
    ids = [row[0] for row in rows]
    tags: dict[str, list[str]] = {}
    properties: dict[str, list[tuple[str, str]]] = {}
    if ids:
        for image_id, name, value in _BELOW.tuples(conn, ids):
            if name is None:
                tags.setdefault(image_id, []).append(value)
            else:
                properties.setdefault(image_id, []).append((name, value))
    if not tags and not properties:  # as most lists have it
        return [_MADE(*row) for row in rows]
    return [_MADE(*row, tuple(sorted(tags.get(row[0], ()))), dict(sorted(properties.get(row[0], ())))) for row in rows]


def _page(conn: Connection, rows: Sequence[Row[Any]]) -> tuple[list[Image], bool]:
    """Load images as long as they fit, the first one in any case; what is not needed is hardly read."""
    found: list[Image] = []
    left, at, part = MAX_PAGE_BYTES, 0, _FIRST_PART
    while at < len(rows):
        for image in _load(conn, rows[at : at + part]):
            left -= _weight(image)
            if left < 0 and found:
                return found, True
            found.append(image)
        at += part
        part = max(_FIRST_PART, left * len(found) // (MAX_PAGE_BYTES - left))
    return found, False


def _weight(image: Image) -> int:
    """Return a bound for the bytes of an image in a list before they are escaped, which at most doubles them."""
    if not image.tags and not image.properties:
        return _FIXED_BYTES
    return _FIXED_BYTES + 4 * sum(map(len, image.tags)) + property_bytes(image.properties)


def _put_tags(conn: Connection, image_id: str, tags: Iterable[str]) -> None:
    rows = [{"image_id": image_id, "tag": tag} for tag in dict.fromkeys(tags)]
    if rows:
        conn.execute(sa.insert(image_tags), rows)


def _put_properties(conn: Connection, image_id: str, properties: Mapping[str, str]) -> None:
    rows = [{"image_id": image_id, "name": name, "value": value} for name, value in properties.items()]
    if rows:
        conn.execute(sa.insert(image_properties), rows)
