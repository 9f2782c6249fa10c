"""Projects and their tags."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta

from floe.api.identity.replies import Ident, ShortName, Text, changes, flag, listed, with_link
from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, admin, authenticated
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.cloud import identity, projects
from floe.core.errors import Invalid, NotFound
from floe.core.projects import Project

SHAPE: Shape[Project] = Shape(
    [
        Shown("id", lambda project: project.id),
        Shown("name", lambda project: project.name),
        Shown("domain_id", lambda project: project.domain_id),
        Shown("description", lambda project: project.description),
        Shown("enabled", lambda project: project.enabled),
        Shown("parent_id", lambda project: project.domain_id),
        Shown("is_domain", lambda _project: False),
        Shown("tags", lambda project: list(project.tags)),
        Shown("options", lambda _project: {}),
    ]
)
_Tags = Annotated[list[Annotated[str, Meta(min_length=1, max_length=255, pattern=r"^[^,/]*$")]], Meta(max_length=80)]
_FIELDS = (
    Field("description", Text),
    Field("enabled", bool),
    Field("tags", _Tags),
    Field("is_domain", bool),
    Field("parent_id", Ident | None),
    Field("options", dict[str, Any]),
)
_CREATE = Body("project", [Field("name", ShortName, required=True), Field("domain_id", Ident | None), *_FIELDS])
_UPDATE = Body("project", [Field("name", ShortName), *_FIELDS])

_FLAT = "parent_id: projects are flat here; the parent of a project can only be its domain (it is {!r})."


def shown(call: Call, project: Project) -> dict[str, Any]:
    """Return a project as it is on the wire."""
    return with_link(call, f"/v3/projects/{project.id}", SHAPE.show(project))


async def index(call: Call) -> Reply:
    """List projects by domain, parent, name, tags and whether they are enabled."""
    domain_id = call.one("domain_id") or call.one("parent_id")
    found = await projects.find(
        call.cloud, call.context, domain_id=domain_id, name=call.one("name"), enabled=flag(call, "enabled")
    )
    wanted = set((call.one("tags") or "").split(",")) - {""}
    return listed(call, "projects", "/v3/projects", [shown(call, item) for item in found if wanted <= set(item.tags)])


async def show(call: Call) -> Reply:
    """Show a project."""
    found = await projects.show(call.cloud, call.context, call.params["project_id"])
    return Reply(200, {"project": shown(call, found)})


async def create(call: Call) -> Reply:
    """Make a project."""
    fields = _fields(_CREATE.read(await call.raw()), None)
    parent_id = fields.pop("parent_id", None)
    domain_id = fields["domain_id"] = fields.get("domain_id") or parent_id or identity.own_domain(call.context)
    if parent_id not in (None, domain_id):
        raise Invalid(_FLAT.format(parent_id))
    try:
        project = await projects.create(call.cloud, fields)
    except NotFound as error:
        raise (Invalid(_FLAT.format(parent_id)) if parent_id else error) from error
    return Reply(201, {"project": shown(call, project)})


async def update(call: Call) -> Reply:
    """Change a project."""
    project_id = call.params["project_id"]
    fields = _fields(_UPDATE.read(await call.raw()), project_id)
    if "parent_id" in fields:
        raise Invalid("parent_id: the parent of a project cannot be changed.")
    return Reply(200, {"project": shown(call, await projects.update(call.cloud, project_id, fields))})


async def delete(call: Call) -> Reply:
    """Remove a project."""
    await projects.delete(call.cloud, call.params["project_id"])
    return Reply(204)


async def show_tags(call: Call) -> Reply:
    """List a project's tags."""
    found = await projects.show(call.cloud, call.context, call.params["project_id"])
    path = f"/v3/projects/{found.id}/tags"
    return Reply(200, {"tags": list(found.tags), "links": {"self": call.url(path), "next": None, "previous": None}})


def _fields(read: dict[str, Any], project_id: str | None) -> dict[str, Any]:
    fields = changes(read, "domain_id", "parent_id")
    if fields.pop("is_domain", False):
        raise Invalid("is_domain: a project that acts as a domain is made with POST /v3/domains.")
    if project_id is None and fields.get("parent_id", "") is None:
        del fields["parent_id"]
    if "tags" in fields:
        fields["tags"] = tuple(dict.fromkeys(fields["tags"]))
    return fields


ROUTES = (
    Route("GET", "/v3/projects", index, "identity:list_projects"),
    Route("POST", "/v3/projects", create, "identity:create_project"),
    Route("GET", "/v3/projects/{project_id}", show, "identity:get_project"),
    Route("PATCH", "/v3/projects/{project_id}", update, "identity:update_project"),
    Route("DELETE", "/v3/projects/{project_id}", delete, "identity:delete_project"),
    Route("GET", "/v3/projects/{project_id}/tags", show_tags, "identity:list_project_tags"),
)
POLICIES: Policies = {
    "identity:list_projects": authenticated,
    "identity:get_project": authenticated,
    "identity:create_project": admin,
    "identity:update_project": admin,
    "identity:delete_project": admin,
    "identity:list_project_tags": authenticated,
}
