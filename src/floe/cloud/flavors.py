"""Flavors: who sees which, and what administrators do with them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Conflict, Invalid, NotFound
from floe.core.flavors import BUILT_IN, check_extra_specs
from floe.core.servers import ServerFlavor
from floe.store import flavors as rows
from floe.store.engine import Connection

SORT_KEYS = frozenset(rows.SORT_KEYS)


@dataclass(frozen=True, slots=True, kw_only=True)
class FlavorFilter:
    """Which flavors somebody wants to see. `public` None means public or not."""

    public: bool | None = True
    min_disk_gib: int = 0
    min_memory_mib: int = 0


def visible(conn: Connection, context: Context, flavor_id: str) -> ServerFlavor:
    """Return a flavor the caller may see. Raises NotFound."""
    flavor = rows.get(conn, flavor_id)
    if flavor is None or not (flavor.public or _sees_all(context) or _granted(conn, context, flavor_id)):
        raise NotFound("flavor", flavor_id, message=f"Flavor {flavor_id} could not be found.")
    return flavor


def usable(conn: Connection, context: Context, flavor_id: str) -> ServerFlavor:
    """Return a flavor to make a server of. Raises Invalid for one that is unknown, private or disabled."""
    flavor = rows.get(conn, flavor_id)
    if flavor is None or not (flavor.public or _sees_all(context) or _granted(conn, context, flavor_id)):
        raise Invalid(f"Flavor {flavor_id} could not be found: flavorRef names no flavor you can use.")
    if flavor.disabled:
        raise Invalid(f"Flavor {flavor.name} ({flavor_id}) is disabled; choose another.")
    return flavor


def _sees_all(context: Context) -> bool:
    """Say whether the caller is an administrator with a project's token, as all that is behind compute's rules asks."""
    return context.is_admin and context.project_id is not None


def _granted(conn: Connection, context: Context, flavor_id: str) -> bool:
    return context.project_id is not None and rows.may_use(conn, flavor_id, context.project_id)


async def bootstrap(cloud: Cloud) -> None:
    """Make the flavors every cloud starts with, unless an id or name of theirs is taken."""

    def make(conn: Connection) -> None:
        for flavor in BUILT_IN:
            if rows.taken(conn, flavor.flavor_id, flavor.name) is None:
                rows.add(conn, flavor)

    await cloud.db.write(make)


async def create(cloud: Cloud, flavor: ServerFlavor) -> ServerFlavor:
    """Keep a new flavor, with a new id where its own is empty. Raises Conflict for an id or a name that is taken."""
    if not flavor.flavor_id:
        flavor = replace(flavor, flavor_id=cloud.new_id())

    def make(conn: Connection) -> None:
        other = rows.taken(conn, flavor.flavor_id, flavor.name)
        if other is not None:
            what = f"name {flavor.name}" if other.name == flavor.name else f"ID {flavor.flavor_id}"
            raise Conflict(f"Flavor with {what} already exists.")
        rows.add(conn, flavor)

    await cloud.db.write(make)
    return flavor


async def get(cloud: Cloud, context: Context, flavor_id: str) -> ServerFlavor:
    """Return one flavor. Raises NotFound."""
    return await cloud.db.read(lambda conn: visible(conn, context, flavor_id))


async def listed(
    cloud: Cloud,
    context: Context,
    wanted: FlavorFilter,
    *,
    sort: Sequence[tuple[str, bool]] = (),
    marker: str | None = None,
    limit: int = 1000,
) -> list[ServerFlavor]:
    """Return a page of flavors: public ones and the project's own; administrators choose. Raises Invalid."""
    public, project = (wanted.public, None) if _sees_all(context) else (True, context.project_id)
    if _sees_all(context) and wanted.public:
        project = context.project_id

    def look(conn: Connection) -> list[ServerFlavor]:
        last = rows.get(conn, marker) if marker is not None else None
        if marker is not None and last is None:
            raise Invalid(f"marker {marker!r} is the id of no flavor.")
        return rows.listed(
            conn,
            public=public,
            of_project=project,
            min_disk_gib=wanted.min_disk_gib,
            min_memory_mib=wanted.min_memory_mib,
            sort=sort,
            marker=last,
            limit=limit,
        )

    return await cloud.db.read(look)


async def describe(cloud: Cloud, context: Context, flavor_id: str, description: str | None) -> ServerFlavor:
    """Change a flavor's description. Raises NotFound."""
    return await cloud.db.write(lambda conn: _changed(conn, context, flavor_id, description=description))


async def delete(cloud: Cloud, context: Context, flavor_id: str) -> None:
    """Delete a flavor; servers made of it have their own copy. Raises NotFound."""

    def drop(conn: Connection) -> None:
        visible(conn, context, flavor_id)
        rows.delete(conn, flavor_id)

    await cloud.db.write(drop)


def _changed(conn: Connection, context: Context, flavor_id: str, **values: Any) -> ServerFlavor:
    flavor = visible(conn, context, flavor_id)
    rows.change(conn, flavor_id, **values)
    return replace(flavor, **values)


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


async def access(cloud: Cloud, context: Context, flavor_id: str) -> list[str]:
    """Return the projects that may use a flavor. Raises NotFound, also for a public one: it has no such list."""

    def look(conn: Connection) -> list[str]:
        if visible(conn, context, flavor_id).public:
            raise NotFound("flavor access", flavor_id, message="Access list not available for public flavors.")
        return rows.projects(conn, flavor_id)

    return await cloud.db.read(look)


async def grant(cloud: Cloud, context: Context, flavor_id: str, project_id: str) -> list[str]:
    """Let a project use a flavor; return all that may. Raises NotFound, Conflict if it is public or was so already."""

    def apply(conn: Connection) -> list[str]:
        if visible(conn, context, flavor_id).public:
            raise Conflict(f"Can not add access to a public flavor: {flavor_id} is for everybody already.")
        if rows.may_use(conn, flavor_id, project_id):
            raise Conflict(f"Flavor access already exists for flavor {flavor_id} and project {project_id}.")
        rows.grant(conn, flavor_id, project_id)
        return rows.projects(conn, flavor_id)

    return await cloud.db.write(apply)


async def revoke(cloud: Cloud, context: Context, flavor_id: str, project_id: str) -> list[str]:
    """Take a project's access back; return all that still may. Raises NotFound."""

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
