"""Projects and their tags."""

from __future__ import annotations

from typing import Any

import msgspec

from floe.api.identity.dialect import Keystone, each, unseen
from floe.api.identity.filters import Filters, called, flag, ident, tags, uuid
from floe.api.identity.replies import Ident, ShortName, Tags, Text, unique
from floe.api.kit.body import Body, Field, at_most
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import Policies, authenticated
from floe.api.kit.resource import Fields, Resource, Use, Values, Wire, constant
from floe.api.kit.routing import Route
from floe.cloud import identity, projects
from floe.cloud.cloud import Cloud
from floe.core.context import Context
from floe.core.errors import Forbidden, Invalid, NotFound
from floe.core.projects import Project

_TAGS = Body(None, [Field("tags", Tags, required=True)])

_FLAT = "parent_id: projects are flat here; the parent of a project can only be its domain (it is {!r})."


def _no_domain(value: bool, name: str) -> None:
    if value:
        raise Invalid(f"{name}: a project that acts as a domain is made with POST /v3/domains.")


async def _create(cloud: Cloud, context: Context, asked: Values) -> Project:
    fields = dict(asked)
    parent_id = fields.pop("parent_id", None)
    domain_id = fields["domain_id"] = fields.get("domain_id") or parent_id or identity.own_domain(context)
    if parent_id not in (None, domain_id):
        raise Invalid(_FLAT.format(parent_id))
    try:
        return await projects.create(cloud, context, fields)
    except NotFound as error:
        raise Invalid(_FLAT.format(parent_id) if parent_id else error.message) from error


async def _update(cloud: Cloud, context: Context, ident: str, asked: Values) -> Project:
    fields = dict(asked)
    if "parent_id" in fields:
        parent_id, project = fields.pop("parent_id"), await projects.show(cloud, context, ident)
        if parent_id != project.domain_id:
            raise Forbidden(f"parent_id: the parent of a project cannot be changed (it is {project.domain_id!r}).")
    return await projects.update(cloud, context, ident, fields)


PROJECT: Resource[Project] = Resource(
    name="project",
    plural="projects",
    dialect=Keystone(
        filters=Filters(
            ident("domain_id"),
            uuid("parent_id"),
            flag("enabled"),
            flag("is_domain"),
            called(64),
            tags("tags", lambda asked, there: asked <= there),
            tags("tags-any", lambda asked, there: bool(asked & there)),
            tags("not-tags", lambda asked, there: not asked <= there),
            tags("not-tags-any", lambda asked, there: not asked & there),
        ),
        nullable=("domain_id", "parent_id"),
        writes=identity.manages,
    ),
    fields=Fields(
        Wire("id"),
        Wire("name", use=Use.WRITE, type=ShortName, required=True),
        Wire("domain_id", use=Use.CREATE, type=Ident | None),
        Wire("domain_id", use=Use.UPDATE, type=Ident),
        Wire("description", use=Use.WRITE, type=Text),
        Wire("enabled", use=Use.WRITE, type=bool),
        Wire("parent_id", use=Use.WRITE, type=Ident | None, shown="domain_id"),
        constant("is_domain", False, Use.WRITE, type=bool, check=_no_domain),
        Wire("tags", use=Use.WRITE, type=Tags),
        constant("options", {}, Use.WRITE, type=at_most(dict[str, Any])),
    ),
    create=each(_create),
    find=projects.find,
    show=projects.show,
    update=unseen(_update),
    delete=unseen(projects.delete),
)


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


ROUTES = (
    *PROJECT.routes,
    Route("GET", "/v3/projects/{project_id}/tags", show_tags, "identity:list_project_tags"),
    Route("PUT", "/v3/projects/{project_id}/tags", put_tags, "identity:update_project_tags"),
    Route("DELETE", "/v3/projects/{project_id}/tags", delete_tags, "identity:delete_project_tags"),
    Route("GET", "/v3/projects/{project_id}/tags/{tag}", check_tag, "identity:get_project_tag"),
    Route("PUT", "/v3/projects/{project_id}/tags/{tag}", add_tag, "identity:create_project_tag"),
    Route("DELETE", "/v3/projects/{project_id}/tags/{tag}", delete_tag, "identity:delete_project_tag"),
)
POLICIES: Policies = {
    **PROJECT.policies,
    "identity:list_project_tags": authenticated,
    "identity:get_project_tag": authenticated,
    "identity:update_project_tags": identity.manages,
    "identity:delete_project_tags": identity.manages,
    "identity:create_project_tag": identity.manages,
    "identity:delete_project_tag": identity.manages,
}
