"""Servers: create, list, show, update, delete."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from floe.api.compute.dialect import ONCE_OPEN
from floe.api.compute.fields import flag, ipv4, ipv6, multiline, printable
from floe.api.compute.server_bodies import CREATE, DiskConfig, new_server
from floe.api.compute.server_query import QUERY, server_filter, server_page
from floe.api.compute.server_shapes import NARROW, OPERATOR, USER, image_properties, traits
from floe.api.kit.body import Body, Description, Field, Name
from floe.api.kit.call import Call, Reply
from floe.api.kit.paging import Page, linked
from floe.api.kit.policy import enforce, project_member, project_reader
from floe.api.kit.query import Param, Query
from floe.api.kit.routing import Route
from floe.cloud import dry_runs, soft_deletes
from floe.cloud import servers as cloud
from floe.cloud.dry_runs import Tried
from floe.core import disk_config
from floe.core.hostnames import check_hostname
from floe.core.idempotency import once
from floe.core.seen_servers import SeenServer
from floe.core.versions import Version

UPDATE = Body(
    "server",
    (
        Field("name", Name),
        Field("OS-DCF:diskConfig", DiskConfig),
        Field("accessIPv4", str),
        Field("accessIPv6", str),
        Field("description", Description | None, since=(2, 19)),
        Field("hostname", str, since=(2, 90)),
        Field("pinned_availability_zone", Annotated[str, Meta(min_length=1, max_length=255)] | None, since=(2, 104)),
    ),
)


async def create(call: Call) -> Reply:
    """POST /servers.

    With an `Idempotency-Key`, which is our own addition, it may be sent again and happens once; so is `dry_run=1`, with
    which it does not happen at all.
    """
    body = CREATE.read(await call.raw(), call.version)
    if body.get("trusted_image_certificates"):
        enforce(POLICIES, _TRUSTING, call.context)
    request = once(call.header("idempotency-key"), msgspec.json.encode(body, order="deterministic"))
    asked = new_server(body, call.version, call.context)
    if flag(call.one("dry_run") or "no", "dry_run"):
        return _tried(call, await dry_runs.run(call.cloud, call.context, asked))
    made = await cloud.create(call.cloud, call.context, asked, request)
    if flag(body.get("return_reservation_id", False), "return_reservation_id"):
        return Reply(202, {"reservation_id": made.reservation_id})
    server = made.servers[0]
    shown = {
        "id": server.id,
        "links": links(call, server.id),
        "OS-DCF:diskConfig": disk_config.shown(server.disk_config),
        "security_groups": [{"name": name} for name in asked.security_groups or ("default",)],
        "adminPass": made.admin_password,
    }
    return Reply(202, {"server": shown}, {"location": call.url(f"/v2.1/servers/{server.id}")})


def _tried(call: Call, found: Tried) -> Reply:
    """Tell what a create would come to: hosts, and reasons by host, to administrators alone."""
    shown: dict[str, Any] = {"possible": found.possible, "count": len(found.chosen) if found.possible else 0}
    if found.refusal is not None:
        shown["message"] = found.refusal.message
    if found.warning:
        shown["warning"] = found.warning
    if call.context.is_admin:
        shown["hosts"] = [selection.host for selection in found.chosen]
        if found.refusal is not None:
            shown |= {"reasons": found.refusal.reasons, "others": found.refusal.others}
        elif found.chosen:
            shown["alternates"] = list(found.chosen[0].names[1:])
    return Reply(200, {"dry_run": shown})


async def index(call: Call) -> Reply:
    """GET /servers."""
    page = server_page(call)
    found = await cloud.listed(
        call.cloud, call.context, server_filter(call), sort=page.sort, marker=page.marker, limit=page.limit
    )
    shown = ({"id": server.id, "name": server.name, "links": links(call, server.id)} for server in found)
    return _page(call, "/v2.1/servers", page, shown, [server.id for server in found])


async def detail(call: Call) -> Reply:
    """GET /servers/detail."""
    page = server_page(call)
    found = await cloud.listed_in_detail(
        call.cloud, call.context, server_filter(call), sort=page.sort, marker=page.marker, limit=page.limit
    )
    shown = (view(call, each) for each in found)
    return _page(call, "/v2.1/servers/detail", page, shown, [each.id for each in found])


async def show(call: Call) -> Reply:
    """GET /servers/{server_id}."""
    found = await cloud.get(call.cloud, call.context, call.params["server_id"])
    return Reply(200, {"server": single(call, found)})


async def update(call: Call) -> Reply:
    """PUT /servers/{server_id}."""
    changes = changed(UPDATE.read(await call.raw(), call.version), call.version)
    found = await cloud.update(call.cloud, call.context, call.params["server_id"], changes)
    if call.version >= (2, 75):
        return Reply(200, {"server": single(call, found)})
    return Reply(200, {"server": narrow(call, found)})


async def delete(call: Call) -> Reply:
    """DELETE /servers/{server_id}."""
    await soft_deletes.delete(call.cloud, call.context, call.params["server_id"])
    return Reply(204)


def changed(body: Mapping[str, Any], version: Version) -> dict[str, Any]:
    """Return the columns that a body changes which names some of a server's attributes. Raises Invalid."""
    changes: dict[str, Any] = {}
    if "name" in body:
        changes["name"] = printable(body["name"], "name")
    if "description" in body:
        text = body["description"]
        changes["description"] = multiline(text, "description") if text is not None else None
    if "hostname" in body:
        changes["hostname"] = check_hostname(body["hostname"], dotted=version >= (2, 94))
    if "accessIPv4" in body:
        changes["access_ipv4"] = ipv4(body["accessIPv4"], "accessIPv4")
    if "accessIPv6" in body:
        changes["access_ipv6"] = ipv6(body["accessIPv6"], "accessIPv6")
    if "OS-DCF:diskConfig" in body:
        changes["disk_config"] = body["OS-DCF:diskConfig"]
    if "pinned_availability_zone" in body:
        changes["requested_zone"] = body["pinned_availability_zone"]
    return changes


def links(call: Call, server_id: str) -> list[dict[str, str]]:
    """Return a server's links. Its id is one of ours, in which there is nothing to be quoted."""
    return [
        {"rel": "self", "href": f"{call.prefix}/v2.1/servers/{server_id}"},
        {"rel": "bookmark", "href": f"{call.prefix}/servers/{server_id}"},
    ]


def view(call: Call, found: SeenServer) -> dict[str, Any]:
    """Return a server as the caller sees it in a list."""
    shape = OPERATOR if call.context.is_admin else USER
    shown = shape.show(found, call.version, traits(found))
    _link(call, found, shown)
    return shown


def single(call: Call, found: SeenServer) -> dict[str, Any]:
    """Return a server as the caller sees it alone."""
    shown = view(call, found)
    if call.version >= (2, 71):
        shown["server_groups"] = _groups(found)
    return shown


def narrow(call: Call, found: SeenServer) -> dict[str, Any]:
    """Return a server as a change of it is answered below 2.75."""
    shown = NARROW.show(found, call.version, traits(found))
    shown.pop("OS-EXT-SRV-ATTR:hostname", None)
    _link(call, found, shown)
    if call.version >= (2, 71):
        shown["server_groups"] = _groups(found)
    return shown


def _groups(server: SeenServer) -> list[str]:
    return [server.group_id] if server.group_id else []


def _link(call: Call, server: SeenServer, shown: dict[str, Any]) -> None:
    """Add what holds links: image, flavor (below 2.47) and the server's own."""
    if server.image_id:
        href = f"{call.prefix}/images/{server.image_id}"
        shown["image"] = {"id": server.image_id, "links": [{"rel": "bookmark", "href": href}]}
        if call.version >= (2, 98):
            shown["image"]["properties"] = image_properties(server.image_properties)
    else:
        shown["image"] = ""
    if call.version < (2, 47):
        ident = server.flavor_id
        bookmark = {"rel": "bookmark", "href": call.url(f"/flavors/{ident}")}
        shown["flavor"] = {"id": ident, "links": [bookmark]}
    shown["links"] = links(call, server.id)


def _page(call: Call, path: str, page: Page, shown: Iterator[dict[str, Any]], idents: Sequence[str]) -> Reply:
    return Reply(200, {"servers": shown}, more=linked(call, path, page, "servers_links", idents))


_DRY_RUN = Query(Param("dry_run", check=flag))
"""Nova ignores what it does not know here; one who writes it otherwise must not get a server."""

_TRUSTING = "os_compute_api:servers:create:trusted_certs"

ROUTES = (
    Route("POST", "/v2.1/servers", create, "os_compute_api:servers:create", query=_DRY_RUN),
    Route("GET", "/v2.1/servers", index, "os_compute_api:servers:index", query=QUERY),
    Route("GET", "/v2.1/servers/detail", detail, "os_compute_api:servers:detail", query=QUERY),
    Route("GET", "/v2.1/servers/{server_id}", show, "os_compute_api:servers:show", query=ONCE_OPEN),
    Route("PUT", "/v2.1/servers/{server_id}", update, "os_compute_api:servers:update"),
    Route("DELETE", "/v2.1/servers/{server_id}", delete, "os_compute_api:servers:delete"),
)

POLICIES = {
    "os_compute_api:servers:create": project_member,
    _TRUSTING: project_member,
    "os_compute_api:servers:index": project_reader,
    "os_compute_api:servers:detail": project_reader,
    "os_compute_api:servers:show": project_reader,
    "os_compute_api:servers:update": project_member,
    "os_compute_api:servers:delete": project_member,
}
