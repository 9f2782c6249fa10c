"""Projects and their tags."""

from __future__ import annotations

from typing import Any

import msgspec

from floe.api.identity.filters import Filters, called, flag, ident, tags, uuid
from floe.api.identity.replies import Ident, ShortName, Tags, Text, unique, with_link, with_properties
from floe.api.kit.body import Body, Field, at_most
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, authenticated
from floe.api.kit.routing import Route
from floe.api.kit.shape import Shape, Shown
from floe.cloud import identity, projects
from floe.core.errors import Forbidden, Invalid, NotFound
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
_FIELDS = (
    Field("description", Text),
    Field("enabled", bool),
    Field("tags", Tags),
    Field("is_domain", bool),
    Field("parent_id", Ident | None),
    Field("options", at_most(dict[str, Any])),
)
_CREATE = Body(
    "project", [Field("name", ShortName, required=True), Field("domain_id", Ident | None), *_FIELDS], strict=False
)
_UPDATE = Body("project", [Field("domain_id", Ident), Field("name", ShortName), *_FIELDS], strict=False)
_FILTERS = Filters(
    ident("domain_id"),
    uuid("parent_id"),
    flag("enabled"),
    flag("is_domain"),
    called(64),
    tags("tags", lambda asked, there: asked <= there),
    tags("tags-any", lambda asked, there: bool(asked & there)),
    tags("not-tags", lambda asked, there: not asked <= there),
    tags("not-tags-any", lambda asked, there: not asked & there),
)
_TAGS = Body(None, [Field("tags", Tags, required=True)])

_FLAT = "parent_id: projects are flat here; the parent of a project can only be its domain (it is {!r})."


def shown(call: Call, project: Project) -> dict[str, Any]:
    """Return a project as it is on the wire."""
    return with_link(call, f"/v3/projects/{project.id}", {**project.properties, **SHAPE.show(project)})


async def index(call: Call) -> Reply:
    """List projects by domain, parent, name, tags and whether they are enabled."""
    domain_id = call.one("domain_id") or call.one("parent_id")
    found = await projects.find(call.cloud, call.context, domain_id=domain_id, name=call.one("name"))
    return await _FILTERS.listed(call, "projects", "/v3/projects", (shown(call, item) for item in found))


async def show(call: Call) -> Reply:
    """Show a project."""
    found = await projects.show(call.cloud, call.context, call.params["project_id"])
    return Reply(200, {"project": shown(call, found)})


async def create(call: Call) -> Reply:
    """Make a project."""
    fields = _fields(await with_properties(call, _CREATE, "domain_id", "parent_id"), None)
    parent_id = fields.pop("parent_id", None)
    domain_id = fields["domain_id"] = fields.get("domain_id") or parent_id or identity.own_domain(call.context)
    if parent_id not in (None, domain_id):
        raise Invalid(_FLAT.format(parent_id))
    try:
        project = await projects.create(call.cloud, call.context, fields)
    except NotFound as error:
        raise Invalid(_FLAT.format(parent_id) if parent_id else error.message) from error
    return Reply(201, {"project": shown(call, project)})


async def update(call: Call) -> Reply:
    """Change a project."""
    project_id = call.params["project_id"]
    fields = _fields(await with_properties(call, _UPDATE, "domain_id", "parent_id", own_id=project_id), project_id)
    if "parent_id" in fields:
        parent_id, project = fields.pop("parent_id"), await projects.show(call.cloud, call.context, project_id)
        if parent_id != project.domain_id:
            raise Forbidden(f"parent_id: the parent of a project cannot be changed (it is {project.domain_id!r}).")
    return Reply(200, {"project": shown(call, await projects.update(call.cloud, call.context, project_id, fields))})


async def delete(call: Call) -> Reply:
    """Remove a project."""
    await projects.delete(call.cloud, call.context, call.params["project_id"])
    return Reply(204)


async def show_tags(call: Call) -> Reply:
    """List a project's tags."""
    found = await projects.show(call.cloud, call.context, call.params["project_id"])
    path = f"/v3/projects/{found.id}/tags"
    return Reply(200, {"tags": list(found.tags), "links": {"self": call.url(path), "next": None, "previous": None}})


async def check_tag(call: Call) -> Reply:
    """Say whether a project has a tag."""
    found = await projects.show(call.cloud, call.context, call.params["project_id"])
    _demand_tag(found, call.params["tag"])
    return Reply(204)


async def put_tags(call: Call) -> Reply:
    """Replace a project's tags."""
    fields = {"tags": unique(_TAGS.read(await call.raw())["tags"])}
    found = await projects.update(call.cloud, call.context, call.params["project_id"], fields)
    path = f"/v3/projects/{found.id}/tags"
    return Reply(200, {"tags": list(found.tags), "links": {"self": call.url(path), "next": None, "previous": None}})


async def add_tag(call: Call) -> Reply:
    """Add a tag to a project; not an error if it has it."""
    project_id, tag = call.params["project_id"], call.params["tag"]
    found = await projects.show(call.cloud, call.context, project_id)
    tags = tuple(dict.fromkeys((*found.tags, tag)))
    _TAGS.read(msgspec.json.encode({"tags": tags}))
    await projects.update(call.cloud, call.context, project_id, {"tags": tags})
    path = f"/v3/projects/{project_id}/tags/{tag}"
    return Reply(201, None, {"location": call.url(path)})


async def delete_tag(call: Call) -> Reply:
    """Take a tag from a project. Raises NotFound for one it does not have."""
    project_id, tag = call.params["project_id"], call.params["tag"]
    found = await projects.show(call.cloud, call.context, project_id)
    _demand_tag(found, tag)
    await projects.update(
        call.cloud, call.context, project_id, {"tags": tuple(each for each in found.tags if each != tag)}
    )
    return Reply(204)


async def delete_tags(call: Call) -> Reply:
    """Take all tags from a project."""
    await projects.update(call.cloud, call.context, call.params["project_id"], {"tags": ()})
    return Reply(204)


def _demand_tag(project: Project, tag: str) -> None:
    if tag not in project.tags:
        raise NotFound("tag", tag, message=f"Project {project.id} has no tag {tag!r}.")


def _fields(fields: dict[str, Any], project_id: str | None) -> dict[str, Any]:
    if fields.pop("is_domain", False):
        raise Invalid("is_domain: a project that acts as a domain is made with POST /v3/domains.")
    if project_id is None and fields.get("parent_id", "") is None:
        del fields["parent_id"]
    return fields


ROUTES = (
    Route("GET", "/v3/projects", index, "identity:list_projects"),
    Route("POST", "/v3/projects", create, "identity:create_project"),
    Route("GET", "/v3/projects/{project_id}", show, "identity:get_project"),
    Route("PATCH", "/v3/projects/{project_id}", update, "identity:update_project"),
    Route("DELETE", "/v3/projects/{project_id}", delete, "identity:delete_project"),
    Route("GET", "/v3/projects/{project_id}/tags", show_tags, "identity:list_project_tags"),
    Route("PUT", "/v3/projects/{project_id}/tags", put_tags, "identity:update_project_tags"),
    Route("DELETE", "/v3/projects/{project_id}/tags", delete_tags, "identity:delete_project_tags"),
    Route("GET", "/v3/projects/{project_id}/tags/{tag}", check_tag, "identity:get_project_tag"),
    Route("PUT", "/v3/projects/{project_id}/tags/{tag}", add_tag, "identity:create_project_tag"),
    Route("DELETE", "/v3/projects/{project_id}/tags/{tag}", delete_tag, "identity:delete_project_tag"),
)
POLICIES: Policies = {
    "identity:list_projects": authenticated,
    "identity:get_project": authenticated,
    "identity:create_project": identity.manages,
    "identity:update_project": identity.manages,
    "identity:delete_project": identity.manages,
    "identity:list_project_tags": authenticated,
    "identity:get_project_tag": authenticated,
    "identity:update_project_tags": identity.manages,
    "identity:delete_project_tags": identity.manages,
    "identity:create_project_tag": identity.manages,
    "identity:delete_project_tag": identity.manages,
}
