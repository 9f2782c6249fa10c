"""The JSON schemas that the image API describes itself with, made from the tables that it works by."""

from __future__ import annotations

import functools
from typing import Any

import msgspec

from floe.api.image import fields, members
from floe.api.kit.call import Call, Reply
from floe.api.kit.routing import Route

_SELF = {"rel": "self", "href": "{self}"}


@functools.cache
def image_schema() -> dict[str, Any]:
    """Return the schema of an image."""
    properties = {}
    for field in fields.FIELDS:
        schema: dict[str, Any] = {**msgspec.json.schema(field.type), "description": field.about}
        if field.choices:
            schema["enum"] = [*field.choices, None] if "anyOf" in schema else list(field.choices)
        if field.sets is None:
            schema["readOnly"] = True
        properties[field.name] = schema
    return {
        "name": "image",
        "properties": properties,
        "additionalProperties": {"type": "string"},
        "links": [
            _SELF,
            {"rel": "enclosure", "href": "{file}"},
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


@functools.cache
def member_schema() -> dict[str, Any]:
    """Return the schema of a member."""
    properties = {}
    for field in members.FIELDS:
        schema: dict[str, Any] = {"type": "string", "description": field.about}
        if field.choices:
            schema["enum"] = list(field.choices)
        properties[field.shown.name] = schema
    return {"name": "member", "properties": properties}


def _list_of(name: str, key: str, item: dict[str, Any], links: list[str]) -> dict[str, Any]:
    return {
        "name": name,
        "properties": {
            key: {"type": "array", "items": item},
            **{link: {"type": "string"} for link in links},
            "schema": {"type": "string"},
        },
        "links": [
            *({"rel": link, "href": "{" + link + "}"} for link in links),
            {"rel": "describedby", "href": "{schema}"},
        ],
    }


async def image(_call: Call) -> Reply:
    """GET /v2/schemas/image"""
    return Reply(200, image_schema())


async def images(_call: Call) -> Reply:
    """GET /v2/schemas/images"""
    return Reply(200, _list_of("images", "images", image_schema(), ["first", "next"]))


async def member(_call: Call) -> Reply:
    """GET /v2/schemas/member"""
    return Reply(200, member_schema())


async def member_list(_call: Call) -> Reply:
    """GET /v2/schemas/members"""
    return Reply(200, _list_of("members", "members", member_schema(), []))


ROUTES: tuple[Route, ...] = (
    Route("GET", "/v2/schemas/image", image, "get_schema"),
    Route("GET", "/v2/schemas/images", images, "get_schema"),
    Route("GET", "/v2/schemas/member", member, "get_schema"),
    Route("GET", "/v2/schemas/members", member_list, "get_schema"),
)
