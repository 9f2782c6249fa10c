"""Images: create, list, show, change, delete, tags, and whether their data may be used."""

from __future__ import annotations

from msgspec.structs import replace

from floe.api.image.fields import listed, read, shown
from floe.api.image.listing import PATH, link, wanted_of
from floe.api.image.patch import operations, patched
from floe.api.image.policies import POLICIES
from floe.api.kit.call import Call, Reply
from floe.api.kit.policy import enforce
from floe.api.kit.routing import Route
from floe.cloud import images
from floe.core.context import Context
from floe.core.errors import Invalid
from floe.core.images import COMMUNITY, PUBLIC, Image, NewImage


async def create(call: Call) -> Reply:
    """POST /v2/images"""
    fields, properties = read(await call.raw())
    new = NewImage(**fields, properties=properties)
    _demand_visibility(call.context, new.visibility)
    image = await images.create(call.cloud, call.context, new)
    return Reply(201, shown(image), {"location": call.url(f"{PATH}/{image.id}")})


async def index(call: Call) -> Reply:
    """GET /v2/images"""
    wanted, page = wanted_of(call)
    more = replace(wanted, limit=page.limit + 1)
    found, cut = await images.find(call.cloud, call.context, more, page.marker)
    body = {
        "first": link(call),
        "schema": "/v2/schemas/images",
        "images": listed(found[: page.limit]),
    }

    def next_page(taken: int) -> dict[str, str]:
        return {"next": link(call, found[taken - 1].id)} if taken and (cut or taken < len(found)) else {}

    return Reply(200, body, more=next_page)


async def show(call: Call) -> Reply:
    """GET /v2/images/{image_id}"""
    return Reply(200, shown(await images.show(call.cloud, call.context, call.params["image_id"])))


async def update(call: Call) -> Reply:
    """PATCH /v2/images/{image_id}"""
    wanted = await operations(call)
    context = call.context

    def edit(old: Image) -> Image:
        new = patched(old, wanted)
        if new.visibility != old.visibility:
            _demand_visibility(context, new.visibility)
        return new

    return Reply(200, shown(await images.update(call.cloud, context, call.params["image_id"], edit)))


async def delete(call: Call) -> Reply:
    """DELETE /v2/images/{image_id}"""
    await images.delete(call.cloud, call.context, call.params["image_id"])
    return Reply(204)


async def tasks(call: Call) -> Reply:
    """GET /v2/images/{image_id}/tasks"""
    await images.show(call.cloud, call.context, call.params["image_id"])
    # Imports and copies to other stores are tasks; what is uploaded, or made of a server, is none.
    return Reply(200, {"tasks": []})


async def add_tag(call: Call) -> Reply:
    """PUT /v2/images/{image_id}/tags/{tag}"""
    tag = call.params["tag"]
    if len(tag) > 255:
        raise Invalid(f"A tag is at most 255 characters long; this one is {len(tag)}.")
    await images.set_tag(call.cloud, call.context, call.params["image_id"], tag, True)
    return Reply(204)


async def remove_tag(call: Call) -> Reply:
    """DELETE /v2/images/{image_id}/tags/{tag}"""
    await images.set_tag(call.cloud, call.context, call.params["image_id"], call.params["tag"], False)
    return Reply(204)


async def deactivate(call: Call) -> Reply:
    """POST /v2/images/{image_id}/actions/deactivate"""
    await images.set_active(call.cloud, call.context, call.params["image_id"], False)
    return Reply(204)


async def reactivate(call: Call) -> Reply:
    """POST /v2/images/{image_id}/actions/reactivate"""
    await images.set_active(call.cloud, call.context, call.params["image_id"], True)
    return Reply(204)


def _demand_visibility(context: Context, visibility: str) -> None:
    if visibility == PUBLIC:
        enforce(POLICIES, "publicize_image", context)
    elif visibility == COMMUNITY:
        enforce(POLICIES, "communitize_image", context)


ONE = PATH + "/{image_id}"
ROUTES: tuple[Route, ...] = (
    Route("POST", PATH, create, "add_image"),
    Route("GET", PATH, index, "get_images"),
    Route("GET", ONE, show, "get_image"),
    Route("PATCH", ONE, update, "modify_image"),
    Route("DELETE", ONE, delete, "delete_image"),
    Route("GET", ONE + "/tasks", tasks, "get_image"),
    Route("PUT", ONE + "/tags/{tag}", add_tag, "modify_image"),
    Route("DELETE", ONE + "/tags/{tag}", remove_tag, "modify_image"),
    Route("POST", ONE + "/actions/deactivate", deactivate, "deactivate"),
    Route("POST", ONE + "/actions/reactivate", reactivate, "reactivate"),
)
