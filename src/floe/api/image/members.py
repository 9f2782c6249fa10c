"""Members: the projects that a shared image is offered to."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from floe.api.kit.body import Body, Field
from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route
from floe.api.kit.shape import Of, Shape, Shown
from floe.cloud import image_members
from floe.core.clock import iso
from floe.core.images import ImageMember

ProjectId = Annotated[str, Meta(min_length=1, max_length=255)]


class MemberField(msgspec.Struct, frozen=True):
    """One field of a member: how it is shown, and what it means."""

    shown: Shown[ImageMember]
    about: str
    choices: tuple[str, ...] = ()


FIELDS: tuple[MemberField, ...] = (
    MemberField(Shown("member_id", lambda m: m.project_id), "The project that the image is offered to"),
    MemberField(Shown("image_id", lambda m: m.image_id), "An identifier for the image"),
    MemberField(Shown("status", lambda m: m.status), "What the member decided", ("pending", "accepted", "rejected")),
    MemberField(Shown("created_at", Of("created_at", iso)), "Date and time of the offer"),
    MemberField(Shown("updated_at", Of("updated_at", iso)), "Date and time of the last decision"),
    MemberField(Shown("schema", lambda _: "/v2/schemas/member"), "URL of the schema of a member"),
)
_SHAPE: Shape[ImageMember] = Shape([field.shown for field in FIELDS])
_NEW = Body(None, [Field("member", ProjectId, required=True)], strict=False)
_DECISION = Body(None, [Field("status", str, required=True)], strict=False)
"""Not strict: openstacksdk sends the member's id along."""


async def index(call: Call) -> Reply:
    """GET /v2/images/{image_id}/members"""
    found = await image_members.find(call.cloud, call.context, call.params["image_id"])
    return Reply(200, {"members": (_SHAPE.show(each) for each in found), "schema": "/v2/schemas/members"})


async def show(call: Call) -> Reply:
    """GET /v2/images/{image_id}/members/{member_id}"""
    image_id, project_id = call.params["image_id"], call.params["member_id"]
    return Reply(200, _SHAPE.show(await image_members.show(call.cloud, call.context, image_id, project_id)))


async def create(call: Call) -> Reply:
    """POST /v2/images/{image_id}/members"""
    project_id = _NEW.read(await call.raw())["member"]
    found = await image_members.create(call.cloud, call.context, call.params["image_id"], project_id)
    return Reply(200, _SHAPE.show(found))


async def update(call: Call) -> Reply:
    """PUT /v2/images/{image_id}/members/{member_id}"""
    status = _DECISION.read(await call.raw())["status"]
    image_id, project_id = call.params["image_id"], call.params["member_id"]
    return Reply(200, _SHAPE.show(await image_members.decide(call.cloud, call.context, image_id, project_id, status)))


async def delete(call: Call) -> Reply:
    """DELETE /v2/images/{image_id}/members/{member_id}"""
    await image_members.delete(call.cloud, call.context, call.params["image_id"], call.params["member_id"])
    return Reply(204)


MANY = "/v2/images/{image_id}/members"
ONE = MANY + "/{member_id}"
ROUTES: tuple[Route, ...] = (
    Route("GET", MANY, index, "get_members"),
    Route("POST", MANY, create, "add_member"),
    Route("GET", ONE, show, "get_member"),
    Route("PUT", ONE, update, "modify_member"),
    Route("DELETE", ONE, delete, "delete_member"),
)
