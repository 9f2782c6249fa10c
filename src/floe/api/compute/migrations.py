"""/os-migrations lists resizes; /servers/{server_id}/migrations live migrations under way, of which there are none."""

from __future__ import annotations

import zlib

from msgspec.structs import replace

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import linked, span, window, window_of
from floe.api.kit.policy import admin, project_manager
from floe.api.kit.query import Param, Query
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.api.kit.values import is_digits, moment
from floe.cloud import server_migrations, servers
from floe.core.clock import iso_micro
from floe.core.errors import Forbidden, NotFound
from floe.core.server_migrations import ServerMigration, Wanted

SHAPE: Shape[ServerMigration] = Shape(
    (
        Shown("id", "number"),
        Shown("uuid", "id", since=(2, 59)),
        Shown("instance_uuid", "server_id"),
        Shown("status", "status"),
        Shown("migration_type", "kind", since=(2, 23)),
        Shown("source_compute", "source"),
        Shown("source_node", "source"),
        Shown("dest_compute", "target"),
        Shown("dest_node", "target"),
        Shown("dest_host", "target"),
        Shown("old_instance_type_id", lambda m: _number(m.old_flavor_id)),
        Shown("new_instance_type_id", lambda m: _number(m.new_flavor_id)),
        Shown("user_id", "user_id", since=(2, 80)),
        Shown("project_id", "project_id", since=(2, 80)),
        Shown("created_at", lambda m: iso_micro(m.created_at)),
        Shown("updated_at", lambda m: iso_micro(m.updated_at)),
    )
)
_HOSTS = ("source_compute", "source_node", "dest_compute", "dest_node", "dest_host")
_TRUE = frozenset({"1", "t", "true", "on", "y", "yes"})
_FILTERS = {
    "instance_uuid": "server_id",
    "project_id": "project_id",
    "user_id": "user_id",
    "migration_type": "kind",
    "status": "status",
    "source_compute": "source",
    "host": "host",
}
"""What each parameter asks for."""
_DIGITS = 16
"""What has fewer is a number that JSON may hold."""
_FIRST_DERIVED = 1 << 30
"""Above the numbers that people give; what follows fits 31 bits, as Nova's does."""


async def index(call: Call) -> Reply:
    """GET os-migrations: the latest first; from 2.59 on in pages."""
    if not call.context.is_admin and not call.context.owns(call.one("project_id")):
        raise Forbidden("Only administrators may list the migrations of all projects: ask for your own by project_id.")
    paged = call.version >= (2, 59)
    page, (since, before) = window_of(call), span(call) if paged else (None, None)
    wanted = Wanted(since=since, before=before, **{name: call.one(param) for param, name in _FILTERS.items()})
    if not call.context.is_admin:
        wanted = replace(wanted, project_id=call.context.project_id)
    found: list[ServerMigration] = []
    if (call.one("hidden") or "").lower() not in _TRUE:  # none ever is
        marker = page.marker if paged else None
        found = await server_migrations.find(call.cloud, wanted, marker=marker, limit=page.limit)
    shown = [SHAPE.show(each, call.version) for each in found]
    if not call.context.is_admin:
        shown = [{**each, **dict.fromkeys(_HOSTS)} for each in shown]
    more = linked(call, "/v2.1/os-migrations", page, "migrations_links", [each.id for each in found])
    return Reply(200, {"migrations": iter(shown)}, more=more if paged else None)


async def of_server(call: Call) -> Reply:
    """GET migrations of a server: live ones that are under way."""
    await servers.find(call.cloud, call.context, call.params["server_id"])
    return Reply(200, {"migrations": []})


async def show(call: Call) -> Reply:
    """GET migrations/{migration_id} of a server: a live one that is under way."""
    server_id, ident = call.params["server_id"], call.params["migration_id"]
    await servers.find(call.cloud, call.context, server_id)
    raise NotFound("migration", ident, message=f"Migration {ident} of server {server_id} could not be found.")


def _number(flavor_id: str) -> int:
    """Return a number for a flavor, which clients want: its id where that is one, else what always follows from it.

    Nova shows the number of a row of its own, by which nobody can ask for a flavor either.
    """
    if len(flavor_id) < _DIGITS and is_digits(flavor_id):
        return int(flavor_id)
    return _FIRST_DERIVED + zlib.crc32(flavor_id.encode()) % _FIRST_DERIVED


# fmt: off
QUERY = Query(
    *(Param(name, many=True) for name in (
        "host", "hidden", "instance_uuid", "source_compute", "status", "migration_type",
    )),
    *window(since=(2, 59)),
    Param("changes-since", since=(2, 59), many=True, check=moment),
    Param("changes-before", since=(2, 66), many=True, check=moment),
    *(Param(name, since=(2, 80), many=True) for name in ("user_id", "project_id")),
    closed=(2, 59),
)
# fmt: on

_LIST = "os_compute_api:os-migrations:index"
_OF_SERVER, _SHOW = "os_compute_api:servers:migrations:index", "os_compute_api:servers:migrations:show"

ROUTES = (
    Route("GET", "/v2.1/os-migrations", index, _LIST, query=QUERY),
    Route("GET", "/v2.1/servers/{server_id}/migrations", of_server, _OF_SERVER, since=(2, 23), query=ONCE_OPEN),
    Route("GET", "/v2.1/servers/{server_id}/migrations/{migration_id}", show, _SHOW, since=(2, 23), query=ONCE_OPEN),
)

POLICIES = {_LIST: project_manager, _OF_SERVER: project_manager, _SHOW: admin}
