"""Flavors: who sees which, and what administrators do with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from msgspec import structs

from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Conflict, Invalid, NotFound
from floe.core.flavors import BUILT_IN, check_extra_specs
from floe.core.listing import Listing
from floe.core.servers import ServerFlavor
from floe.store import flavors as rows
from floe.store.engine import Connection
from floe.store.patterns import Budget, Pattern


def seen(conn: Connection, context: Context, flavor_id: str) -> ServerFlavor | None:
    """Return a flavor if the caller may see it."""
    return rows.get(conn, flavor_id, _viewer(context))


def visible(conn: Connection, context: Context, flavor_id: str) -> ServerFlavor:
    """Return a flavor the caller may see. Raises NotFound."""
    flavor = seen(conn, context, flavor_id)
    if flavor is None:
        raise NotFound("flavor", flavor_id, message=f"Flavor {flavor_id} could not be found.")
    return flavor


def usable(conn: Connection, context: Context, flavor_id: str) -> ServerFlavor:
    """Return a flavor to make a server of. Raises Invalid for one that is unknown, private or disabled."""
    flavor = seen(conn, context, flavor_id)
    if flavor is None:
        raise Invalid(f"Flavor {flavor_id} could not be found: flavorRef names no flavor you can use.")
    if flavor.disabled:
        raise Invalid(f"Flavor {flavor.name} ({flavor_id}) is disabled; choose another.")
    return flavor


def _sees_all(context: Context) -> bool:
    """Say whether the caller is an administrator with a project's token, as all that is behind compute's rules asks."""
    return context.is_admin and context.project_id is not None


def _viewer(context: Context) -> str | None:
    """Return the project whose flavors the caller sees; None is everybody's."""
    return None if _sees_all(context) else context.project_id or ""


async def bootstrap(cloud: Cloud) -> None:
    """Make the flavors every cloud starts with, unless an id or name of theirs is taken."""

    def make(conn: Connection) -> None:
        for flavor in BUILT_IN:
            if _taken(conn, flavor) is None:
                rows.insert(conn, flavor)

    await cloud.db.write(make)


async def create(cloud: Cloud, _context: Context, asked: Sequence[Mapping[str, Any]]) -> list[ServerFlavor]:
    """Make flavors, with new ids where theirs are empty. Raises Conflict for an id or a name that is taken."""
    new = [ServerFlavor(**{**item, "flavor_id": item.get("flavor_id") or cloud.new_id()}) for item in asked]

    def make(conn: Connection, flavor: ServerFlavor) -> ServerFlavor:
        what = _taken(conn, flavor)
        if what is not None:
            raise Conflict(f"Flavor with {what} already exists.")
        return rows.insert(conn, flavor)

    return await cloud.db.write(lambda conn: [make(conn, flavor) for flavor in new])


def _taken(conn: Connection, flavor: ServerFlavor) -> str | None:
    """Return what of a new flavor another has, None if nothing."""
    if rows.those(conn, name=flavor.name):
        return f"name {flavor.name}"
    return f"ID {flavor.flavor_id}" if rows.get(conn, flavor.flavor_id) is not None else None


async def show(cloud: Cloud, context: Context, flavor_id: str) -> ServerFlavor:
    """Return one flavor. Raises NotFound."""
    return await cloud.db.read(lambda conn: visible(conn, context, flavor_id))


async def find(cloud: Cloud, context: Context, listing: Listing) -> list[ServerFlavor]:
    """Return a page of flavors: public ones and the project's own; administrators choose. Raises Invalid.

    Besides what the rows know the listing's `public` is what an administrator chooses; None means public or not; and
    `name` is a regular expression.
    """
    also = dict(listing.also)
    chosen, name = also.pop("public", True), also.pop("name", None)
    public = chosen if _sees_all(context) else True
    viewer = (context.project_id or "") if public else None
    filters = {"public": (False,)} if public is False else {}
    asked = structs.replace(listing, also=also, filters=filters)
    if name is None:
        return await cloud.db.read(lambda conn: rows.find(conn, viewer, asked))
    pattern = Pattern(name, "name")

    def look(conn: Connection) -> list[ServerFlavor]:
        budget, fit = Budget(), list[str]()
        for each in rows.names(conn):
            budget.spend()
            fit += [each] if pattern.fits(each) else []
        named = structs.replace(asked, filters={**filters, "name": tuple(fit)})
        return rows.find(conn, viewer, named) if fit else []

    return await cloud.db.scan(look)


async def update(
    cloud: Cloud, context: Context, flavor_id: str, asked: Mapping[str, Any], _seen: int | None = None
) -> ServerFlavor:
    """Change a flavor's description. Raises NotFound."""
    return await cloud.db.write(lambda conn: _changed(conn, context, flavor_id, **asked))


async def delete(cloud: Cloud, context: Context, flavor_id: str, _seen: int | None = None) -> None:
    """Delete a flavor; servers made of it have their own copy. Raises NotFound."""

    def drop(conn: Connection) -> None:
        visible(conn, context, flavor_id)
        rows.delete(conn, flavor_id)

    await cloud.db.write(drop)


def _changed(conn: Connection, context: Context, flavor_id: str, **values: Any) -> ServerFlavor:
    flavor = visible(conn, context, flavor_id)
    rows.update(conn, flavor_id, values)
    return structs.replace(flavor, **values)


# -- extra specs ----------------------------------------------------------------------------------------


async def set_extra_specs(cloud: Cloud, context: Context, flavor_id: str, specs: Mapping[str, str]) -> ServerFlavor:
    """Add extra specs or replace those of the same key. Raises NotFound, Invalid."""
    check_extra_specs(specs)

    def apply(conn: Connection) -> ServerFlavor:
        flavor = visible(conn, context, flavor_id)
        return _changed(conn, context, flavor_id, extra_specs={**flavor.extra_specs, **specs})

    return await cloud.db.write(apply)


async def delete_extra_spec(cloud: Cloud, context: Context, flavor_id: str, key: str) -> None:
    """Remove one extra spec. Raises NotFound."""

    def apply(conn: Connection) -> None:
        flavor = visible(conn, context, flavor_id)
        if key not in flavor.extra_specs:
            raise NotFound("extra spec", key, message=f"Flavor {flavor_id} has no extra specs with key {key}.")
        left = {name: value for name, value in flavor.extra_specs.items() if name != key}
        _changed(conn, context, flavor_id, extra_specs=left)

    await cloud.db.write(apply)


# -- access ---------------------------------------------------------------------------------------------


async def access(cloud: Cloud, context: Context, flavor_id: str, _asked: Mapping[str, Any]) -> list[str]:
    """Return the projects that may use a flavor. Raises NotFound, also for a public one: it has no such list."""

    def look(conn: Connection) -> list[str]:
        if visible(conn, context, flavor_id).public:
            raise NotFound("flavor access", flavor_id, message="Access list not available for public flavors.")
        return rows.projects(conn, flavor_id)

    return await cloud.db.read(look)


async def grant(cloud: Cloud, context: Context, flavor_id: str, asked: Mapping[str, Any]) -> list[str]:
    """Let `project_id` use a flavor; return all that may. Raises NotFound, Conflict if it was let already.

    Raises Conflict for a public flavor too, unless it is `project_id_of_any` that is asked for.
    """
    only_private = "project_id" in asked
    project_id = asked["project_id"] if only_private else asked["project_id_of_any"]

    def apply(conn: Connection) -> list[str]:
        if visible(conn, context, flavor_id).public and only_private:
            raise Conflict("Can not add access to a public flavor.")
        if rows.may_use(conn, flavor_id, project_id):
            raise Conflict(f"Flavor access already exists for flavor {flavor_id} and project {project_id}.")
        rows.grant(conn, flavor_id, project_id)
        return rows.projects(conn, flavor_id)

    return await cloud.db.write(apply)


async def revoke(cloud: Cloud, context: Context, flavor_id: str, asked: Mapping[str, Any]) -> list[str]:
    """Take access back from `project_id`; return all that still may. Raises NotFound."""
    project_id = asked["project_id"]

    def apply(conn: Connection) -> list[str]:
        visible(conn, context, flavor_id)
        if not rows.revoke(conn, flavor_id, project_id):
            raise NotFound(
                "flavor access",
                flavor_id,
                message=f"Flavor access not found for flavor {flavor_id} and project {project_id}.",
            )
        return rows.projects(conn, flavor_id)

    return await cloud.db.write(apply)
