"""Things of the network surface: who sees and owns them, and how many of them a project may have."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, Generic, Protocol, TypeVar

import msgspec

from floe.cloud import quotas
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Forbidden, Invalid, NotFound, OverQuota
from floe.core.listing import Listing
from floe.core.networks import NoRoom, unchanged_since
from floe.core.tags import checked_tags
from floe.store.engine import Connection
from floe.store.table import Rows


class Thing(Protocol):
    """What a thing of any kind has."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def project_id(self) -> str:
        """Whose it is."""

    @property
    def revision(self) -> int:
        """How often it was changed."""

    @property
    def tags(self) -> tuple[str, ...]:
        """What its owner tagged it with."""


T = TypeVar("T", bound=Thing)


def scope(context: Context) -> str | None:
    """Return the project whose things the caller sees; None is everybody's. Without a project: nobody's."""
    return None if context.is_admin else context.project_id or ""


def owner(context: Context, asked: str | None) -> str:
    """Return the project that a new thing is for. Raises Invalid when the caller may not choose that one."""
    project_id = asked or context.project_id
    if project_id is None:
        raise Invalid(
            "Invalid input for project_id: a token without a project has to name the project.", reason="malformed"
        )
    if project_id != context.project_id and not context.is_admin:
        raise Invalid(
            f"Invalid input for project_id: only an administrator may name another project ({project_id!r}).",
            reason="malformed",
        )
    return project_id


def demand(conn: Connection, project_id: str, resource: str) -> None:
    """Raise NoRoom unless the project's quota has room for one more of a resource."""
    try:
        quotas.demand(conn, project_id, {resource: 1})
    except OverQuota as error:
        raise NoRoom(error.message) from error


class Owned(msgspec.Struct, Generic[T], frozen=True):
    """The things of one kind: what can be done with all of them alike, whatever the kind.

    `new` makes one that is nothing but its fields. `may_change` raises Forbidden for who sees a thing and is not its
    owner or an administrator, if such may change it.
    """

    kind: str
    rows: Rows[T]
    may_change: Callable[[Connection, Context, T], None] | None = None
    new: Callable[..., T] | None = None

    @property
    def resource(self) -> str:
        """What quotas and counts call such a thing."""
        return self.kind.replace(" ", "_")

    def get(self, conn: Connection, context: Context, ident: str) -> T:
        """Return a thing that the caller sees. Raises NotFound."""
        found = self.rows.get(conn, ident, scope(context))
        if found is None:
            raise NotFound(self.kind, ident)
        return found

    def own(self, conn: Connection, context: Context, ident: str, seen: int | None = None) -> T:
        """Return a thing that the caller may change, at the revision `seen`. Raises NotFound, Forbidden, Outdated."""
        thing = self.get(conn, context, ident)
        if not context.is_admin and not context.owns(thing.project_id):
            if self.may_change is None:
                raise Forbidden(f"Only the owner of {self.kind} {ident} may change it.")
            self.may_change(conn, context, thing)
        unchanged_since(thing.revision, seen)
        return thing

    async def find(self, cloud: Cloud, context: Context, listing: Listing) -> list[T]:
        """Return the things that the caller sees. Raises Invalid."""
        return await cloud.db.read(lambda conn: self.rows.find(conn, scope(context), listing))

    async def show(self, cloud: Cloud, context: Context, ident: str) -> T:
        """Return a thing. Raises NotFound."""
        return await cloud.db.read(lambda conn: self.get(conn, context, ident))

    def change(self, conn: Connection, context: Context, thing: T, asked: Mapping[str, Any], now: datetime) -> T:
        """Give a thing other values of fields; return it as it is then. Its revision stays where nothing differs."""
        changes = {name: value for name, value in asked.items() if value != getattr(thing, name)}
        if not changes:
            return thing
        self.rows.update(conn, thing.id, changes, now)
        return self.get(conn, context, thing.id)

    async def update(
        self, cloud: Cloud, context: Context, ident: str, asked: Mapping[str, Any], seen: int | None = None
    ) -> T:
        """Change a thing of which nothing else depends on what is changed. Raises NotFound, Forbidden, Outdated."""

        now = cloud.clock.now()

        def write(conn: Connection) -> T:
            return self.change(conn, context, self.own(conn, context, ident, seen), asked, now)

        return await cloud.db.write(write)

    async def create(self, cloud: Cloud, context: Context, asked: Sequence[Mapping[str, Any]]) -> list[T]:
        """Make things, all of them or none. Raises Invalid, NoRoom."""
        assert self.new is not None, f"a new {self.kind} is more than its fields"
        made, now, ids = self.new, cloud.clock.now(), [cloud.new_id() for _ in asked]

        def make(conn: Connection, item: Mapping[str, Any], ident: str) -> T:
            project_id = owner(context, item.get("project_id"))
            demand(conn, project_id, self.resource)
            kept = {"id": ident, "project_id": project_id, "created_at": now, "updated_at": now}
            return self.rows.insert(conn, made(**{**item, **kept}))

        return await cloud.db.write(lambda conn: [make(conn, *each) for each in zip(asked, ids, strict=True)])

    async def delete(
        self,
        cloud: Cloud,
        context: Context,
        ident: str,
        seen: int | None = None,
        check: Callable[[Connection, T], None] = lambda _conn, _thing: None,
    ) -> None:
        """Remove a thing, unless `check` raises why it has to stay. Raises NotFound, Forbidden, Outdated."""

        def remove(conn: Connection) -> None:
            check(conn, self.own(conn, context, ident, seen))
            self.rows.delete(conn, ident)

        await cloud.db.write(remove)

    async def retag(
        self, cloud: Cloud, context: Context, ident: str, change: Callable[[tuple[str, ...]], tuple[str, ...]]
    ) -> tuple[str, ...]:
        """Give a thing the tags that `change` makes of those it has. Raises NotFound, Forbidden, Invalid."""

        now = cloud.clock.now()

        def write(conn: Connection) -> tuple[str, ...]:
            thing = self.own(conn, context, ident)
            tags = checked_tags(change(thing.tags))
            return self.change(conn, context, thing, {"tags": tags}, now).tags

        return await cloud.db.write(write)
