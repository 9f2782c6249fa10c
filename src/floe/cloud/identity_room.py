"""Things of the identity surface: what is done with all of them alike, whatever the kind."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Generic, Protocol, TypeVar

import msgspec
from msgspec.structs import replace

from floe.cloud import identity
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Conflict, Invalid, NotFound
from floe.core.listing import Listing
from floe.store.engine import Connection
from floe.store.table import Rows


class Thing(Protocol):
    """What a thing of any kind has."""

    @property
    def id(self) -> str:
        """Its id."""

    @property
    def properties(self) -> Mapping[str, Any]:
        """The attributes that clients keep with it, by name."""


T = TypeVar("T", bound=Thing)
Do = Callable[[Connection, T], object]
"""What is done in the transaction that changes a thing, with that as it is to be."""


def nothing(_conn: Connection, _thing: object) -> None:
    """Do nothing."""


def merged(kept: Mapping[str, Any], fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return changes of a thing whose `properties` are added to those it has; one that is None is taken away."""
    if "properties" not in fields:
        return dict(fields)
    properties = {**kept, **fields["properties"]}
    return {**fields, "properties": {name: value for name, value in properties.items() if value is not None}}


class Kept(msgspec.Struct, Generic[T], frozen=True):
    """The things of one kind, made by `new`. `check` raises what is wrong with one that is to be kept."""

    kind: str
    rows: Rows[T]
    new: Callable[..., T]
    check: Do[T] = nothing

    def demand(self, conn: Connection, ident: str) -> T:
        """Return a thing. Raises NotFound."""
        found = self.rows.get(conn, ident)
        if found is None:
            raise NotFound(self.kind, ident)
        return found

    async def get(self, cloud: Cloud, ident: str) -> T | None:
        """Return a thing, None if it is not there."""
        return await cloud.db.read(lambda conn: self.rows.get(conn, ident))

    def demand_free(self, conn: Connection, thing: Any, where: str = "", **within: Any) -> None:
        """Raise Conflict if another thing has this one's name; `where` says within what."""
        known: Any = self.rows.called(conn, thing.name, **within)
        if known is not None and known.id != thing.id:
            raise Conflict(f"There is a {self.kind} named {known.name!r}{where} already.")

    async def find(self, cloud: Cloud, _context: Context, _listing: Listing) -> list[T]:
        """Return all things."""
        return await cloud.db.read(self.rows.those)

    async def show(self, cloud: Cloud, _context: Context, ident: str) -> T:
        """Return a thing. Raises NotFound."""
        return await cloud.db.read(lambda conn: self.demand(conn, ident))

    async def create(self, cloud: Cloud, _context: Context, fields: Mapping[str, Any], first: Do[T] = nothing) -> T:
        """Make a thing, with a new id if none is given; `first` is done before.

        Raises Conflict for an id that is taken, and what `check` does.
        """
        thing = self.new(**{**merged({}, fields), "id": fields.get("id") or identity.new_id(cloud)})

        def run(conn: Connection) -> T:
            if self.rows.get(conn, thing.id) is not None:
                raise Conflict(f"There is a {self.kind} with id {thing.id!r} already.")
            first(conn, thing)
            self.check(conn, thing)
            return self.rows.insert(conn, thing)

        return await identity.change(cloud, run)

    async def update(
        self,
        cloud: Cloud,
        _context: Context,
        ident: str,
        fields: Mapping[str, Any],
        further: Callable[[T, Mapping[str, Any]], Mapping[str, Any]] = lambda _thing, _wanted: {},
        first: Do[T] = nothing,
    ) -> T:
        """Change a thing, and what else is to be changed with that. Raises NotFound, Invalid, and what `check` does."""

        def run(conn: Connection) -> T:
            thing: Any = self.demand(conn, ident)
            wanted = merged(thing.properties, fields)
            if "domain_id" in self.rows.table.c and wanted.pop("domain_id", thing.domain_id) != thing.domain_id:
                raise Invalid(f"domain_id: the domain cannot be changed (it is {thing.domain_id!r}).")
            wanted |= further(thing, wanted)
            changed: T = replace(thing, **wanted)
            first(conn, changed)
            self.check(conn, changed)
            self.rows.update(conn, ident, wanted)
            return changed

        return await identity.change(cloud, run)

    async def delete(self, cloud: Cloud, _context: Context, ident: str, first: Do[T] = nothing) -> None:
        """Remove a thing; `first` removes what goes with it. Raises NotFound, and what that does."""

        def run(conn: Connection) -> None:
            first(conn, self.demand(conn, ident))
            self.rows.delete(conn, ident)

        await identity.change(cloud, run)
